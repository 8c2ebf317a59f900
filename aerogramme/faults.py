"""How a fault of our own is logged: where it happened, without what it happened to."""

import traceback

from aerogramme.errors import AerogrammeError


def stack(error: BaseException) -> str:
    """The stack of an exception as text for the log: files, lines, functions and types, causes included.

    The texts of exceptions are left out, as they may quote mail or mailbox names (a ValueError says what it
    could not read); our own errors are written so that theirs can be shown.
    """
    lines: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        said = f": {error}" if isinstance(error, AerogrammeError) else ""
        lines.append(f"{type(error).__name__}{said}")
        lines += [
            f"  {frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        below = error.__cause__ or error.__context__
        if below is not None:
            waiting.append(below)
    return "\n".join(lines)
