"""Where the body of a content lies, and how it is opened."""

import struct
from typing import NamedTuple

from aerogramme.errors import Damaged
from aerogramme.seal.body import ContentKey, open_body
from aerogramme.seal.record import Binding

_RECORD = struct.Struct(">32sQQ")
_PLACED = struct.Struct(">32sQQ16sQ")
_MAX_OFFSET = (1 << 63) - 1  # what stores take


class Place(NamedTuple):
    """Where in a pack a body lies."""

    pack: str  # 32 hex digits
    offset: int


class BodyRecord(NamedTuple):
    """How a body is found and opened: field `record` of the digest. With no place it is an object of its
    own; with one it may be that too."""

    key: ContentKey
    sealed_size: int  # octets of the body as it is stored
    size: int  # octets of the letter
    place: Place | None = None

    def to_bytes(self) -> bytes:
        fields = self.key.to_bytes(), self.sealed_size, self.size
        if self.place is None:
            return _RECORD.pack(*fields)
        return _PLACED.pack(*fields, bytes.fromhex(self.place.pack), self.place.offset)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "BodyRecord":
        if len(raw) == _RECORD.size:
            key, sealed_size, size = _RECORD.unpack(raw)
            return cls(ContentKey.from_bytes(key), sealed_size, size)
        if len(raw) != _PLACED.size:
            raise Damaged("a body record has the wrong length")
        key, sealed_size, size, pack, offset = _PLACED.unpack(raw)
        if offset + sealed_size > _MAX_OFFSET:
            raise Damaged("a body lies nowhere")
        return cls(ContentKey.from_bytes(key), sealed_size, size, Place(pack.hex(), offset))


def body_name(content: int) -> str:
    """The object that holds the body of a content."""
    return f"body/{content:016x}"


def pack_name(pack: str) -> str:
    """The object that is a pack."""
    return f"pack/{pack}"


def body_binding(account: bytes, content: int) -> Binding:
    return Binding(account, "body", body_name(content))


def open_letter(account: bytes, content: int, record: BodyRecord, sealed: bytes) -> bytes:
    """The letter of a sealed body. Raises Damaged, also if it has another size than its record says: more is
    never unpacked."""
    plain = open_body(record.key, body_binding(account, content), sealed, record.size)
    if len(plain) != record.size:
        raise Damaged("a body has not the size that its record says")
    return plain
