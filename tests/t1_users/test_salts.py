"""Salts for everybody, and the secret that makes those of nobody."""

import os
import stat
from pathlib import Path

import pytest

from aerogramme.errors import BadConfiguration
from aerogramme.seal.scram import account_salt
from aerogramme.users.directory import User
from aerogramme.users.salts import Salts, installation_secret

ALICE = User("alice@example.org", "00112233445566778899aabbccddeeff")


def test_an_account_has_the_salt_of_its_slots() -> None:
    assert Salts(bytes(32)).of("alice@example.org", ALICE) == account_salt(bytes.fromhex(ALICE.account))


def test_a_name_that_nobody_has_keeps_its_salt() -> None:
    salts, again, others = Salts(b"s" * 32), Salts(b"s" * 32), Salts(b"t" * 32)
    salt = salts.of("nobody@example.org", None)
    assert len(salt) == len(salts.of("alice@example.org", ALICE))
    assert salt == again.of("nobody@example.org", None) != others.of("nobody@example.org", None)
    assert salt != salts.of("somebody@example.org", None)


def test_names_have_one_salt_where_the_directory_sees_one_name() -> None:
    salts = Salts(b"s" * 32)
    assert salts.of("Nobody@EXAMPLE.org", None) == salts.of("nobody@example.org", None)
    assert salts.of("jos\u0065\u0301@example.org", None) == salts.of("Jos\u00e9@example.org", None)
    assert salts.of("nobody@b\u00fccher.example", None) == salts.of("nobody@xn--bcher-kva.example", None)


@pytest.mark.parametrize("name", ["", "@", "a@\u2488com", "a@" + "x" * 70 + "\u00fc"])
def test_every_name_has_a_salt(name: str) -> None:
    assert len(Salts(b"s" * 32).of(name, None)) == 16


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "data" / "scram.key"
    secret = installation_secret(path)
    assert len(secret) == 32 and len(set(secret)) > 8
    assert installation_secret(path) == secret == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["scram.key"]
    assert installation_secret(tmp_path / "other.key") != secret


def test_another_server_was_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scram.key"
    link = os.link

    def too_late(source: Path, target: Path) -> None:
        target.write_bytes(b"q" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", too_late)
    assert installation_secret(path) == b"q" * 32
    assert os.listdir(tmp_path) == ["scram.key"]


def test_a_secret_that_is_cut_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "scram.key").write_bytes(b"x" * 31)
    with pytest.raises(BadConfiguration, match="damaged"):
        installation_secret(tmp_path / "scram.key")


def test_a_secret_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "scram.key").mkdir()
    with pytest.raises(BadConfiguration, match="cannot read"):
        installation_secret(tmp_path / "scram.key")
