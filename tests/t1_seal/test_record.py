"""A record opens with its own key, account, kind and name, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.seal import Binding, Key, Keyring
from tests.helpers.damage import damaged

KEY = Key.generate()
HERE = Binding(b"a" * 16, "entry", "0001")
SEALED = KEY.seal(b"what happened", HERE)


@given(st.binary(max_size=200), st.binary(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_round_trip(plain: bytes, account: bytes, kind: str, name: str) -> None:
    binding = Binding(account, kind, name)
    sealed = KEY.seal(plain, binding)
    assert KEY.open(sealed, binding) == plain
    assert len(sealed) == len(plain) + 32


@given(damaged(SEALED))
def test_damage_is_seen(changed: bytes) -> None:
    with pytest.raises(Damaged):
        KEY.open(changed, HERE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        Binding(b"b" * 16, "entry", "0001"),
        Binding(b"a" * 16, "index", "0001"),
        Binding(b"a" * 16, "entry", "0002"),
        Binding(b"a" * 16, "entry0", "001"),  # the same characters, cut elsewhere
        Binding(b"a" * 16, "entr", "y0001"),
        Binding(b"a" * 15, "aentry", "0001"),
    ],
)
def test_nothing_can_be_moved(elsewhere: Binding) -> None:
    with pytest.raises(Damaged):
        KEY.open(SEALED, elsewhere)


bindings = st.builds(Binding, st.binary(max_size=3), st.text("ab", max_size=3), st.text("ab", max_size=3))


@given(bindings, bindings)
def test_no_two_bindings_have_the_same_bytes(one: Binding, other: Binding) -> None:
    assert (one == other) == (one.encoded() == other.encoded())


def test_another_key_does_not_open() -> None:
    with pytest.raises(Damaged):
        Key.generate().open(SEALED, HERE)


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(Damaged):
        Key(b"short")


def test_sealing_twice_gives_different_bytes() -> None:
    assert KEY.seal(b"x", HERE) != KEY.seal(b"x", HERE)


@given(plain=st.binary(max_size=200), kind=st.text(max_size=10), name=st.text(max_size=20))
def test_keyring_records_round_trip(keyring: Keyring, plain: bytes, kind: str, name: str) -> None:
    sealed = keyring.seal(kind, name, plain)
    assert keyring.open(kind, name, sealed) == plain
    assert len(sealed) == len(plain) + 36


@given(data=st.data())
def test_damaged_keyring_records(keyring: Keyring, data: st.DataObject) -> None:
    sealed = keyring.seal("entry", "0001", b"what happened")
    with pytest.raises(Damaged):
        keyring.open("entry", "0001", data.draw(damaged(sealed)))


@given(st.binary(max_size=100))
def test_any_bytes_are_damaged(keyring: Keyring, hostile: bytes) -> None:
    for stored in (hostile, b"AGG\1\0\0\0\1" + hostile):
        with pytest.raises(Damaged):
            keyring.open("entry", "0001", stored)


def test_each_kind_has_its_own_key(keyring: Keyring) -> None:
    keys = [
        keyring.key(kind, each.number).export()
        for kind in ("entry", "index", "search")
        for each in keyring.generations
    ]
    assert len(set(keys)) == len(keys) == 6
