"""Writes the test vectors of tests/vectors: `python -m tests.make_vectors`.

A vector that exists is never written again: what an old version stored must stay readable. A new format gets
new vectors beside the old ones.
"""

import hashlib
import random
import struct

import msgpack  # type: ignore[import-untyped]  # it ships no types
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aerogramme.seal import (
    Argon2Params,
    Binding,
    ContentKey,
    Generation,
    Key,
    Keyring,
    Secret,
    Slot,
    SlotPrivate,
    seal_body,
)
from aerogramme.seal.hashes import PasswordHash, Setting, b64
from aerogramme.seal.hybrid import HybridPublic
from aerogramme.seal.keyring import MAGIC as KEYRING_MAGIC
from aerogramme.seal.record import seal_record
from aerogramme.seal.stream import CHUNK, StreamSealer
from tests.helpers.vectors import FOLDER, Vector

_random = random.Random("aerogramme")
ACCOUNT = _random.randbytes(16)
SECRETS = {1: _random.randbytes(32), 3: _random.randbytes(32)}
PASSWORD = "Grüße 🔑"
APP_PASSWORD = "0m2m4-6m8ma-cmemg-jmkmn-pmrmt-vmxmz"
PARAMS = Argon2Params(memory=64, passes=1, lanes=1)
LETTER = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: hello\r\n\r\nHello, hello, hello.\r\n"

Field = str | int | bytes
Fields = dict[str, Field]


def write(name: str, expect: str, stored: bytes, /, **fields: Field) -> None:
    path = FOLDER / f"{name}.txt"
    if path.exists():
        return
    shown = {k.replace("_", " "): v.hex() if isinstance(v, bytes) else str(v) for k, v in fields.items()}
    path.write_text(Vector(name, {"expect": expect, **shown}, stored).text())


def flip(stored: bytes, at: int) -> bytes:
    changed = bytearray(stored)
    changed[at] ^= 1
    return bytes(changed)


def secrets_field() -> str:
    return " ".join(f"{number}={secret.hex()}" for number, secret in SECRETS.items())


def keyring() -> Keyring:
    return Keyring(ACCOUNT, generations(SECRETS), (), 0)


def generations(secrets: dict[int, bytes]) -> list[Generation]:
    return [Generation(number, secret, 1_700_000_000 + number) for number, secret in secrets.items()]


def records() -> None:
    def record(vector: str, expect: str, stored: bytes, why: str = "", **changed: Field) -> None:
        fields: Fields = {"account": ACCOUNT, "kind": "entry", "name": "0001", "plain": LETTER, **changed}
        write(f"record-{vector}", expect, stored, what="record", why=why, secrets=secrets_field(), **fields)

    sealed = keyring().seal("entry", "0001", LETTER)
    old = Keyring(ACCOUNT, generations({1: SECRETS[1]}), (), 0).seal("entry", "0001", LETTER)
    unknown = Keyring(ACCOUNT, generations({2: SECRETS[1]}), (), 0).seal("entry", "0001", LETTER)
    record("plain", "success", sealed)
    record("old-generation", "success", old)
    record("empty", "success", keyring().seal("entry", "0001", b""), plain=b"")
    record("unicode-name", "success", keyring().seal("entry", "é", LETTER), name="é")
    record("other-name", "payload failure", sealed, "sealed under another name", name="0002")
    record("other-kind", "payload failure", sealed, "sealed as another kind", kind="index")
    record("other-account", "payload failure", sealed, "sealed in another account", account=bytes(16))
    record("moved-generation", "payload failure", old[:7] + b"\3" + old[8:], "head names another generation")
    record("flipped", "payload failure", flip(sealed, 30), "a bit of the ciphertext")
    record("cut", "payload failure", sealed[:-1], "the last byte is missing")
    record("cut-nonce", "payload failure", sealed[:15], "cut in the nonce")
    record("trailing", "payload failure", sealed + b"\0", "a byte too many")
    record("magic", "header failure", flip(sealed, 0), "not the magic")
    record("version", "header failure", flip(sealed, 3), "version 0")
    record("unknown-generation", "header failure", unknown, "generation 2 is not in the keyring")
    record("nothing", "header failure", b"", "no bytes")


