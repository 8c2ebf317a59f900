"""Seals and renders letters: a function, and a program that does it beside another one (sealing.py).

It is a program of its own, and small, so that its memory is that of the letters.
"""

import gc
import os
import sys
from dataclasses import fields
from typing import Any, BinaryIO, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.mail.digest import Digest, render
from aerogramme.mailbox.body_record import BodyRecord, body_binding
from aerogramme.migrate.shared import Shared
from aerogramme.seal.body import ContentKey, seal_body

LENGTH: Final = 8  # octets in which it is said how long a head is
_FIELDS: Final = tuple(each.name for each in fields(Digest))


class Unsealed(NamedTuple):
    """A letter that is held whole. `lines` as in sources.source.Letter."""

    content: int  # the id that it gets
    raw: bytes
    lines: int | None


def seal(account: bytes, letter: Unsealed) -> tuple[BodyRecord, Digest, bytes]:
    """The record, the digest and the sealed body of a letter."""
    content, raw, lines = letter
    key = ContentKey.generate()
    sealed = seal_body(key, body_binding(account, content), raw)
    return BodyRecord(key, len(sealed), len(raw)), render(raw, lines), sealed


def turn(shared: Shared, length: int) -> int:
    """Puts what becomes of the letters in the shared memory in their place. `length`: of the head that is
    there. That of the new one."""
    account, contents, sizes, lines = shared.unpacked(length)
    told, bodies = list[Any](), list[bytes]()
    for content, size, count in zip(contents, sizes, lines, strict=True):
        [raw] = shared.read([size], length)
        length += size
        record, digest, sealed = seal(account, Unsealed(content, raw, count))
        said = [getattr(digest, name) for name in _FIELDS]
        told.append([[record.key.to_bytes(), record.sealed_size, record.size], said])
        bodies.append(sealed)
    head: bytes = msgpack.packb(told)
    shared.write([head, *bodies])
    return len(head)


def main(shared: Shared, given: BinaryIO, out: BinaryIO) -> None:
    """Until who has started this has no more letters, or is gone."""
    gc.freeze()  # the modules stay
    while len(said := given.read(LENGTH)) == LENGTH:
        length = turn(shared, int.from_bytes(said, "big"))
        out.write(length.to_bytes(LENGTH, "big"))
        out.flush()


if __name__ == "__main__":
    os.nice(10)  # who has started this comes first: then there are always letters to seal
    try:
        main(Shared(int(sys.argv[1])), sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:  # who has started this is gone
        sys.exit(1)
