"""The key of those who move users: for each account that it has made it has an invitation of its own, so that
an invitation can be renewed as long as its user has not come.

Whoever has it opens, together with the store, the accounts whose users have not come yet. It opens nothing of
the others, and can be deleted when all have come.
"""

import hmac
import os
import stat
from pathlib import Path
from typing import Self

from aerogramme.errors import BadConfiguration
from aerogramme.seal.secrets import KeySecret
from aerogramme.users.salts import make_secret_file

NAME = "first-login.key"  # in the data folder, unless it is said to be elsewhere
SIZE = 32


class ImportKey:
    """`secret`: 32 random bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key in a file, which is made if there is none. Raises BadConfiguration."""
        try:
            if not path.exists():
                make_secret_file(path, SIZE)
            mode = os.stat(path).st_mode
            secret = path.read_bytes()
        except OSError as error:
            raise BadConfiguration(f"cannot read or make {path}: {error.strerror}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise BadConfiguration(f"{path} can be read by others", hint=f"chmod 600 {path}")
        if len(secret) != SIZE:
            raise BadConfiguration(f"{path} is no key: {len(secret)} bytes, not {SIZE}")
        return cls(secret)

    def of(self, account: str) -> KeySecret:
        """What opens its invitation to an account (32 hex digits)."""
        label = b"aerogramme 1 first login" + bytes.fromhex(account)
        return KeySecret(hmac.digest(self._secret, label, "sha256"))