def bodies() -> None:
    raw = _random.randbytes(32)
    binding = Binding(ACCOUNT, "content", "00000000000000a1")
    noise = random.Random(1).randbytes(CHUNK + 100)

    def body(name: str, expect: str, stored: bytes, plain: bytes, why: str = "") -> None:
        fields: Fields = {"account": ACCOUNT, "kind": binding.kind, "name": binding.name}
        # What is large is told by its SHA-256.
        told: Fields = (
            {"plain": plain} if len(plain) < 1000 else {"plain_sha256": hashlib.sha256(plain).digest()}
        )
        write(f"body-{name}", expect, stored, what="body", why=why, key=raw, **fields, **told)

    def sealed(plain: bytes) -> bytes:
        key = ContentKey(raw)
        key._unused = True
        return seal_body(key, binding, plain)

    def stream(inner: bytes) -> bytes:
        sealer = StreamSealer(AESGCM(raw), binding)
        return sealer.update(inner) + sealer.finish()

    def frames(*frames: bytes, size: int) -> bytes:
        lengths = [len(f).to_bytes(4, "big") for f in frames]
        parts = [length + frame for length, frame in zip(lengths, frames, strict=True)]
        return stream(b"".join(parts + lengths) + struct.pack(">Q", size))

    small, large = sealed(LETTER), sealed(noise)
    frame = zstandard.compress(LETTER)
    n = len(LETTER)
    body("letter", "success", small, LETTER)
    body("empty", "success", sealed(b""), b"")
    body("one-frame-exactly", "success", sealed(b"ab" * (1 << 17)), b"ab" * (1 << 17))
    body("three-frames", "success", sealed(b"abc" * 200_000), b"abc" * 200_000)
    body("two-chunks", "success", large, noise)
    body("cut-at-chunk", "payload failure", large[: 4 + CHUNK + 16], noise, "the last chunk is missing")
    body("cut", "payload failure", small[:-1], LETTER, "the last byte is missing")
    body("head-only", "payload failure", small[:4], LETTER, "no chunk at all")
    body("trailing", "payload failure", small + b"\0", LETTER, "a byte too many")
    body("flipped", "payload failure", flip(small, 40), LETTER, "a bit of the ciphertext")
    body("magic", "header failure", flip(small, 1), LETTER, "not the magic")
    body("version", "header failure", flip(small, 3), LETTER, "version 0")
    empty_chunk = AESGCM(raw).encrypt(bytes(11) + b"\1", b"", b"AGB\1" + binding.encoded())
    body("empty-chunk", "payload failure", b"AGB\1" + empty_chunk, b"", "the last chunk is empty")
    body("table-size", "payload failure", frames(frame, size=n + 1), LETTER, "the table has another size")
    short = struct.pack(">I", len(frame)) + frame
    body("no-table", "payload failure", stream(short), LETTER, "the table is missing")
    table = struct.pack(">IQ", len(frame), n)
    body("table-trailing", "payload failure", stream(short + table + b"\0"), LETTER, "bytes after the table")
    body(
        "two-short-frames",
        "payload failure",
        frames(frame, frame, size=2 * n),
        LETTER * 2,
        "the first frame is short",
    )
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(LETTER)
    body(
        "unsized-frame",
        "payload failure",
        frames(unsized, size=n),
        LETTER,
        "the frame states no content size",
    )
    body(
        "double-frame",
        "payload failure",
        frames(frame + frame, size=n),
        LETTER,
        "two zstd frames in one",
    )
    bomb = zstandard.compress(bytes(300_000))
    body(
        "long-frame",
        "payload failure",
        frames(bomb, size=300_000),
        bytes(300_000),
        "more than a frame may hold",
    )
    zero = zstandard.compress(b"")
    body("zstd-of-nothing", "payload failure", frames(zero, size=0), b"", "nothing is the length 0 alone")


