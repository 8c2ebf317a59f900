"""Slots that the password of another server opens, of which only the hash is known."""

import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.seal import Argon2Params, Keyring, Secret, Slot, SlotPrivate
from aerogramme.seal.hashes import PasswordHash, Setting, b64
from aerogramme.seal.locks import HashedLock
from tests.helpers.damage import damaged

PASSWORD = Secret("Grüße")
HASHED = PasswordHash(
    Setting.parse("sha512:" + b64(b"salt")), hashlib.sha512("Grüße".encode() + b"salt").digest()
)


@pytest.fixture(scope="module")
def slot(cheap: Argon2Params) -> tuple[Slot, SlotPrivate]:
    return Slot.create_hashed(HASHED, cheap)


def test_the_password_opens_it_and_nothing_else(slot: tuple[Slot, SlotPrivate], account: bytes) -> None:
    stored, private = Slot.from_bytes(slot[0].to_bytes()), slot[1]
    assert (stored.kind, stored.hashed) == ("invitation", True)
    assert stored.takes("password") and not stored.takes("invitation") and not stored.takes("app")
    opened = stored.unlock(PASSWORD)
    assert opened.key.seed == private.key.seed
    sealed = Keyring.create(account).admit(private).to_bytes(1)
    assert Keyring.unlock(sealed, opened, account).account == account
    for wrong in ("grüße", "", "Gru\u0308ße", "Grüße ", HASHED.digest, HASHED.digest.hex(), "Grüße\0"):
        with pytest.raises(AuthenticationFailed):
            stored.unlock(Secret(wrong))


def test_the_digest_is_nowhere_in_it(slot: tuple[Slot, SlotPrivate]) -> None:
    stored = slot[0].to_bytes()
    for form in (HASHED.digest, HASHED.digest.hex().encode(), b64(HASHED.digest).encode()):
        assert form not in stored
    assert b"sha512:" in stored, "how it was hashed, a guess has to know"


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_one_never_opens(
    slot: tuple[Slot, SlotPrivate], cheap: Argon2Params, data: st.DataObject
) -> None:
    changed = data.draw(damaged(slot[0].to_bytes()))
    with pytest.raises((Damaged, AuthenticationFailed)):
        found = Slot.from_bytes(changed)
        if (
            not isinstance(found.lock, HashedLock) or found.lock.argon2.params != cheap
        ):  # it would only be slow
            raise Damaged
        found.unlock(PASSWORD)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rot13",
        "plain:",
        "sha1:AQ",
        "sha1:AQI=\n",
        "pbkdf2-sha1:0:AQI=",
        "pbkdf2-sha1:01:AQI=",
        "pbkdf2-sha1:1000001:AQI=",
        "scram-sha-512:4096:AQI=",
        "crypt:$2y$16$......................",
        "crypt:$2x$05$......................",
        "crypt:$5$rounds=999$salt$",
        "crypt:$5$rounds=1000001$salt$",
        "crypt:$5$seventeenletters_$",
        "crypt:$7$salt$",
        "crypt:abc",
        "argon2d:64:1:1:32:AQIDBAUGBwg=",
        "argon2id:64:17:1:32:AQIDBAUGBwg=",
        "argon2id:64:1:17:32:AQIDBAUGBwg=",
        "argon2id:7:1:1:32:AQIDBAUGBwg=",
        "argon2id:1048577:1:1:32:AQIDBAUGBwg=",
        "argon2id:64:1:1:15:AQIDBAUGBwg=",
        "argon2id:64:1:1:65:AQIDBAUGBwg=",
        "argon2id:64:1:1:32:AQIDBAUGBw==",
        "sha1:" + "AQID" * 47,
    ],
)
def test_a_setting_that_is_not_known_or_too_costly_is_none(text: str) -> None:
    with pytest.raises(Damaged):
        Setting.parse(text)
    stored = struct.pack(">III16sB191s", 64, 1, 1, bytes(16), len(text) & 0xFF, text.encode())
    with pytest.raises(Damaged):
        HashedLock.from_bytes(stored)


def test_bcrypt_looks_at_72_octets_as_it_does_elsewhere() -> None:
    setting = Setting.parse("crypt:$2b$04$......................")
    assert setting.digest(b"x" * 72) == setting.digest(b"x" * 100) != setting.digest(b"x" * 71)
