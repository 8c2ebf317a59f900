"""Strict msgpack: one value has one encoding, and every other sequence of bytes is `Damaged`."""

from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged


def pack(value: Any) -> bytes:
    """Lists, text, bytes, integers and booleans, as short as msgpack can."""
    packed: bytes = msgpack.packb(value)
    return packed


def unpack(packed: bytes) -> Any:
    """The value. Packing it again must give the same bytes: no long forms, nothing after the end."""
    try:
        value = msgpack.unpackb(packed, strict_map_key=True)
        same = pack(value) == packed
    except (ValueError, TypeError, msgpack.UnpackException) as e:
        raise Damaged("a record does not decode") from e
    if not same:
        raise Damaged("a record is not in its canonical form")
    return value
