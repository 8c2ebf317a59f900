"""Which program does something: what it has begun is for it to finish."""

from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process, as long as the machine runs: its number is used again, but not with the same beginning."""

    number: int
    began: int


def process_of(task: int) -> Process | None:
    """The process of a task, which the kernel names when it asks for something. None: that has ended, or
    nobody can tell."""
    try:
        status = Path(f"/proc/{task}/status").read_text()
        number = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:"))
        # proc_pid_stat(5): the name, the second, may have anything in it, between parentheses; starttime is
        # the 22nd.
        return Process(number, int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]))
    except (OSError, StopIteration):
        return None
