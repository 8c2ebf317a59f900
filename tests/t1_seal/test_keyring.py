"""Slots and keyring: every password opens, a revoked one does not, a stranger slips in no keyring."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import AerogrammeError, AuthenticationFailed, Damaged, Refused
from aerogramme.seal import Argon2Params, Binding, IncomingPublic, Keyring, Secret, Slot, SlotPrivate
from aerogramme.seal import keyring as keyring_module
from aerogramme.seal import slots as slots_module
from aerogramme.seal.hybrid import HybridPrivate, HybridPublic
from aerogramme.seal.keyring import MAX_SLOTS, _decode
from aerogramme.seal.strict import pack, unpack
from tests.helpers.damage import damaged
from tests.make_vectors import forged

Opened = tuple[Slot, SlotPrivate]


def test_a_slot_opens_with_its_password_only(opened_slot: Opened) -> None:
    slot, private = opened_slot
    again = Slot.from_bytes(slot.to_bytes())
    assert again == slot
    assert again.unlock(Secret("correct horse")).key.seed == private.key.seed
    for wrong in ("correct horsf", "", "correct horse ", "Correct horse"):
        with pytest.raises(AuthenticationFailed):
            again.unlock(Secret(wrong))


def test_passwords_compare_as_people_mean_them(cheap: Argon2Params) -> None:
    slot, _ = Slot.create(Secret("caf\u00e9"), params=cheap)
    slot.unlock(Secret("cafe\u0301"))  # as macOS composes it
    slot, _ = Slot.create(Secret(b"\xff\xfe"), params=cheap)
    slot.unlock(Secret(b"\xff\xfe"))  # not text at all


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_slot_never_opens(opened_slot: Opened, cheap: Argon2Params, data: st.DataObject) -> None:
    changed = data.draw(damaged(opened_slot[0].to_bytes()))
    with pytest.raises((Damaged, AuthenticationFailed)):
        slot = Slot.from_bytes(changed)
        if slot.params != cheap:  # it would only be slow
            raise Damaged
        slot.unlock(Secret("correct horse"))


def test_what_may_not_become_a_slot(cheap: Argon2Params) -> None:
    with pytest.raises(Refused, match="empty"):
        Slot.create(Secret(""), params=cheap)
    with pytest.raises(Refused, match="label"):
        Slot.create(Secret("a"), "app", "x" * 201, cheap)
    for params in (Argon2Params(7), Argon2Params(8, 0), Argon2Params(8, 1, 2), Argon2Params(2**21)):
        with pytest.raises(Refused, match="bounds"):
            Slot.create(Secret("a"), params=params)


def test_a_slot_stays_within_bounds(opened_slot: Opened) -> None:
    stored = opened_slot[0].to_bytes()
    fields = list(slots_module._fixed.unpack_from(stored))
    for at, value in ((1, 3), (2, 2), (4, 2**21), (5, 17), (6, 17), (5, 0), (6, 0), (4, 7)):
        changed = [*fields[:at], value, *fields[at + 1 :]]
        with pytest.raises(Damaged):
            Slot.from_bytes(slots_module._fixed.pack(*changed) + stored[slots_module._fixed.size :])


def test_the_label_is_not_in_clear(cheap: Argon2Params, account: bytes) -> None:
    slot, private = Slot.create(Secret("a"), "app", "my telephone", cheap, read_only=True, created=5)
    ring = Keyring.create(account).admit(private)
    assert b"telephone" not in slot.to_bytes() + ring.to_bytes(1)
    (member,) = Keyring.unlock(ring.to_bytes(1), slot.unlock(Secret("a")), account).members
    assert (member.kind, member.label, member.read_only, member.created) == ("app", "my telephone", True, 5)
    assert member.fingerprint == slot.public.fingerprint


def test_life_of_a_keyring(account: bytes, cheap: Argon2Params) -> None:
    slots = {name: Slot.create(Secret(name), "app", name, cheap) for name in ("one", "two", "three")}
    ring = Keyring.create(account).admit(slots["one"][1]).admit(slots["two"][1])
    old = ring.seal("entry", "1", b"old")

    # Whoever holds one password adds and revokes others, and rotates; those that stay go on working.
    ring = Keyring.unlock(ring.to_bytes(1), slots["one"][0].unlock(Secret("one")), account)
    assert ring.version == 1
    ring = ring.admit(slots["three"][1]).dismiss(slots["one"][0].public.fingerprint).rotate()
    sealed = ring.to_bytes(2)
    for name in ("two", "three"):
        opened = Keyring.unlock(sealed, slots[name][0].unlock(Secret(name)), account)
        assert opened.generations == (1, 2)
        assert opened.open("entry", "1", old) == b"old"
        assert opened.generation_of(opened.seal("entry", "2", b"new")) == opened.current == 2
    with pytest.raises(AuthenticationFailed, match="revoked"):
        Keyring.unlock(sealed, slots["one"][1], account)

    forgetful = ring.forget(1)
    assert forgetful.generations == (2,)
    with pytest.raises(Damaged):
        forgetful.open("entry", "1", old)
    for generation in (2, 7):
        with pytest.raises(Refused):
            forgetful.forget(generation)
    assert ring.generations == (1, 2)  # no verb changes a keyring that others use


def test_rules_of_admission(account: bytes, opened_slot: Opened) -> None:
    ring = Keyring.create(account)
    with pytest.raises(Refused, match="no slot"):
        ring.to_bytes(1)
    ring = ring.admit(opened_slot[1]).admit(opened_slot[1])
    assert len(ring.members) == 1
    ring.members = ring.members * MAX_SLOTS
    with pytest.raises(Refused, match="at most"):
        ring.admit(opened_slot[1])
    with pytest.raises(ValueError, match="16 bytes"):
        Keyring.create(b"short")


def test_a_stranger_cannot_seal_a_keyring(cheap: Argon2Params) -> None:
    # He can write to the store and knows the slot's public key; HPKE alone would take his keyring for ours.
    from tests.make_vectors import ACCOUNT

    _, private = Slot.create(Secret("a"), params=cheap)
    with pytest.raises(Damaged):
        Keyring.unlock(forged(private), private, ACCOUNT)


def test_a_keyring_says_to_whom_it_is_sealed(
    keyring: Keyring, opened_slot: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "pack", lambda content: pack([content[0], []]))
    with pytest.raises(Damaged, match="other slots"):
        Keyring.unlock(keyring.to_bytes(1), opened_slot[1], keyring.account)


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_keyring_never_opens(keyring: Keyring, opened_slot: Opened, data: st.DataObject) -> None:
    changed = data.draw(damaged(keyring.to_bytes(1)))
    with pytest.raises(
        (Damaged, AuthenticationFailed)
    ):  # the latter: which slots it is sealed to was changed
        Keyring.unlock(changed, opened_slot[1], keyring.account)


@pytest.mark.parametrize(
    "content",
    [
        [],
        [[], []],
        [[[1, bytes(32)]]],
        [[[1, bytes(32)]], [], []],
        [[[1, bytes(31)]], []],
        [[[0, bytes(32)]], []],
        [[[2**32, bytes(32)]], []],
        [[["1", bytes(32)]], []],
        [[[2, bytes(32)], [1, bytes(32)]], []],
        [[[1, bytes(32)], [1, bytes(32)]], []],
        [[[1, bytes(32), 0]], []],
        [[[1, bytes(32)]], [[b"", b"", "app", "", False, 0]]],
        [[[1, bytes(32)]], [[bytes(1216), bytes(32), "admin", "", False, 0]]],
        [[[1, bytes(32)]], [[bytes(1216), bytes(32), ["app"], "", False, 0]]],
        [[[1, bytes(32)]], [[bytes(1216), bytes(32), "app", b"", False, 0]]],
        [[[1, bytes(32)]], [[bytes(1216), bytes(32), "app", "", 0, 0]]],
        [[[1, bytes(32)]], [[bytes(1216), bytes(32), "app", "", False]]],
        None,
        {"a": 1},
    ],
)
def test_what_a_keyring_does_not_hold(content: object) -> None:
    with pytest.raises(Damaged):
        _decode(content)


def test_incoming(account: bytes, keyring: Keyring) -> None:
    binding = Binding(account, "letter", "01")
    public = IncomingPublic.from_bytes(keyring.incoming_public().to_bytes())
    sealed = public.seal(b"a key", binding)
    assert keyring.rotate().open_incoming(sealed, binding) == b"a key"
    for elsewhere in (
        binding._replace(name="02"),
        binding._replace(kind="x"),
        binding._replace(account=bytes(16)),
    ):
        with pytest.raises(Damaged):
            keyring.open_incoming(sealed, elsewhere)
    with pytest.raises(Damaged):
        public.seal(b"a key", binding._replace(account=bytes(16)))
    with pytest.raises(Damaged):
        keyring.rotate().forget(public.generation).open_incoming(sealed, binding)
    assert keyring.rotate().incoming_public() != public


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_incoming(account: bytes, keyring: Keyring, data: st.DataObject) -> None:
    binding = Binding(account, "letter", "01")
    public = keyring.incoming_public()
    with pytest.raises(Damaged):
        keyring.open_incoming(data.draw(damaged(public.seal(b"a key", binding))), binding)
    with pytest.raises(Damaged):
        IncomingPublic.from_bytes(data.draw(damaged(public.to_bytes())))


def test_public_keys_that_are_none() -> None:
    good = HybridPrivate.generate().public.raw
    for bad in (b"", good[:-1], good + b"\0", b"\xff" * 1184 + good[1184:]):
        with pytest.raises(Damaged):
            HybridPublic(bad)
    with pytest.raises(Damaged):  # of low order: everyone would share the secret
        HybridPublic(good[:1184] + bytes(32)).seal(b"", b"")
    with pytest.raises(Damaged):
        HybridPrivate(b"short")


@given(st.binary(max_size=60))
def test_any_bytes_decode_strictly_or_are_damaged(hostile: bytes) -> None:
    try:
        value = unpack(hostile)
    except Damaged:
        return
    assert pack(value) == hostile


@pytest.mark.parametrize(
    "packed",
    [
        b"\xcc\x01",
        b"\xd9\x01a",
        b"\x01\x01",
        b"",
        b"\xc1",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xa1\xff",
    ],
)
def test_forms_that_are_not_canonical(packed: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(packed)


def test_errors_are_of_our_tree(keyring: Keyring, opened_slot: Opened) -> None:
    for stored in (b"", b"AGK\1", struct.pack(">4sIH", b"AGK\1", 1, 65535), bytes(5000)):
        with pytest.raises(AerogrammeError):
            Keyring.unlock(stored, opened_slot[1], keyring.account)
        with pytest.raises(AerogrammeError):
            Slot.from_bytes(stored)
        with pytest.raises(AerogrammeError):
            IncomingPublic.from_bytes(stored)
