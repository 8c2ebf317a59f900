"""The incoming key: sealing what arrives for an account by those who hold none of its secrets.

    public  = magic (3 bytes), version (1), account (16), generation (4), public key (1216), check (16)
    check   = the first 16 bytes of SHA-256 over all in front of it
    sealed  = magic (3 bytes), version (1), generation (4), enc (1120), ciphertext, tag (16)

The check is against accidents: a letter sealed to a public key with one bit flipped on a disk is lost, and
its sender has a 250. HPKE's info is the head (magic to generation) and the binding.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Self

from aerogramme.errors import Damaged
from aerogramme.seal.hybrid import PUBLIC_SIZE, HybridPrivate, HybridPublic
from aerogramme.seal.record import ACCOUNT_SIZE, Binding

PUBLIC_MAGIC = b"AGP\x01"
SEALED_MAGIC = b"AGI\x01"
HEAD_SIZE = 8
_CHECK_SIZE = 16

_public = struct.Struct(f">4s{ACCOUNT_SIZE}sI{PUBLIC_SIZE}s")


@dataclass(frozen=True)
class IncomingPublic:
    """The public key of one generation of an account. It seals; it cannot open."""

    account: bytes
    generation: int
    key: HybridPublic = field(repr=False, compare=False)

    def seal(self, plain: bytes, binding: Binding) -> bytes:
        """Sealed so that only the keyring opens it, with the same binding, which must be of this account."""
        if binding.account != self.account:
            raise Damaged("the incoming key is that of another account")
        head = sealed_head(self.generation)
        return head + self.key.seal(plain, head + binding.encoded())

    def to_bytes(self) -> bytes:
        """As it is stored, in clear."""
        body = _public.pack(PUBLIC_MAGIC, self.account, self.generation, self.key.raw)
        return body + _check(body)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """A stored key, or `Damaged`."""
        if stored[:4] != PUBLIC_MAGIC or len(stored) != _public.size + _CHECK_SIZE:
            raise Damaged("this is not an incoming key")
        if _check(stored[: _public.size]) != stored[_public.size :]:
            raise Damaged("an incoming key is damaged")
        _, account, generation, raw = _public.unpack_from(stored)
        return cls(account, generation, HybridPublic(raw))


def sealed_head(generation: int) -> bytes:
    """What stands in clear in front of what was sealed to the incoming key of a generation."""
    return SEALED_MAGIC + generation.to_bytes(4, "big")


def sealed_generation(sealed: bytes) -> int:
    """The generation that something says it was sealed to, or `Damaged`."""
    if sealed[:4] != SEALED_MAGIC or len(sealed) < HEAD_SIZE:
        raise Damaged("this is not sealed to an incoming key")
    return int.from_bytes(sealed[4:HEAD_SIZE], "big")


def open_incoming(key: HybridPrivate, generation: int, sealed: bytes, binding: Binding) -> bytes:
    """The plain bytes, or `Damaged`."""
    return key.open(sealed[HEAD_SIZE:], sealed_head(generation) + binding.encoded())


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_SIZE]
