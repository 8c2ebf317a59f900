"""Every vector gives the outcome that its head names; what opens, opens with another reader too."""

import hashlib

import pytest

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.seal import Binding, ContentKey, IncomingPublic, Keyring, Secret, Slot, open_body
from tests.helpers import seal_reader
from tests.helpers.vectors import OUTCOMES, Vector, all_vectors
from tests.make_vectors import generations

VECTORS = all_vectors()


def secrets(vector: Vector) -> dict[int, bytes]:
    pairs = (item.split("=") for item in vector.fields["secrets"].split())
    return {int(number): bytes.fromhex(secret) for number, secret in pairs}


def binding(vector: Vector) -> Binding:
    return Binding(vector.raw("account"), vector.fields["kind"], vector.fields["name"])


def check_plain(vector: Vector, plain: bytes) -> None:
    if "plain" in vector.fields:
        assert plain == vector.raw("plain")
    else:
        assert hashlib.sha256(plain).digest() == vector.raw("plain sha256")


def record(vector: Vector) -> None:
    account, kind, name = binding(vector)
    check_plain(vector, Keyring(account, generations(secrets(vector)), (), 0).open(kind, name, vector.stored))


def body(vector: Vector) -> None:
    check_plain(vector, open_body(ContentKey.from_bytes(vector.raw("key")), binding(vector), vector.stored))


def slot(vector: Vector) -> None:
    opened = Slot.from_bytes(vector.stored).unlock(Secret(vector.fields["password"]))
    assert opened.key.seed == vector.raw("seed")
    assert (opened.kind, opened.label) == (vector.fields["kind"], vector.fields["label"])
    if "server key" in vector.fields:
        assert opened.server_key == vector.raw("server key")
    assert (opened.read_only, opened.created) == (
        "server key" in vector.fields,
        int(vector.fields["created"]),
    )


def keyring(vector: Vector) -> None:
    private = Slot.from_bytes(vector.raw("slot")).unlock(Secret(vector.fields["password"]))
    opened = Keyring.unlock(vector.stored, private, vector.raw("account"))
    assert opened.generations == tuple(generations(secrets(vector)))
    assert [member.label for member in opened.members] == ["", "my own"]


def incoming(vector: Vector) -> None:
    ring = Keyring(vector.raw("account"), generations(secrets(vector)), (), 0)
    check_plain(vector, ring.open_incoming(vector.stored, binding(vector)))


def public(vector: Vector) -> None:
    opened = IncomingPublic.from_bytes(vector.stored)
    ring = Keyring(vector.raw("account"), generations(secrets(vector)), (), 0)
    assert opened == ring.incoming_public()
    assert opened.key.raw == ring.incoming_public().key.raw
    assert opened.to_bytes() == vector.stored


READERS = {f.__name__: f for f in (record, body, slot, keyring, incoming, public)}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_outcome(vector: Vector) -> None:
    read = READERS[vector.fields["what"]]
    match vector.fields["expect"]:
        case "success":
            read(vector)
        case "wrong password":
            with pytest.raises(AuthenticationFailed):
                read(vector)
        case "header failure":
            with pytest.raises(Damaged) as refused:
                read(vector)
            tried = (
                refused.value.__cause__
            )  # a ValueError: the bytes of a public key are part of a slot's header
            assert tried is None or isinstance(tried, ValueError)
        case "payload failure":
            with pytest.raises(Damaged):
                read(vector)


def test_there_are_vectors_for_all_formats_and_outcomes() -> None:
    assert {v.fields["what"] for v in VECTORS} == set(READERS)
    assert {v.fields["expect"] for v in VECTORS} == set(OUTCOMES)
    for what in READERS:
        assert {"success", "header failure"} <= {
            v.fields["expect"] for v in VECTORS if v.fields["what"] == what
        }


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v.fields["expect"] == "success"], ids=lambda v: v.name
)
def test_another_reader_agrees(vector: Vector) -> None:
    stored = vector.stored
    match vector.fields["what"]:
        case "record":
            read = seal_reader.read_generation_record(secrets(vector), *binding(vector), stored)
            check_plain(vector, read)
        case "body":
            check_plain(
                vector,
                seal_reader.read_body(vector.raw("key"), seal_reader.binding(*binding(vector)), stored),
            )
        case "slot" if "server key" in vector.fields:
            password, account = vector.fields["password"].encode(), vector.raw("account")
            seed, label, server_key = seal_reader.read_app_slot(password, account, stored)
            assert (seed, label) == (vector.raw("seed"), vector.fields["label"])
            assert server_key == vector.raw("server key")
        case "slot" if "setting" in vector.fields:
            seed = seal_reader.read_hashed_slot(vector.fields["password"].encode(), stored)
            assert seed == vector.raw("seed")
        case "slot":
            seed, label = seal_reader.read_slot(vector.fields["password"].encode(), stored)
            assert (seed, label) == (vector.raw("seed"), vector.fields["label"])
        case "keyring":
            seed, _ = seal_reader.read_slot(vector.fields["password"].encode(), vector.raw("slot"))
            assert seal_reader.read_keyring(seed, vector.raw("account"), stored) == secrets(vector)
        case "incoming":
            account = vector.raw("account")
            bound = seal_reader.binding(*binding(vector))
            check_plain(vector, seal_reader.read_incoming(secrets(vector), account, bound, stored))
        case "public":
            derived = seal_reader.hkdf(secrets(vector)[3], vector.raw("account"), b"aerogramme 1 incoming")
            assert seal_reader.HybridKey(derived).public == stored[24:1240]
