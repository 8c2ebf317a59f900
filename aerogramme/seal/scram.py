"""What SCRAM-SHA-256 makes of a password (RFC 5802 §3, RFC 7677): keys, and no messages.

    SaltedPassword = Hi(password, salt, iterations) = PBKDF2-HMAC-SHA-256
    ClientKey      = HMAC(SaltedPassword, "Client Key")      StoredKey = SHA-256(ClientKey)
    ServerKey      = HMAC(SaltedPassword, "Server Key")

The client proves with each login that it has ClientKey, and the server learns it then, by
ClientProof XOR ClientSignature. So a key made of ClientKey opens a slot although the password never comes.
"""

import hashlib
import hmac

from aerogramme.seal.record import ACCOUNT_SIZE
from aerogramme.seal.secrets import Secret

ITERATIONS = 4096
"""RFC 7677 §4: at least so many. More would protect a generated secret no better (docs/threat-model.md)."""

SALT_SIZE = 16
KEY_SIZE = 32  # of SHA-256: every key and every signature here


def account_salt(account: bytes) -> bytes:
    """The salt of all app passwords of an account (16 bytes): the server sends it before it knows which of
    them will come."""
    if len(account) != ACCOUNT_SIZE:
        raise ValueError(f"an account id has {ACCOUNT_SIZE} bytes")
    return hashlib.sha256(b"aerogramme 1 scram salt" + account).digest()[:SALT_SIZE]


def salted_password(secret: Secret, salt: bytes, iterations: int = ITERATIONS) -> bytes:
    """Hi() of RFC 5802 §2.2. The secret is taken as it is: SASLprep leaves generated ASCII alone."""
    return hashlib.pbkdf2_hmac("sha256", secret.reveal(), salt, iterations, KEY_SIZE)


def client_key(salted: bytes) -> bytes:
    """ClientKey, from SaltedPassword."""
    return hmac.digest(salted, b"Client Key", "sha256")


def stored_key(client: bytes) -> bytes:
    """StoredKey, from ClientKey."""
    return hashlib.sha256(client).digest()


def server_key(salted: bytes) -> bytes:
    """ServerKey, from SaltedPassword."""
    return hmac.digest(salted, b"Server Key", "sha256")