def slots_and_keyrings() -> None:
    slot, private = Slot.create(Secret(PASSWORD), "password", "my own", PARAMS, created=1_700_000_000)
    stored = slot.to_bytes()
    head = stored[:1258]

    def a_slot(name: str, expect: str, stored: bytes, why: str = "", password: str = PASSWORD) -> None:
        fields: Fields = {"kind": "password", "label": "my own", "read_only": "no", "created": 1_700_000_000}
        write(
            f"slot-{name}",
            expect,
            stored,
            what="slot",
            why=why,
            password=password,
            seed=private.key.seed,
            **fields,
        )

    def payload(plain: bytes) -> bytes:
        return seal_record(slot.lock.cipher(Secret(PASSWORD)), head, plain, b"")

    seed = private.key.seed
    a_slot("plain", "success", stored)
    a_slot("decomposed", "success", stored, "the umlaut is typed as two characters", "Gru\u0308ße 🔑")
    a_slot("wrong-password", "wrong password", stored, "", "Grüsse 🔑")
    a_slot("read-only-flipped", "wrong password", flip(stored, 5), "the head is bound")
    a_slot("flipped", "wrong password", flip(stored, len(stored) - 3), "a bit of the ciphertext")
    a_slot("trailing", "wrong password", stored + b"\0", "a byte too many")
    a_slot("magic", "header failure", flip(stored, 2), "not the magic")
    a_slot("version", "header failure", flip(stored, 3), "version 0")
    a_slot("kind", "header failure", stored[:4] + b"\4" + stored[5:], "no such kind")
    a_slot(
        "memory", "header failure", stored[:14] + b"\xff" * 4 + stored[18:], "4 TiB of memory for Argon2id"
    )
    a_slot("passes", "header failure", stored[:18] + bytes(4) + stored[22:], "no pass of Argon2id")
    a_slot("public", "header failure", stored[:42] + b"\xff" * 1184 + stored[1226:], "not an ML-KEM-768 key")
    a_slot("cut", "header failure", stored[:1200], "cut in the public key")
    long_form = b"\x92\xc5\x00\x20" + seed + msgpack.packb("my own")
    a_slot("not-canonical", "payload failure", payload(long_form), "msgpack in a longer form than needed")
    a_slot("one-more", "payload failure", payload(msgpack.packb([seed, "my own", 1])), "an unknown field")
    a_slot(
        "other-key", "payload failure", payload(msgpack.packb([bytes(32), "my own"])), "another private key"
    )

    app_slots()
    hashed_slots()
    _, other_private = Slot.create(Secret("other"), "password", "", PARAMS, created=1_700_000_001)
    ring = keyring().admit(other_private).admit(private)
    sealed = ring.to_bytes(5)

    def a_keyring(name: str, expect: str, sealed: bytes, why: str = "", account: bytes = ACCOUNT) -> None:
        fields: Fields = {
            "account": account,
            "secrets": secrets_field(),
            "password": PASSWORD,
            "slot": stored,
        }
        write(f"keyring-{name}", expect, sealed, what="keyring", why=why, **fields)

    a_keyring("plain", "success", sealed)
    a_keyring(
        "revoked", "wrong password", keyring().admit(other_private).to_bytes(6), "not sealed to this slot"
    )
    a_keyring("other-account", "payload failure", sealed, "the keyring of another account", bytes(16))
    a_keyring("version-moved", "payload failure", flip(sealed, 7), "the keyring of another version")
    a_keyring(
        "my-stanza", "payload failure", flip(sealed, 10 + 1216 + 100), "a bit of what is sealed to this slot"
    )
    a_keyring(
        "other-stanza", "payload failure", flip(sealed, 10 + 100), "a bit of what is sealed to another slot"
    )
    a_keyring("flipped", "payload failure", flip(sealed, len(sealed) - 40), "a bit of the ciphertext")
    a_keyring("magic", "header failure", flip(sealed, 0), "not the magic")
    a_keyring("format", "header failure", flip(sealed, 3), "version 0 of the format")
    a_keyring("cut", "header failure", sealed[:2000], "cut in a stanza")
    a_keyring("no-slots", "header failure", sealed[:8] + bytes(2) + sealed[10:], "sealed to no slot")
    a_keyring("forged", "payload failure", forged(private), "sealed by someone who knows the public key only")


def hashed_slots() -> None:
    salt = b"\x01\x02\x03\x04"
    setting = Setting.parse("sha256:" + b64(salt))
    hashed = PasswordHash(setting, hashlib.sha256(PASSWORD.encode() + salt).digest())
    slot, private = Slot.create_hashed(hashed, PARAMS, created=1_700_000_000)
    stored = slot.to_bytes()

    def a_slot(name: str, expect: str, stored: bytes, why: str = "", password: str = PASSWORD) -> None:
        fields: Fields = {"kind": "invitation", "label": "", "read_only": "no", "created": 1_700_000_000}
        fields |= {"setting": setting.text, "seed": private.key.seed}
        write(f"hashed-slot-{name}", expect, stored, what="slot", why=why, password=password, **fields)

    def with_setting(text: bytes, padding: bytes = b"") -> bytes:
        field = bytes([len(text)]) + (text + padding).ljust(191, b"\0")
        return stored[:42] + field + stored[234:]

    a_slot("plain", "success", stored)
    a_slot("decomposed", "wrong password", stored, "it is hashed as it is typed", "Gru\u0308ße 🔑")
    a_slot("wrong-password", "wrong password", stored, "", "Grüsse 🔑")
    a_slot("flipped", "wrong password", flip(stored, len(stored) - 3), "a bit of the ciphertext")
    other = with_setting(b"sha1:" + b64(salt).encode())
    a_slot("other-setting", "wrong password", other, "the setting is bound")
    a_slot("password-kind", "header failure", stored[:4] + b"\0" + stored[5:], "only invitations have it")
    a_slot("unknown-setting", "header failure", with_setting(b"rot13"), "no such method")
    a_slot("many-rounds", "header failure", with_setting(b"pbkdf2-sha1:1000001:AQIDBA=="), "one too many")
    a_slot("padding", "header failure", with_setting(b"plain", b"\0x"), "something behind the setting")
    a_slot("long-setting", "header failure", stored[:42] + b"\xff" + stored[43:], "longer than its place")
    a_slot("not-text", "header failure", with_setting(b"plain\xff"), "not ASCII")
    a_slot("cut", "header failure", stored[:1300], "cut in the public key")


