"""Who does something: what a program has begun is for it to finish."""

from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process, as long as the machine runs: its number is used again, but not with the same beginning."""

    number: int
    began: int  # 0: it has ended


def process_of(task: int) -> Process | None:
    """The process of a task, which the kernel names when it asks for something. None: that has ended, or
    nobody can tell."""
    try:
        status = Path(f"/proc/{task}/status").read_text()
        number = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:"))
        return Process(number, int(_stat(number)[19]))
    except (OSError, StopIteration):
        return None


def leader_of(task: int) -> Process | None:
    """The process that leads the group of a task: to a script it is the same whatever program it runs, and to
    a shell on a terminal another for each command. None: that has ended, or nobody can tell."""
    try:
        number = int(_stat(task)[2])
    except OSError:
        return None
    try:
        return Process(number, int(_stat(number)[19]))
    except OSError:
        return Process(number, 0)  # while there is a group, nobody else gets its number


def _stat(number: int) -> list[str]:
    """proc_pid_stat(5) from the third field on: pgrp is the 5th, starttime the 22nd. The second, the name,
    may have anything in it, between parentheses."""
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
