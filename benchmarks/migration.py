"""What it takes to move a mailbox from Dovecot here, beside the same move by `doveadm backup` over imapc into a Dovecot
with mail-crypt: a table of docs/performance.md, as Markdown.

    python -m benchmarks.migration [MESSAGES] [FOLDER]    as root, with Dovecot and the corpus; 50,000 messages by default

The messages are as mailboxes have them: half are below 15 kB, one in a hundred is above 1.4 MB (an attachment). They
lie in a Maildir with ten folders, which a Dovecot without encryption serves; it has been read once before. In FOLDER,
if it is given, they stay for the next run. Memory is the sum of the proportional set sizes of all processes of a move,
at its highest of four looks a second.
"""

import base64
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / ".venv/bin/aerogramme"
DOVECOT = ROOT / "benchmarks/dovecot.sh"
MESSAGES = 50_000
FOLDERS = ("", *(f".Archive.{year}" for year in range(2016, 2025)))
PASSWORD = "hunter2"
MEDIAN, LARGE, LARGEST, LARGE_SHARE = 15_000, 1_400_000, 5_000_000, 0.01
WITH_ATTACHMENT = b"""\
Message-ID: <%d@migration.example>
From: alice@migration.example
To: bob@migration.example
Subject: What you asked for
Date: Tue, 13 May 2014 16:53:20 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_part"

--=_part
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

%b
--=_part
Content-Type: application/pdf; name="report.pdf"
Content-Disposition: attachment; filename="report.pdf"
Content-Transfer-Encoding: base64

%b
--=_part--
"""


@dataclass(frozen=True, slots=True)
class Cost:
    seconds: float
    cpu: float
    memory: int  # octets


def letters(count: int) -> Iterator[bytes]:
    """Mails of these sizes: text of the corpus, and what does not compress as an attachment."""
    rng = random.Random(1)
    names = sorted((ROOT / "corpus").iterdir())
    texts = [name.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n") for name in rng.sample(names, 500)]
    text = b"\n".join(body for _, _, body in texts)
    for n in range(count):
        header, _, _ = texts[n % len(texts)]
        header = b"Message-ID: <%d@migration.example>\n%b" % (n, header)
        if rng.random() < LARGE_SHARE:
            size = rng.randint(LARGE, LARGEST)
            at = rng.randrange(len(text) - MEDIAN)
            attached = base64.encodebytes(rng.randbytes(size * 3 // 4))
            yield WITH_ATTACHMENT % (n, text[at : at + 2000], attached)
        else:
            size = max(500, int(rng.lognormvariate(0, 1.0) * MEDIAN) - len(header))
            size = min(size, LARGE - 100_000)
            at = rng.randrange(max(1, len(text) - size))
            yield header + b"\n\n" + text[at : at + size]


def fill(maildir: Path, count: int) -> int:
    """The octets that it has then."""
    for folder in FOLDERS:
        for part in "cur", "new", "tmp":
            (maildir / folder / part).mkdir(parents=True, exist_ok=True)
    total = 0
    for n, letter in enumerate(letters(count)):
        date, flags = 1_400_000_000 + 1000 * n, ("S", "RS", "FS", "")[n % 4]
        size, lines = len(letter), letter.count(b"\n")
        name = f"{date}.M{n}P1.bench,S={size},W={size + lines}:2,{flags}"
        path = maildir / FOLDERS[n % len(FOLDERS)] / "cur" / name
        path.write_bytes(letter)
        os.utime(path, (date, date))
        total += size
    return total


def descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def proportional(pid: int) -> int:
    """Octets."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measured(command: list[str], given: str, beside: Callable[[], list[int]] = list) -> Cost:
    """Runs a command; the processes that work `beside` it count too."""
    most, done = 0, threading.Event()
    others = beside()
    before = sum(map(ticks, others))
    began, children = time.perf_counter(), os.times()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def look() -> None:
        nonlocal most
        while not done.wait(0.25):
            most = max(most, sum(map(proportional, descendants(process.pid))))

    looking = threading.Thread(target=look)
    looking.start()
    process.communicate(given.encode())
    done.set()
    looking.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    after = os.times()
    cpu = after.children_user + after.children_system - children.children_user - children.children_system
    cpu += (sum(map(ticks, others)) - before) / os.sysconf("SC_CLK_TCK")
    return Cost(time.perf_counter() - began, cpu, most)


def ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    given = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = given or Path(tempfile.mkdtemp(prefix="aerogramme-migration."))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    subprocess.run([DOVECOT, "start", folder / "dovecot"], check=True, stdout=subprocess.DEVNULL)
    try:
        compare(folder, count)
    finally:
        subprocess.run([DOVECOT, "stop", folder / "dovecot"], check=True, stdout=subprocess.DEVNULL)
        if given is None:
            shutil.rmtree(folder)


def compare(folder: Path, count: int) -> None:
    source = folder / "dovecot/mail-plain/alice/Maildir"
    if not source.exists():
        print(f"writing {count} messages", file=sys.stderr)
        fill(source, count)
        subprocess.run(["chown", "-R", "vmail:vmail", source.parent], check=True)
    octets = sum(path.stat().st_size for path in source.rglob("cur/*"))
    plain, crypt = (folder / "dovecot" / each / "dovecot.conf" for each in ("plain", "enc"))
    subprocess.run(
        ["doveadm", "-c", plain, "mailbox", "status", "-u", "alice", "messages vsize", "*"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    costs: dict[str, Cost] = {}
    target = folder / "aerogramme"
    for name, command in {
        "`aerogramme import dovecot`": ["import", "dovecot", str(source), "alice@localhost"],
        "`aerogramme import imap`": [
            "import",
            "imap",
            "127.0.0.1:2144",
            "alice@localhost",
            "--login",
            "alice",
            "--security",
            "none",
        ],
    }.items():
        shutil.rmtree(target, ignore_errors=True)
        account = ["account", "create", "alice@localhost", "--data", str(target), "--password-stdin"]
        subprocess.run([PROGRAM, *account], input=PASSWORD.encode(), check=True, stdout=subprocess.DEVNULL)
        where = ["--data", str(target), "--password-stdin"]
        costs[name] = measured([str(PROGRAM), *command, *where], f"{PASSWORD}\n{PASSWORD}\n")
        print(name, costs[name], file=sys.stderr)
    over = {
        "host": "127.0.0.1",
        "port": "2144",
        "user": "alice",
        "password": PASSWORD,
        "features": "rfc822.size fetch-headers",
    }
    options = [word for key, value in over.items() for word in ("-o", f"imapc_{key}={value}")]
    options += ["-o", f"plugin/mail_crypt_private_password={PASSWORD}", "-o", "mail_prefetch_count=20"]
    shutil.rmtree(
        folder / "dovecot/mail-enc/bob/Maildir", ignore_errors=True
    )  # made with the keys: INBOX is in the way
    backup = ["doveadm", "-c", str(crypt), *options, "backup", "-R", "-u", "bob", "imapc:"]
    peer = costs["`doveadm backup` over imapc, into mail-crypt"] = measured(backup, "")
    print(f"{count:,} messages, {octets / 1e6:,.0f} MB\n")
    print(
        "| move | seconds | messages a second | MB a second | CPU s | memory | messages a second, in times of Dovecot's |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, cost in costs.items():
        each = f"{cost.seconds:.1f} | {count / cost.seconds:,.0f} | {octets / 1e6 / cost.seconds:.1f} | {cost.cpu:.1f}"
        print(f"| {name} | {each} | {cost.memory / 1e6:.0f} MB | {peer.seconds / cost.seconds:.1f} |")


if __name__ == "__main__":
    main()
