"""Slots and keyring: every password opens, a revoked one does not, a stranger slips in no keyring."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import AerogrammeError, AuthenticationFailed, Damaged, Refused, UnknownGeneration
from aerogramme.seal import (
    Argon2Params,
    Binding,
    Code,
    IncomingPublic,
    Keyring,
    Secret,
    Slot,
    SlotPrivate,
    scram,
)
from aerogramme.seal import keyring as keyring_module
from aerogramme.seal.hybrid import HybridPrivate, HybridPublic
from aerogramme.seal.keyring import MAX_SLOTS, _decode
from aerogramme.seal.locks import Argon2Lock
from aerogramme.seal.strict import pack, unpack
from tests.helpers.damage import damaged
from tests.make_vectors import forged

Opened = tuple[Slot, SlotPrivate]
GENERATION = [1, bytes(32), 0]


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


def test_a_hostile_password_costs_nothing(cheap: Argon2Params) -> None:
    # Before a login, by whoever connects. To normalize it would take an hour.
    slot, _ = Slot.create(Secret("café"), params=cheap)
    with pytest.raises(AuthenticationFailed):
        slot.unlock(Secret("\u0301\u0323" * 500_000))


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_slot_never_opens(opened_slot: Opened, cheap: Argon2Params, data: st.DataObject) -> None:
    changed = data.draw(damaged(opened_slot[0].to_bytes()))
    with pytest.raises((Damaged, AuthenticationFailed)):
        slot = Slot.from_bytes(changed)
        if not isinstance(slot.lock, Argon2Lock) or slot.lock.params != cheap:  # it would only be slow
            raise Damaged
        slot.unlock(Secret("correct horse"))


def test_what_may_not_become_a_slot(cheap: Argon2Params) -> None:
    with pytest.raises(Refused, match="empty"):
        Slot.create(Secret(""), params=cheap)
    with pytest.raises(Refused, match="label"):
        Slot.create(Secret("a"), "password", "x" * 201, cheap)
    for params in (Argon2Params(7), Argon2Params(8, 0), Argon2Params(8, 1, 2), Argon2Params(2**21)):
        with pytest.raises(Refused, match="bounds"):
            Slot.create(Secret("a"), params=params)


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        (">4sBBQIII", [(1, 1), (1, 4), (2, 2), (4, 2**21), (5, 17), (6, 17), (5, 0), (6, 0), (4, 7)]),
        (">4sBBQI", [(1, 0), (1, 2), (1, 4), (2, 2), (4, 4095), (4, 2**31)]),
    ],
)
def test_a_slot_stays_within_bounds(
    form: str, wrong: list[tuple[int, int]], opened_slot: Opened, account: bytes
) -> None:
    slot = opened_slot[0] if form.endswith("III") else Slot.create_app(Secret("a"), account, "")[0]
    stored, head = slot.to_bytes(), struct.Struct(form)
    fields = list(head.unpack_from(stored))
    assert Slot.from_bytes(head.pack(*fields) + stored[head.size :]) == slot
    for at, value in wrong:
        changed = [*fields[:at], value, *fields[at + 1 :]]
        with pytest.raises(Damaged):
            Slot.from_bytes(head.pack(*changed) + stored[head.size :])


def test_an_app_slot_opens_with_its_secret_and_with_its_client_key(account: bytes) -> None:
    code = Code.generate("app")
    slot, private = Slot.create_app(code.secret, account, "phone")
    stored = slot.to_bytes()
    again = Slot.from_bytes(stored)
    lock = again.scram
    assert again == slot and lock is not None
    salted = scram.salted_password(code.secret, lock.salt, lock.iterations)
    client_key = scram.client_key(salted)
    assert scram.stored_key(client_key) == lock.stored_key
    for opened in (again.unlock(code.secret), again.unlock_with_client_key(client_key)):
        assert opened.key.seed == private.key.seed
        assert opened.server_key == scram.server_key(salted)
    assert scram.server_key(salted) not in stored and client_key not in stored, "who reads it can play nobody"
    for wrong in (bytes(32), lock.stored_key, b""):
        with pytest.raises(AuthenticationFailed):
            again.unlock_with_client_key(wrong)
    with pytest.raises(AuthenticationFailed):
        again.unlock(Secret(code.reveal().upper()))


def test_a_client_key_opens_no_password(opened_slot: Opened) -> None:
    assert opened_slot[0].scram is None
    with pytest.raises(AuthenticationFailed):
        opened_slot[0].unlock_with_client_key(bytes(32))


def test_app_passwords_of_an_account_share_their_salt(account: bytes) -> None:
    slots = [
        Slot.create_app(Code.generate("app").secret, owner, "")[0] for owner in (account, account, bytes(16))
    ]
    salts = [slot.scram.salt for slot in slots if slot.scram is not None]
    assert salts[0] == salts[1] != salts[2]


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_app_slot_never_opens(data: st.DataObject) -> None:
    secret = Secret("generated")
    changed = data.draw(damaged(Slot.create_app(secret, bytes(16), "x")[0].to_bytes()))
    with pytest.raises((Damaged, AuthenticationFailed)):
        slot = Slot.from_bytes(changed)
        if slot.scram is None or slot.scram.iterations != scram.ITERATIONS:  # it would only be slow
            raise Damaged
        slot.unlock(secret)


def test_the_label_is_not_in_clear(cheap: Argon2Params, account: bytes) -> None:
    slot, private = Slot.create_app(Secret("a"), account, "my telephone", read_only=True, created=5)
    ring = Keyring.create(account).admit(private)
    assert b"telephone" not in slot.to_bytes() + ring.to_bytes(1)
    (member,) = Keyring.unlock(ring.to_bytes(1), slot.unlock(Secret("a")), account).members
    assert (member.kind, member.label, member.read_only, member.created) == ("app", "my telephone", True, 5)
    assert member.fingerprint == slot.public.fingerprint


def test_life_of_a_keyring(account: bytes, cheap: Argon2Params) -> None:
    slots = {name: Slot.create(Secret(name), "password", name, cheap) for name in ("one", "two", "three")}
    ring = Keyring.create(account).admit(slots["one"][1]).admit(slots["two"][1])
    old = ring.seal("entry", "1", b"old")

    # Whoever holds one password adds and revokes others, and rotates; those that stay go on working.
    ring = Keyring.unlock(ring.to_bytes(1), slots["one"][0].unlock(Secret("one")), account)
    assert ring.version == 1
    ring = ring.admit(slots["three"][1]).dismiss(slots["one"][0].public.fingerprint).rotate()
    sealed = ring.to_bytes(2)
    for name in ("two", "three"):
        opened = Keyring.unlock(sealed, slots[name][0].unlock(Secret(name)), account)
        assert [opened.ordinal(each.number) for each in opened.generations] == [1, 2]
        assert opened.open("entry", "1", old) == b"old"
        assert opened.generation_of(opened.seal("entry", "2", b"new")) == opened.current
    with pytest.raises(AuthenticationFailed, match="revoked"):
        Keyring.unlock(sealed, slots["one"][1], account)

    first, second = ring.generations
    assert 0 < first.number < second.number and first.secret != second.secret
    assert ring.generations == (first, second)  # no verb changes a keyring that others use


def test_a_keyring_adopts_what_a_newer_one_says(account: bytes, opened_slot: Opened) -> None:
    ring = Keyring.create(account).admit(opened_slot[1])
    old = ring.seal("entry", "1", b"old")
    newer = Keyring.unlock(ring.rotate().to_bytes(7), opened_slot[1], account)
    with pytest.raises(UnknownGeneration):
        ring.open("entry", "2", newer.seal("entry", "2", b"new"))
    assert ring.adopt(newer) and not ring.adopt(newer)
    assert (ring.current, ring.version) == (newer.current, 7)
    assert ring.generation_of(ring.seal("entry", "2", b"new")) == newer.current
    assert ring.open("entry", "1", old) == b"old"
    assert not ring.adopt(Keyring.unlock(newer.to_bytes(7), opened_slot[1], account))


def test_keyrings_unite_in_any_order(account: bytes, cheap: Argon2Params, opened_slot: Opened) -> None:
    phone, tablet = (Slot.create(Secret(name), params=cheap)[1] for name in ("phone", "tablet"))
    base = Keyring.create(account).admit(opened_slot[1]).admit(phone)
    ours, theirs = base.dismiss(phone.public.fingerprint).rotate(), base.admit(tablet).rotate()
    for united in (ours.united(theirs), theirs.united(ours)):
        assert {m.public for m in united.members} == {opened_slot[1].public.raw, tablet.public.raw}
        assert {each.number for each in united.generations} == {
            each.number for ring in (base, ours, theirs) for each in ring.generations
        }
        again = Keyring.unlock(united.to_bytes(9), tablet, account)
        assert phone.public.raw not in {m.public for m in again.united(base).members}, "gone is gone"


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
    monkeypatch.setattr(keyring_module, "pack", lambda content: pack([content[0], [], b""]))
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
        [[], [], b""],
        [[GENERATION], []],
        [[GENERATION], [], [], b""],
        [[GENERATION], [], b"x"],
        [[GENERATION], [], []],
        [[[1, bytes(31), 0]], [], b""],
        [[[0, bytes(32), 0]], [], b""],
        [[[2**32, bytes(32), 0]], [], b""],
        [[["1", bytes(32), 0]], [], b""],
        [[[2, bytes(32), 0], GENERATION], [], b""],
        [[GENERATION, GENERATION], [], b""],
        [[[1, bytes(32)]], [], b""],
        [[[1, bytes(32), "0"]], [], b""],
        [[GENERATION], [[b"", b"", "app", "", False, 0]], b""],
        [[GENERATION], [[bytes(1216), bytes(32), "admin", "", False, 0]], b""],
        [[GENERATION], [[bytes(1216), bytes(32), ["app"], "", False, 0]], b""],
        [[GENERATION], [[bytes(1216), bytes(32), "app", b"", False, 0]], b""],
        [[GENERATION], [[bytes(1216), bytes(32), "app", "", 0, 0]], b""],
        [[GENERATION], [[bytes(1216), bytes(32), "app", "", False]], b""],
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
    with pytest.raises(UnknownGeneration):
        Keyring.create(account).open_incoming(sealed, binding)
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
