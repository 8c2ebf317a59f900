"""What the mount costs beside a plain Maildir: a table of docs/performance.md, as Markdown.

    python -m benchmarks.mount [MESSAGES] [FOLDER]    run where the repository is, with the corpus; a minute

The Maildir on disk holds the same files under the same names, and has been read before: all of it is in the page cache.
Each program runs once on a fresh mount ("first"), and then again; the least of five of each. Each cell says how long that
took, and the CPU time of the program and the mount together; then that CPU time in times of the one on disk, which is what
other work on the machine changes least. In FOLDER, if it is given, the account stays for the next run.
"""

import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.mounted import Mount, cheap_account, filled, unmount

ROOT = Path(__file__).parent.parent
MESSAGES = 10_000
AGAIN = 5
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
    return [names[n % len(names)].read_bytes() for n in range(count)]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program took, in seconds; `cpu` with that of the mount."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{1000 * self.wall:.0f} ms, {1000 * self.cpu:.0f} ms"


def run(program: str, where: Path, mount: int | None = None) -> Cost:
    command = program.format(shlex.quote(str(where)))
    before, began = working(mount), time.perf_counter()
    subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return Cost(time.perf_counter() - began, working(mount) - before)


def working(mount: int | None) -> float:
    """Seconds that programs that have ended have worked, and the process of the mount."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    tasks = [] if mount is None else Path(f"/proc/{mount}/task").iterdir()
    threads = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    return children.ru_utime + children.ru_stime + threads / 1e9


def least(costs: list[Cost]) -> Cost:
    """Of each for itself: other work on the machine only ever adds to them."""
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs))


def copy(source: Path, target: Path) -> None:
    """The same files, of the same times, on disk."""
    subprocess.run(["cp", "-r", "--preserve=timestamps", "--no-preserve=mode", source, target], check=True)


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
        if not plain.exists():
            mount = Mount(data, at, folder / "log")
            copy(at / "cur", plain)
            mount.stop()
        for what, program in PROGRAMS.items():
            on_disk = least([run(program, plain) for _ in range(AGAIN)])
            firsts, later = [], []
            for _ in range(AGAIN):
                mount = Mount(data, at, folder / "log")
                process = mount.process.pid
                try:
                    firsts.append(run(program, at / "cur", process))
                    later.append(run(program, at / "cur", process))
                finally:
                    mount.stop()
            first, again = least(firsts), least(later)
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
