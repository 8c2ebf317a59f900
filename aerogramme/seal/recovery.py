"""Recovery codes: a secret for paper, random, forgiving to type, and a typing error is told.

30 characters of Crockford's base 32 in six groups: 26 of random (130 bits), 4 of check sum (the first 20 bits
of SHA-256 over the 26). Case, spaces and dashes do not matter; O is 0, I and L are 1.
"""

import hashlib
import secrets
from typing import NoReturn, Self

from aerogramme.errors import Refused
from aerogramme.seal.secrets import Secret

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FORGIVING = str.maketrans("OIL", "011", "- \t\r\n.")
_RANDOM = 26
_CHECK = 4
_GROUP = 5


class RecoveryCode:
    """A code that was made here or typed in right. Shown once; its repr hides it."""

    __slots__ = ("_characters",)

    def __init__(self, characters: str) -> None:
        self._characters = characters

    @classmethod
    def generate(cls) -> Self:
        """A new random code."""
        characters = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
        return cls(characters + _check(characters))

    @classmethod
    def parse(cls, typed: str) -> Self:
        """The code that somebody typed; `Refused` says what is wrong with it."""
        characters = typed.upper().translate(_FORGIVING)
        wrong = sorted(set(characters) - set(_ALPHABET))
        if wrong:
            raise Refused(f"a recovery code has no {wrong[0]!r} in it")
        if len(characters) != _RANDOM + _CHECK:
            raise Refused(f"a recovery code has {_RANDOM + _CHECK} characters, this has {len(characters)}")
        if _check(characters[:_RANDOM]) != characters[_RANDOM:]:
            raise Refused("there is a typing error in the recovery code")
        return cls(characters)

    @property
    def secret(self) -> Secret:
        """What opens the slot."""
        return Secret(self._characters)

    def reveal(self) -> str:
        """The code in groups, to be printed once."""
        return "-".join(self._characters[i : i + _GROUP] for i in range(0, len(self._characters), _GROUP))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecoveryCode) and self.secret == other.secret

    __hash__ = None  # type: ignore[assignment]  # as for Secret

    def __repr__(self) -> str:
        return "<RecoveryCode>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a recovery code is not pickled")


def _check(characters: str) -> str:
    bits = (
        int.from_bytes(hashlib.sha256(b"aerogramme recovery " + characters.encode()).digest()[:4], "big")
        >> 12
    )
    return "".join(_ALPHABET[bits >> shift & 31] for shift in (15, 10, 5, 0))
