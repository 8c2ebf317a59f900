"""What the mount costs beside a plain Maildir: a table of docs/performance.md, as Markdown.

    python -m benchmarks.mount [MESSAGES] [FOLDER]    run where the repository is, with the corpus; a minute

The Maildir on disk holds the same files under the same names, and has been read before: all of it is in the page cache.
Each program runs once on a fresh mount ("first"), and then again, when the kernel knows names and attributes. Each cell
says how long that took, and the CPU time of the program and the mount together; then that CPU time in times of the
one on disk, which is what other work on the machine changes least. In FOLDER, if it is given, the account stays for
the next run.
"""

import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.mounted import Mount, cheap_account, filled, unmount

ROOT = Path(__file__).parent.parent
MESSAGES = 10_000
AGAIN = 3
PROGRAMS = {
    "`ls -f`: names": "ls -f {} | wc -l",
    "`ls -l`": "ls -l {}",
    "`find -ls`": "find {} -ls",
    "the first 8 kB of each, as mutt reads headers": "find {} -type f -print0 | xargs -0 head -qc 8192",
    "all of each: `tar`": "tar -C {} -cf - . | cat",
    "`grep -l` in all": "find {} -type f -print0 | xargs -0 grep -l opportunity || true",
}


def letters(count: int) -> list[bytes]:
    """Real mails of the corpus, again from the first when there are no more."""
    names = sorted((ROOT / "corpus").iterdir())
    return [names[n % len(names)].read_bytes().replace(b"\n", b"\r\n") for n in range(count)]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program took, in seconds; `cpu` with that of the mount."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{1000 * self.wall:.0f} ms, {1000 * self.cpu:.0f} ms"


def run(program: str, where: Path, mount: int) -> Cost:
    command = program.format(shlex.quote(str(where)))
    before, worked, began = os.times(), cpu(mount), time.perf_counter()
    subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, os.times()
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, children + cpu(mount) - worked)


def median(costs: list[Cost]) -> Cost:
    """Of each for itself."""
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def copy(source: Path, target: Path) -> None:
    """The same files, of the same times, on disk."""
    subprocess.run(["cp", "-r", "--preserve=timestamps", "--no-preserve=mode", source, target], check=True)


def cpu(process: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    kept = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = kept or Path(tempfile.mkdtemp(prefix="bench-mount-"))
    folder.mkdir(exist_ok=True)
    data, plain, at = folder / "data", folder / "plain", folder / "at"
    at.mkdir(exist_ok=True)
    if not data.exists():
        cheap_account(data)
        filled(data, "INBOX", letters(count), ["\\Seen"])
    rows = []
    try:
        for what, program in PROGRAMS.items():
            mount = Mount(data, at, folder / "log")
            try:
                if not plain.exists():
                    copy(at / "cur", plain)
                process = mount.process.pid
                on_disk = median([run(program, plain, process) for _ in range(AGAIN)])
                first = run(program, at / "cur", process)
                again = median([run(program, at / "cur", process) for _ in range(AGAIN)])
            finally:
                mount.stop()
            rows.append(
                f"| {what} | {on_disk} | {first}; {first.cpu / on_disk.cpu:.1f} |"
                f" {again}; {again.cpu / on_disk.cpu:.1f} |"
            )
            print(rows[-1], file=sys.stderr)
    finally:
        unmount(at)
        if kept is None:
            shutil.rmtree(folder)
    print(f"| {count:,} mails | on disk | mounted, first | mounted, again |\n|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
