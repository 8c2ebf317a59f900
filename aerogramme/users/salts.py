"""The salts that SCRAM tells to everybody who asks: those of accounts, and of names that nobody has.

A client of SCRAM names its user and is told a salt before it has proved anything. So that the answer does not
tell who exists, every name has a salt, and the same one at any time: that of its account, or one made of the
name and a secret of this installation.
"""

import hmac
import os
from pathlib import Path

from aerogramme.errors import BadConfiguration
from aerogramme.seal.scram import SALT_SIZE, account_salt
from aerogramme.users.directory import User, canonical

SECRET_SIZE = 32


class Salts:
    """`secret`: without it nobody can tell made-up salts from real ones."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, name: str, user: User | None) -> bytes:
        """The salt (16 bytes) for a login as `name`, which is a name of `user`, or nobody's (None)."""
        if user is not None:
            return account_salt(bytes.fromhex(user.account))
        try:
            name = canonical(name)  # as the directory compares: Alice@ and alice@ have one salt
        except ValueError:
            name = name.casefold()
        return hmac.digest(self._secret, b"aerogramme 1 scram salt" + name.encode(), "sha256")[:SALT_SIZE]


def installation_secret(path: Path) -> bytes:
    """The secret in this file (32 bytes), which is made if there is none. Raises BadConfiguration."""
    try:
        if not path.exists():
            make_secret_file(path, SECRET_SIZE)
        secret = path.read_bytes()
    except OSError as error:
        raise BadConfiguration(f"cannot read or make {path}: {error.strerror}") from error
    if len(secret) != SECRET_SIZE:
        raise BadConfiguration(
            f"{path} is damaged: {len(secret)} bytes, not {SECRET_SIZE}",
            hint="delete it, and a new one is made; no password depends on it",
        )
    return secret


def make_secret_file(path: Path, size: int) -> None:
    """A new file of random bytes, that its owner alone may read. A whole file or none, and one that is there
    is never replaced: two processes may start at once. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(new, path)
        except FileExistsError:
            return  # the other one's is as good
    finally:
        os.unlink(new)
