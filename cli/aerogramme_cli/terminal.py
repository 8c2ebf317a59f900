"""How commands show things: tables, bars and words on a terminal, the same text without one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Told = Callable[[str], None]


def console(*, stderr: bool = False) -> "Console":
    """Shows text as it is: what users and senders write is no markup, and `:x:` no picture."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def bars(*, counts: bool = True) -> "Iterator[Progress]":
    """Bars on standard error, if that is a terminal. Each task has a description, and as the field `words`
    what else there is to say; `counts`: how many of how many, and else how much."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    out = console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn() if counts else TaskProgressColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, disable=not out.is_terminal, transient=True) as progress:
        yield progress


@contextmanager
def status() -> Iterator[Told]:
    """A line on standard error that says what is being done, if that is a terminal."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda _: None
        return
    from rich.text import Text

    with out.status("") as line:
        yield lambda words: line.update(Text(words))


def printable(text: str) -> str:
    """What a mail, a file or another server says: on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def counted(count: int, what: str, many: str = "") -> str:
    """`1 message`, `2 messages`; `many`: of more than one, if that is not with an s."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"