def app_slots() -> None:
    slot, private = Slot.create_app(
        Secret(APP_PASSWORD), ACCOUNT, "my phone", read_only=True, created=1_700_000_000
    )
    stored = slot.to_bytes()

    def app(name: str, expect: str, stored: bytes, why: str = "", password: str = APP_PASSWORD) -> None:
        fields: Fields = {"password": password, "kind": "app", "label": "my phone", "read_only": "yes"}
        fields |= {"created": 1_700_000_000, "account": ACCOUNT, "seed": private.key.seed}
        fields |= {"server_key": private.server_key or b""}
        write(f"app-slot-{name}", expect, stored, what="slot", why=why, **fields)

    app("plain", "success", stored)
    app("wrong-password", "wrong password", stored, password=APP_PASSWORD.replace("m", "n"))
    app("other-stored-key", "wrong password", flip(stored, 14 + 4 + 16), "a bit of StoredKey")
    app("read-only-flipped", "wrong password", flip(stored, 5), "the head is bound; it may not write")
    app("flipped", "wrong password", flip(stored, len(stored) - 3), "a bit of the ciphertext")
    app("few-iterations", "header failure", stored[:14] + bytes(4) + stored[18:], "no iteration at all")
    app("password-kind", "header failure", stored[:4] + b"\0" + stored[5:], "a password has Argon2id")
    app("cut", "header failure", stored[:60], "cut in StoredKey")


def forged(private: SlotPrivate) -> bytes:
    """What a stranger who can write to the store, and has seen the slot, can do: everything but vouch."""
    binding = Binding(ACCOUNT, "keyring", "9")
    file_key = Key.generate()
    head = struct.pack(">4sIH", KEYRING_MAGIC, 9, 1)
    vouched = Key.generate().seal(file_key.export(), binding)
    public = HybridPublic(private.public.raw)
    head += public.fingerprint + public.seal(vouched, head + binding.encoded())
    content = [[[1, bytes(32)]], [[public.raw, bytes(32), "app", "", False, 0]]]
    return seal_record(file_key.aead, head, msgpack.packb(content), binding.encoded())


def incoming() -> None:
    public = keyring().incoming_public()
    binding = Binding(ACCOUNT, "letter", "00a1")
    sealed = public.seal(LETTER, binding)
    unknown = Keyring(ACCOUNT, generations({2: SECRETS[1]}), (), 0).incoming_public().seal(LETTER, binding)

    def letter(vector: str, expect: str, stored: bytes, why: str = "", **changed: Field) -> None:
        fields: Fields = {"account": ACCOUNT, "kind": "letter", "name": "00a1", "plain": LETTER, **changed}
        write(
            f"incoming-{vector}", expect, stored, what="incoming", why=why, secrets=secrets_field(), **fields
        )

    letter("plain", "success", sealed)
    letter("other-name", "payload failure", sealed, "sealed under another name", name="00a2")
    letter("lattice", "payload failure", flip(sealed, 100), "a bit of the ML-KEM ciphertext")
    letter("curve", "payload failure", flip(sealed, 8 + 1100), "a bit of the X25519 key")
    letter(
        "low-order",
        "payload failure",
        sealed[:1096] + bytes(32) + sealed[1128:],
        "an X25519 key of low order",
    )
    letter("cut", "payload failure", sealed[:500], "cut in enc")
    letter("trailing", "payload failure", sealed + b"\0", "a byte too many")
    letter("magic", "header failure", flip(sealed, 0), "not the magic")
    letter("version", "header failure", flip(sealed, 3), "version 0")
    letter("unknown-generation", "header failure", unknown, "generation 2 is not in the keyring")

    stored = public.to_bytes()
    fields: Fields = {"account": ACCOUNT, "generation": 3, "secrets": secrets_field()}
    write("public-plain", "success", stored, what="public", why="", **fields)
    for name, changed, why in (
        ("magic", flip(stored, 0), "not the magic"),
        ("version", flip(stored, 3), "version 0"),
        ("flipped", flip(stored, 700), "a bit of the key: letters sealed to it would be lost"),
        ("cut", stored[:-1], "the last byte is missing"),
        ("trailing", stored + b"\0", "a byte too many"),
    ):
        write(f"public-{name}", "header failure", changed, what="public", why=why, **fields)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    records()
    bodies()
    slots_and_keyrings()
    incoming()
