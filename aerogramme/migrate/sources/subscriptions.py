"""Dovecot's file of subscriptions: a name a line, as names are spelled in the folders of the store.

Version 2 begins with a line `V`, tab, `2` and an empty one; levels are separated by tabs then.
"""

from typing import BinaryIO, Final

from aerogramme.migrate.sources.reading import open_file, reason
from aerogramme.migrate.sources.source import Fault

_LARGEST: Final = 8 << 20  # octets: 10,000 mailboxes with long names
# lib/strescape.h: what is \001 and a letter stands for an octet that would end a level or a line.
_ESCAPED: Final = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}


def read(folder: int, name: bytes, origin: str, separator: str, faults: list[Fault]) -> set[bytes] | None:
    """What the file of this name in a folder says; None if there is none, or it cannot be read."""
    file = open_file(name, folder, origin)
    if file is None:
        return None
    if not isinstance(file, Fault):
        with file:
            try:
                return parse(file, separator)
            except OSError as e:
                file = Fault(origin, reason(e), "")
    faults.append(Fault(origin, file.what, "it is not known what is subscribed"))
    return None


def parse(file: BinaryIO, separator: str) -> set[bytes]:
    """The names that are subscribed, with this separator between levels. It may name what is no mailbox."""
    lines = file.read(_LARGEST).split(b"\n")
    if lines[0] == b"V\t2":
        between = separator.encode()
        return {between.join(map(_plain, line.split(b"\t"))) for line in lines[1:] if line}
    return {line for line in lines if line}


def _plain(level: bytes) -> bytes:
    first, *rest = level.split(b"\1")
    return first + b"".join(_ESCAPED.get(part[:1], part[:1]) + part[1:] for part in rest)
