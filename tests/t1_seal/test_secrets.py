"""Secrets, keys and codes show nothing of themselves, and forgive what people type."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Refused
from aerogramme.seal import Code, ContentKey, Key, Keyring, Secret, Slot, SlotPrivate
from aerogramme.seal.codes import CodeKind

FIXED = "01234-56789-ABCDE-FGHJK-MNPQ0-135VN"


def test_a_secret_shows_its_length_only() -> None:
    assert repr(Secret("hunter2")) == str(Secret("hunter2")) == "<Secret of 7 bytes>"
    assert f"{Secret('hunter2')}" == "<Secret of 7 bytes>"
    assert Secret("é").reveal() == b"\xc3\xa9"


def test_secrets_compare() -> None:
    assert Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")


def test_nothing_secret_is_pickled_or_hashed() -> None:
    for secret in (Secret("a"), Key.generate(), ContentKey.generate(), Code.generate("recovery")):
        for leak in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(secret)
    for unhashable in (Secret("a"), Code.generate("recovery")):
        with pytest.raises(TypeError):
            hash(unhashable)


def test_reprs_show_no_key(opened_slot: tuple[Slot, SlotPrivate], keyring: Keyring) -> None:
    slot, private = opened_slot
    key = ContentKey.generate()
    shown = repr([slot, private, keyring, keyring.members, keyring.incoming_public(), keyring.key("x"), key])
    hidden = [
        private.key.seed,
        key.to_bytes(),
        *(each.secret for each in keyring.generations),
        *(m.vouching for m in keyring.members),
    ]
    for secret in hidden:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_recovery_code_is_forgiving_to_type() -> None:
    code = Code.parse(FIXED)
    assert code.reveal() == FIXED
    for typed in (
        FIXED.lower(),
        FIXED.replace("-", ""),
        FIXED.replace("0", "o"),
        FIXED.replace("1", "l"),
        FIXED.replace("1", "I"),
        FIXED.replace("-", " ") + "\n",
    ):
        assert Code.parse(typed) == code
        assert Code.parse(typed).secret == code.secret


@given(st.integers(0, 29), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_one_wrong_character_is_told(at: int, character: str) -> None:
    characters = FIXED.replace("-", "")
    typed = characters[:at] + character + characters[at + 1 :]
    if typed != characters:
        with pytest.raises(Refused, match="typing error"):
            Code.parse(typed)


def test_what_is_no_recovery_code_says_why() -> None:
    with pytest.raises(Refused, match="30 characters, this has 29"):
        Code.parse(FIXED[:-1])
    with pytest.raises(Refused, match="no 'U'"):
        Code.parse(FIXED.replace("A", "U"))
    with pytest.raises(Refused, match="this has 0"):
        Code.parse("")


def test_codes_are_random_and_parse() -> None:
    codes = [Code.generate("recovery") for _ in range(100)]
    assert len({code.reveal() for code in codes}) == 100
    assert all(Code.parse(code.reveal()) == code for code in codes)
    assert all(code.secret.reveal().decode() == code.reveal() for code in codes), "SCRAM takes what is shown"
    assert codes[0].reveal() not in repr(codes[0])


@pytest.mark.parametrize("kind", ["recovery", "invitation", "app"])
def test_a_code_says_of_which_kind_it_is(kind: CodeKind) -> None:
    for _ in range(100):
        code = Code.generate(kind)
        assert Code.parse(code.reveal()) == code and Code.parse(code.reveal()).kind == kind
    assert code.reveal() == (code.reveal().lower() if kind == "app" else code.reveal().upper())
