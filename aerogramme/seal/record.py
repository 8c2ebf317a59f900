"""Sealed records: AES-256-GCM with everything that names the record as associated data.

    record  = head, nonce (12 random bytes), ciphertext, tag (16)
    head    = magic (3 bytes), version (1 byte), and what a reader needs before it can open: see each kind

The head and the `Binding` are the associated data: a record opens only with its own head, in its own account,
as its own kind, under its own name. Nothing can be moved, renamed or swapped.
"""

import os
from typing import NamedTuple, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerogramme.errors import Damaged

KEY_SIZE = 32
ACCOUNT_SIZE = 16
NONCE_SIZE = 12
TAG_SIZE = 16
MAGIC = b"AGR\x01"


class Binding(NamedTuple):
    """What is sealed: whose it is, what kind of thing, and its name. It is not stored, both sides know it."""

    account: bytes
    kind: str
    name: str

    def encoded(self) -> bytes:
        """The binding as associated data. Lengths before the parts: no two bindings have the same bytes."""
        return binding_prefix(self.account, self.kind) + self.name.encode()


def binding_prefix(account: bytes, kind: str) -> bytes:
    """The encoded binding without the name, which comes last and so needs no length."""
    kind_bytes = kind.encode()
    return b"%c%b%c%b" % (len(account), account, len(kind_bytes), kind_bytes)


def seal_record(aead: AESGCM, head: bytes, plain: bytes, bound: bytes, nonce: bytes | None = None) -> bytes:
    """head, nonce (random unless given), ciphertext, tag; `bound` is associated data that is not stored."""
    nonce = nonce or os.urandom(NONCE_SIZE)
    return head + nonce + aead.encrypt(nonce, plain, head + bound)


def open_record(aead: AESGCM, head: bytes, sealed: bytes, bound: bytes) -> bytes:
    """The plain bytes of a record whose head has been checked by the caller, or `Damaged`."""
    body = len(head) + NONCE_SIZE
    try:
        return aead.decrypt(sealed[len(head) : body], sealed[body:], head + bound)
    except (InvalidTag, ValueError) as e:  # ValueError: the nonce is cut
        raise Damaged("a sealed record does not open") from e


class KeyBytes:
    """32 bytes that nobody sees, and the cipher made of them. What all symmetric keys have in common."""

    __slots__ = ("_raw", "aead")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise Damaged(f"a key has {KEY_SIZE} bytes, not {len(raw)}")
        self._raw = bytes(raw)
        self.aead = AESGCM(self._raw)

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(os.urandom(KEY_SIZE))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class Key(KeyBytes):
    """A key for records. Its bytes leave it only inside seal/."""

    __slots__ = ()

    def seal(self, plain: bytes, binding: Binding) -> bytes:
        """A sealed record, 32 bytes longer than the plain bytes."""
        return seal_record(self.aead, MAGIC, plain, binding.encoded())

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """The plain bytes; `Damaged` if they were not sealed with this key and binding."""
        if sealed[: len(MAGIC)] != MAGIC:
            raise Damaged("this is not a sealed record")
        return open_record(self.aead, MAGIC, sealed, binding.encoded())

    def export(self) -> bytes:
        """The raw key. Only for seal/ itself."""
        return self._raw
