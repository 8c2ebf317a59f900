"""The two halves of an account end to end, further devices, and pins: what the commands write and refuse."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme

OTHER = "0123456789abcdef" * 2
FINGERPRINT = re.compile("[0-9a-f]{32}")


class Place:
    """A store, the device's folder and the server's."""

    def __init__(self, folder: Path) -> None:
        self.store, self.half = f"sqlite:{folder}/store", folder / "half.toml"
        self.device, self.server, self.second = (folder / name for name in ("device", "server", "second"))
        self.on_server = ("--data", str(self.server), "--store", self.store)
        self.on_device = ("--config", str(self.device / "aerogramme.toml"), "--password-stdin")

    def enroll(
        self, *options: str, password: str = PASSWORD, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        return aerogramme(
            *("account", "enroll", *options, "--password-stdin"), stdin=password + "\n", check=check
        )

    def first(self) -> subprocess.CompletedProcess[bytes]:
        return self.enroll(
            ADDRESS,
            *("--data", str(self.device), "--store", self.store, "--for-server", str(self.half)),
        )

    def join(self, password: str = PASSWORD, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        where = ("--data", str(self.second), "--store", self.store)
        return self.enroll("--join", str(self.half), *where, password=password, check=check)

    def accept(self, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return aerogramme("account", "enroll", "--accept", str(self.half), *self.on_server, check=check)

    def deliver(self, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return aerogramme("deliver", ADDRESS, *self.on_server, stdin="Subject: x\n\nhi\n", check=check)

    def messages(self) -> int:
        shown = aerogramme(
            *("account", "show", ADDRESS, "--json", *self.on_device), stdin=PASSWORD + "\n"
        ).stdout
        return sum(box["messages"] for box in json.loads(shown)["mailboxes"])

    def user(self) -> dict[str, object]:
        (user,) = tomllib.loads((self.server / "users.toml").read_text())["user"]
        assert isinstance(user, dict)
        return user


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_from_the_first_device_to_a_letter_read(place: Place) -> None:
    first = place.first()
    assert re.fullmatch(r"[0-9A-Z]+(-[0-9A-Z]+)+\n", first.stdout.decode()), (
        "the recovery code, and nothing else"
    )
    half = tomllib.loads(place.half.read_text())
    assert sorted(half["user"][0]) == ["account", "address", "end_to_end", "pins"]
    (pin,) = half["user"][0]["pins"]
    assert pin.encode() in first.stderr
    assert pin.encode() in place.accept().stderr
    place.deliver()
    assert place.messages() == 1
    assert place.accept(check=False).returncode == 73

    place.half.unlink()
    again = place.first()
    assert again.stdout == b"" and tomllib.loads(place.half.read_text()) == half

    place.join()
    listed = aerogramme("account", "list", "--config", str(place.second / "aerogramme.toml"), "--json").stdout
    [shown] = json.loads(listed)
    assert (shown["address"], shown["account"]) == (ADDRESS, half["user"][0]["account"])


def test_who_does_not_know_the_password_does_not_join(place: Place) -> None:
    place.first()
    assert place.join("a wrong one", check=False).returncode == 77
    assert not (place.second / "users.toml").exists()


def test_keys_in_the_store_that_are_not_those_of_the_enrolment(place: Place) -> None:
    place.first()
    text = place.half.read_text()
    place.half.write_text(
        FINGERPRINT.sub(lambda found: found[0] if found[0] in text.split("pins")[0] else OTHER, text)
    )
    joined = place.join(check=False)
    assert joined.returncode == 65 and b"not those" in joined.stderr
    assert not (place.second / "users.toml").exists()
    accepted = place.accept(check=False)
    assert accepted.returncode == 65 and OTHER.encode() in accepted.stderr
    assert not (place.server / "users.toml").exists()


@pytest.mark.parametrize("more", ['aliases = ["boss@example.org"]', 'catch_all = ["example.org"]'])
def test_a_half_that_asks_for_more_than_it_may(place: Place, more: str) -> None:
    place.first()
    with place.half.open("a") as file:
        file.write(more + "\n")
    assert place.accept(check=False).returncode == 78
    assert not (place.server / "users.toml").exists()


def test_a_store_that_the_server_does_not_reach(place: Place, tmp_path: Path) -> None:
    place.first()
    elsewhere = ("--data", str(place.server), "--store", f"sqlite:{tmp_path}/elsewhere")
    done = aerogramme("account", "enroll", "--accept", str(place.half), *elsewhere, check=False)
    assert done.returncode == 67 and b"the same store URL" in done.stderr


def test_pins_come_and_go(place: Place) -> None:
    place.first()
    place.accept()
    pins = place.user()["pins"]
    assert isinstance(pins, list)
    refused = aerogramme("account", "pin", ADDRESS, OTHER, *place.on_server, check=False)
    assert refused.returncode == 65 and pins[0].encode() in refused.stderr and place.user()["pins"] == pins
    aerogramme("account", "unpin", ADDRESS, "--data", str(place.server))
    assert "pins" not in place.user()
    aerogramme("account", "pin", ADDRESS, "--current", *place.on_server)
    assert place.user()["pins"] == pins
    aerogramme("account", "pin", ADDRESS, pins[0], *place.on_server)
    assert aerogramme("account", "pin", ADDRESS, *place.on_server, check=False).returncode == 2
    assert aerogramme("account", "pin", ADDRESS, "XY", *place.on_server, check=False).returncode == 2


def test_a_letter_waits_at_its_sender_while_no_key_is_the_pinned_one(place: Place) -> None:
    place.first()
    place.accept()
    users = place.server / "users.toml"
    good = users.read_text()
    users.write_text(re.sub(r'pins = \["[0-9a-f]+"\]', f'pins = ["{OTHER}"]', good))
    refused = place.deliver(check=False)
    assert refused.returncode == 65 and b"account pin" in refused.stderr
    users.write_text(good)
    place.deliver()
    assert place.messages() == 1
