"""A real Dovecot without daemons: its IMAP process speaks on standard input and output, already logged in."""

import contextlib
import imaplib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

IMAP = Path("/usr/lib/dovecot/imap")
SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


@dataclass(frozen=True, slots=True)
class Seen:
    """What IMAP shows of a message."""

    flags: frozenset[str]
    date: str
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Dovecot:
    """One user's Dovecot. Its mail is in `home`; `location` is its mail_location, such as mdbox:~/mail."""

    folder: Path
    location: str
    settings: str = ""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def config(self) -> Path:
        path = self.folder / "dovecot.conf"
        if not path.exists():
            run = self.folder / "run"
            run.mkdir()
            self.home.mkdir()
            # Mail is never root's: nobody has it where root runs the tests.
            owner = ("nobody", "nogroup") if os.geteuid() == 0 else (str(os.geteuid()), str(os.getegid()))
            if os.geteuid() == 0:
                for made in (run, self.home):
                    shutil.chown(made, *owner)
            path.write_text(
                f"base_dir = {run}\nstate_dir = {run}\nmail_uid = {owner[0]}\nmail_gid = {owner[1]}\n"
                "first_valid_uid = 1\nfirst_valid_gid = 1\nssl = no\nlog_path = /dev/null\n"
                "mail_fsync = never\n"
                f"mail_home = {self.home}\nmail_location = {self.location}\n"
                "namespace inbox {\n  inbox = yes\n  separator = /\n}\n" + self.settings
            )
        return path

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "USER": "alice", "HOME": str(self.home)}

    @contextlib.contextmanager
    def imap(self) -> Iterator[imaplib.IMAP4_stream]:
        """A session, logged in. Its process lives as long: meanwhile Dovecot is running."""
        words = [f"{name}={value}" for name, value in self._environment().items()]
        # imaplib runs it through a shell: standard error would be in the way.
        line = shlex.join(["env", "-i", *words, str(IMAP), "-c", str(self.config)])
        client = imaplib.IMAP4_stream(f"cd {shlex.quote(str(self.folder))} && exec {line} 2>/dev/null")
        try:
            yield client
        finally:
            client.logout()

    def doveadm(self, *words: str, **settings: str) -> str:
        """What a doveadm command prints. Settings of the configuration may be others for it."""
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        command = [needs("doveadm"), "-c", str(self.config), *options, *words]
        done = subprocess.run(
            command, env=self._environment(), cwd=self.folder, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def folders(self) -> dict[str, bool]:
        """The mailboxes that can be selected, as IMAP writes their names: are they subscribed?"""
        with self.imap() as client:
            listed = [
                _listed(line) for line in _ok(client._simple_command("LIST", '""', '"*"'), client, "LIST")
            ]
            subscribed = {
                name
                for _, name in map(_listed, _ok(client._simple_command("LSUB", '""', '"*"'), client, "LSUB"))
            }
        return {name: name in subscribed for words, name in listed if "\\noselect" not in words.lower()}

    def messages(self, mailbox: str) -> tuple[int, int, dict[int, Seen]]:
        """UIDVALIDITY, UIDNEXT and the messages of a mailbox, by UID, as a client reads them."""
        with self.imap() as client:
            return read_messages(client, mailbox)


def read_messages(client: imaplib.IMAP4, mailbox: str) -> tuple[int, int, dict[int, Seen]]:
    """UIDVALIDITY, UIDNEXT and the messages of a mailbox, by UID, as this session reads them."""
    quoted = '"' + mailbox.replace("\\", "\\\\").replace('"', '\\"') + '"'
    status, answer = client.select(quoted, readonly=True)
    assert status == "OK", answer
    numbers = [int(client.response(name)[1][0]) for name in ("UIDVALIDITY", "UIDNEXT")]
    found: dict[int, Seen] = {}
    if int(answer[0] or b"0"):
        _, parts = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        for part in parts:
            if isinstance(part, tuple):
                line = part[0].decode()
                uid = re.search(r"UID (\d+)", line)
                flags = re.search(r"FLAGS \(([^)]*)\)", line)
                date = re.search(r'INTERNALDATE "([^"]*)"', line)
                size = re.search(r"RFC822.SIZE (\d+)", line)
                assert uid and flags and date and size, line
                kept = frozenset(flags[1].split()) - {"\\Recent"}
                found[int(uid[1])] = Seen(kept, date[1], int(size[1]), part[1])
    return numbers[0], numbers[1], found


def _ok(answer: tuple[str, list[bytes]], client: imaplib.IMAP4, name: str) -> list[bytes]:
    assert answer[0] == "OK", answer
    lines = client.response(name)[1]
    return [line for line in lines if line is not None]


def _listed(line: bytes) -> tuple[str, str]:
    found = re.fullmatch(r'\(([^)]*)\) (?:NIL|"[^"]*") (.*)', line.decode())
    assert found, line
    name = found[2]
    if name.startswith('"'):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return found[1], name


def needs(program: str) -> str:
    """Where a program is; skips the test that asks where there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@contextlib.contextmanager
def dovecot(location: str, settings: str = "") -> Iterator[Dovecot]:
    """A Dovecot with empty mailboxes. Skips the test where Dovecot is not installed."""
    needs("doveadm")
    if not IMAP.exists():
        pytest.skip("Dovecot's IMAP server is not installed")
    # Not below pytest's own folder, which only its owner may enter: Dovecot works as another user.
    with tempfile.TemporaryDirectory(prefix="dovecot-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Dovecot(folder, location, settings)
        assert server.config.exists()
        yield server


def append(
    client: imaplib.IMAP4, mailbox: str, content: bytes, flags: Sequence[str] = (), date: str = ""
) -> None:
    """Puts a message into a mailbox, octet by octet. `date` as IMAP writes it, without the quotes."""
    client.literal = content  # type: ignore[assignment]  # client.append would change line ends
    internaldate = f'"{date}"' if date else None
    status, answer = client._simple_command("APPEND", f'"{mailbox}"', f"({' '.join(flags)})", internaldate)
    assert status == "OK", answer
