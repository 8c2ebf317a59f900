"""Another reader of what seal/ stores: written from docs/format.md alone, with none of Aerogramme's code.

It is small and slow, and checks only what it must to read. Where it and seal/ disagree, the document is
wrong, or seal/ is.
"""

import base64
import hashlib
import hmac
import unicodedata

import msgpack  # type: ignore[import-untyped]  # it ships no types
import zstandard
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


def binding(account: bytes, kind: str, name: str) -> bytes:
    return bytes([len(account)]) + account + bytes([len(kind.encode())]) + kind.encode() + name.encode()


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    return hmac.digest(key, info + b"\1", "sha256")[:length]  # all that is asked for is at most one block


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return hkdf_expand(hkdf_extract(salt, secret), info, 32)


def read_record(key: bytes, head: bytes, sealed: bytes, bound: bytes) -> bytes:
    assert sealed.startswith(head)
    rest = sealed[len(head) :]
    return AESGCM(key).decrypt(rest[:12], rest[12:], head + bound)


def read_generation_record(
    secrets: dict[int, bytes], account: bytes, kind: str, name: str, sealed: bytes
) -> bytes:
    assert sealed[:4] == b"AGG\1"
    secret = secrets[int.from_bytes(sealed[4:8], "big")]
    key = hkdf(secret, account, b"aerogramme 1 record " + kind.encode())
    return read_record(key, sealed[:8], sealed, binding(account, kind, name))


def read_body(key: bytes, bound: bytes, sealed: bytes) -> bytes:
    assert sealed[:4] == b"AGB\1"
    chunks = [sealed[at : at + 65552] for at in range(4, len(sealed), 65552)]
    stream = b""
    for n, chunk in enumerate(chunks):
        nonce = bytes(7) + n.to_bytes(4, "big") + bytes([n == len(chunks) - 1])
        stream += AESGCM(key).decrypt(nonce, chunk, b"AGB\1" + bound)
    plain, lengths = b"", b""
    at = 0
    while True:
        length = int.from_bytes(stream[at : at + 4], "big")
        frame = zstandard.decompress(stream[at + 4 : at + 4 + length]) if length else b""
        lengths += stream[at : at + 4]
        plain += frame
        at += 4 + length
        if len(frame) < 262144:
            break
    assert stream[at:] == lengths + len(plain).to_bytes(8, "big")
    return plain


class HybridKey:
    """X-Wing, out of its seed, and HPKE's base mode on it (RFC 9180)."""

    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        self.mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.x25519_public = self.x25519.public_key().public_bytes_raw()
        self.public = self.mlkem.public_key().public_bytes_raw() + self.x25519_public

    def decapsulate(self, enc: bytes) -> bytes:
        lattice = self.mlkem.decapsulate(enc[:1088])
        curve = self.x25519.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
        return hashlib.sha3_256(lattice + curve + enc[1088:] + self.x25519_public + b"\\.//^\\").digest()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        suite = b"HPKE" + bytes.fromhex("647a 0001 0002")

        def extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
            return hkdf_extract(salt, b"HPKE-v1" + suite + label + secret)

        def expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
            return hkdf_expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context, length)

        shared = self.decapsulate(sealed[:1120])
        context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
        secret = extract(shared, b"secret", b"")
        key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
        return AESGCM(key).decrypt(nonce, sealed[1120:], b"")


def read_incoming(secrets: dict[int, bytes], account: bytes, bound: bytes, sealed: bytes) -> bytes:
    assert sealed[:4] == b"AGI\1"
    secret = secrets[int.from_bytes(sealed[4:8], "big")]
    key = HybridKey(hkdf(secret, account, b"aerogramme 1 incoming"))
    return key.open(sealed[8:], sealed[:8] + bound)


def read_slot(password: bytes, stored: bytes) -> tuple[bytes, str]:
    """The seed of the private key, and the label."""
    assert stored[:4] == b"AGS\1"
    memory, passes, lanes = (int.from_bytes(stored[at : at + 4], "big") for at in (14, 18, 22))
    salt, public = stored[26:42], stored[42:1258]
    stretched = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(
        unicodedata.normalize("NFC", password.decode()).encode()
    )
    seed, label = msgpack.unpackb(read_record(stretched, stored[:1258], stored, b""))
    assert HybridKey(seed).public == public
    return seed, label


def read_hashed_slot(password: bytes, stored: bytes) -> bytes:
    """The seed of the private key; of the methods it knows salted SHA-256."""
    assert stored[:5] == b"AGS\3\3"
    memory, passes, lanes = (int.from_bytes(stored[at : at + 4], "big") for at in (14, 18, 22))
    salt, length, public = stored[26:42], stored[42], stored[234:1450]
    method, salt_of_hash = stored[43 : 43 + length].split(b":")
    assert method == b"sha256" and stored[43 + length : 234] == bytes(191 - length)
    digest = hashlib.sha256(password + base64.b64decode(salt_of_hash)).digest()
    stretched = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    record = read_record(stretched.derive(digest), stored[:1450], stored, b"")
    seed, label = msgpack.unpackb(record)
    assert HybridKey(seed).public == public and label == ""
    return bytes(seed)


def read_app_slot(password: bytes, account: bytes, stored: bytes) -> tuple[bytes, str, bytes]:
    """The seed of the private key, the label, and ServerKey."""
    assert stored[:4] == b"AGS\2"
    iterations, salt, stored_key = int.from_bytes(stored[14:18], "big"), stored[18:34], stored[34:66]
    assert salt == hashlib.sha256(b"aerogramme 1 scram salt" + account).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert hashlib.sha256(client_key).digest() == stored_key
    key = hkdf(client_key, salt, b"aerogramme 1 scram slot")
    seed, label, server_key = msgpack.unpackb(read_record(key, stored[:1282], stored, b""))
    assert HybridKey(seed).public == stored[66:1282]
    assert server_key == hmac.digest(salted, b"Server Key", "sha256")
    return seed, label, server_key


def read_keyring(seed: bytes, account: bytes, sealed: bytes) -> dict[int, bytes]:
    """The secrets of the generations."""
    assert sealed[:4] == b"AGK\1"
    version, count = int.from_bytes(sealed[4:8], "big"), int.from_bytes(sealed[8:10], "big")
    bound = binding(account, "keyring", str(version))
    key = HybridKey(seed)
    stanzas = {sealed[at : at + 16]: sealed[at + 16 : at + 1216] for at in range(10, 10 + count * 1216, 1216)}
    vouched = key.open(stanzas[hashlib.sha256(key.public).digest()[:16]], sealed[:10] + bound)
    vouching = hkdf(seed, b"", b"aerogramme 1 vouching key")
    file_key = read_record(vouching, b"AGR\1", vouched, bound)
    content = msgpack.unpackb(read_record(file_key, sealed[: 10 + count * 1216], sealed, bound))
    return {number: secret for number, secret, _created in content[0]}
