"""Codes: secrets that we make, for paper and for programs; random, forgiving to type, and a slip is told.

30 characters of Crockford's base 32 in six groups: 26 of random (130 bits), 4 of check sum (the first 20 bits
of SHA-256 over kind and the 26), so a code says of which kind it is. Case, spaces and dashes do not matter; O
is 0, I and L are 1.
"""

import hashlib
import secrets
from typing import Literal, NoReturn, Self, get_args

from aerogramme.errors import Refused
from aerogramme.seal.secrets import Secret

CodeKind = Literal["recovery", "invitation", "app"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FORGIVING = str.maketrans("OIL", "011", "- \t\r\n.")
_RANDOM = 26
_CHECK = 4
_GROUP = 5


class Code:
    """A code that was made here or typed in right. Shown once; its repr hides it."""

    __slots__ = ("_characters", "kind")

    def __init__(self, kind: CodeKind, characters: str) -> None:
        self.kind = kind
        self._characters = characters

    @classmethod
    def generate(cls, kind: CodeKind) -> Self:
        """A new random code."""
        characters = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
        return cls(kind, characters + _check(kind, characters))

    @classmethod
    def parse(cls, typed: str) -> Self:
        """The code that somebody typed; `Refused` says what is wrong with it."""
        characters = typed.upper().translate(_FORGIVING)
        wrong = sorted(set(characters) - set(_ALPHABET))
        if wrong:
            raise Refused(f"a code has no {wrong[0]!r} in it")
        if len(characters) != _RANDOM + _CHECK:
            raise Refused(f"a code has {_RANDOM + _CHECK} characters, this has {len(characters)}")
        for kind in get_args(CodeKind):
            if _check(kind, characters[:_RANDOM]) == characters[_RANDOM:]:
                return cls(kind, characters)
        raise Refused("there is a typing error in the code")

    @property
    def secret(self) -> Secret:
        """What opens the slot: the code as it is shown, since programs send it as it is (SCRAM)."""
        return Secret(self.reveal())

    def reveal(self) -> str:
        """The code in groups, to be printed once. App passwords are in lower case, as phones type it."""
        shown = "-".join(self._characters[i : i + _GROUP] for i in range(0, len(self._characters), _GROUP))
        return shown.lower() if self.kind == "app" else shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and self.kind == other.kind and self.secret == other.secret

    __hash__ = None  # type: ignore[assignment]  # as for Secret

    def __repr__(self) -> str:
        return f"<Code: {self.kind}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a code is not pickled")


def _check(kind: CodeKind, characters: str) -> str:
    digest = hashlib.sha256(f"aerogramme {kind} {characters}".encode()).digest()
    bits = int.from_bytes(digest[:4], "big") >> 12
    return "".join(_ALPHABET[bits >> shift & 31] for shift in (15, 10, 5, 0))
