"""A secret that does not show itself: a password, a recovery code typed in, an app password."""

import hmac
from typing import NoReturn


class Secret:
    """Bytes that never appear in a repr, a log line or a pickle. Text becomes UTF-8."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The secret itself, for the one place that uses it."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        # In constant time: how long a comparison takes tells nothing about where two secrets differ.
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a dict of secrets would compare hashes, not in constant time

    def __repr__(self) -> str:
        return f"<Secret of {len(self._value)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class KeySecret(Secret):
    """Random bytes that a program has made, and that nobody types: they open the invitation that was made
    with them, and nothing else."""

    __slots__ = ()
