"""Sealing to a public key: HPKE with a lattice (ML-KEM-768) and a curve (X25519) together.

RFC 9180, base mode, HKDF-SHA256, AES-256-GCM.

The private key is the 32-byte seed of X-Wing (draft-connolly-cfrg-xwing-kem §5.2): SHAKE-256 makes the seeds
of both halves of it. What is sealed stays closed as long as one of the two, the lattice or the curve, holds.
Anyone can seal to a public key, so what opens says nothing about who sealed it.
"""

import hashlib
import os
from typing import NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from aerogramme.errors import Damaged

SEED_SIZE = 32
PUBLIC_SIZE = 1184 + 32  # ML-KEM-768 encapsulation key, X25519 public key
ENCAPSULATED_SIZE = 1088 + 32  # ML-KEM-768 ciphertext, X25519 ephemeral key
OVERHEAD = ENCAPSULATED_SIZE + 16

FINGERPRINT_SIZE = 16

_suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def fingerprint_of(public: bytes) -> bytes:
    """Which public key this is: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(public).digest()[:FINGERPRINT_SIZE]


class HybridPublic:
    """A public key: seals, and cannot open."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != PUBLIC_SIZE:
            raise Damaged("a public key has the wrong length")
        self.raw = bytes(raw)
        try:
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
            )
        except ValueError as e:  # FIPS 203 §7.2: a coefficient out of range
            raise Damaged("this is not a public key") from e

    @property
    def fingerprint(self) -> bytes:
        """See fingerprint_of."""
        return fingerprint_of(self.raw)

    def seal(self, plain: bytes, info: bytes) -> bytes:
        """enc, ciphertext and tag; `info` must be the same to open it."""
        try:
            return _suite.encrypt(plain, self._key, info=info)
        except ValueError as e:  # RFC 7748 §6.1: an X25519 key of low order
            raise Damaged("this is not a public key") from e


class HybridPrivate:
    """A private key, all of which comes out of a 32-byte seed."""

    __slots__ = ("_key", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise Damaged("a private key has the wrong length")
        self.seed = bytes(seed)
        expanded = hashlib.shake_256(seed).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = HybridPublic(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        """A new random key."""
        return cls(os.urandom(SEED_SIZE))

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plain bytes, or `Damaged`."""
        try:
            return _suite.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError) as e:  # ValueError: an X25519 key of low order (RFC 7748 §6.1)
            raise Damaged("what was sealed to a public key does not open") from e

    def __repr__(self) -> str:
        return "<HybridPrivate>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")
