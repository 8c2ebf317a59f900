"""What is stored of log and letters is read alike by us and by a reader that knows the page only."""

import json

import pytest
import trio

from aerogramme.log import checkpoint, segment
from aerogramme.log.entry_bytes import decode, encode
from aerogramme.log.records import Records
from aerogramme.mailbox.body_record import BodyRecord
from aerogramme.mailbox.incoming.incoming import decode_letter
from aerogramme.mailbox.keys.uses import last
from aerogramme.seal import Binding, Keyring
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Row
from tests import make_log_vectors
from tests.helpers import log_reader, seal_reader
from tests.helpers.vectors import Vector, read
from tests.make_vectors import generations

VECTORS = [read(path) for path in sorted(make_log_vectors.LOG.glob("*.txt"))]
SECOND = {
    "entry": log_reader.entry,
    "segment": log_reader.segment_group,
    "piece": log_reader.piece,
    "bundle": log_reader.bundle,
    "checkpoint": log_reader.checkpoint,
    "letter": log_reader.letter,
    "body record": log_reader.body_record,
    "use": log_reader.use,
}


def secrets(vector: Vector) -> dict[int, bytes]:
    pairs = (item.split("=") for item in vector.fields["secrets"].split())
    return {int(number): bytes.fromhex(secret) for number, secret in pairs}


def keyring(vector: Vector) -> Keyring:
    return Keyring(vector.raw("account"), generations(secrets(vector)), (), 0)


def opened(vector: Vector) -> bytes:
    return keyring(vector).open(vector.fields["kind"], vector.fields["name"], vector.stored)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_another_reader(vector: Vector) -> None:
    what, plain = vector.fields["what"], vector.stored
    if what != "body record":
        account, kind, name = vector.raw("account"), vector.fields["kind"], vector.fields["name"]
        if what == "letter":
            bound = seal_reader.binding(account, kind, name)
            plain = seal_reader.read_incoming(secrets(vector), account, bound, plain)
        else:
            plain = seal_reader.read_generation_record(secrets(vector), account, kind, name, plain)
    assert SECOND[what](plain) == json.loads(vector.fields["says"])


def test_there_is_one_of_each_form() -> None:
    assert {vector.fields["what"] for vector in VECTORS} == set(SECOND)


def of(what: str):
    chosen = [vector for vector in VECTORS if vector.fields["what"] == what]
    return pytest.mark.parametrize("vector", chosen, ids=lambda v: v.name)


@of("entry")
def test_entry(vector: Vector) -> None:
    first, _ = make_log_vectors.first_entry()
    second, _ = make_log_vectors.second_entry(first)
    plain = opened(vector)
    entry = decode(vector.fields["name"].removeprefix("entry/"), plain)
    assert entry == (second if entry.seq == 2 else first)
    assert encode(entry) == plain


@of("segment")
def test_segment(vector: Vector) -> None:
    contents, columns = segment.read_group(opened(vector))
    said: dict[str, list[object]] = {"": list(contents)}
    said |= {field: [value.hex() for value in column] for field, column in columns.items()}
    assert said == json.loads(vector.fields["says"])


def test_checkpoint_and_piece() -> None:
    """With a bundle they are one state: the second of the two readers sees it as it lies there, this one as a
    whole."""
    parts = ("checkpoint", "piece", "bundle")
    stored = {v.fields["what"]: v for v in VECTORS if v.fields["what"] in parts}
    says = {what: json.loads(v.fields["says"]) for what, v in stored.items()}

    async def load() -> None:
        stores = MemoryStores(serial=True)
        store = await stores.open(stored["piece"].fields["account"], create=True)
        for vector in stored.values():
            await store.put(vector.fields["name"], vector.stored)
        records = Records(store, keyring(stored["checkpoint"]))
        state = await checkpoint.load(records, [stored["checkpoint"].fields["name"]])
        assert not state.damaged
        [table] = state.mailboxes.values()
        piece, [mailbox] = says["piece"], says["checkpoint"]["mailboxes"]
        for column in ("uids", "ids", "modseqs", "sizes", "dates", "contents"):
            assert list(getattr(table, column)) == piece[column]
        assert [sorted(state.flagsets.sets[n]) for n in table.flags] == [sorted(f) for f in piece["flags"]]
        assert list(state.names) == ["INBOX"] and table.mailbox == mailbox["mailbox"]
        assert (table.top, table.highestmodseq) == (mailbox["top"], mailbox["highestmodseq"])
        assert [ref["contents"] for ref in says["checkpoint"]["segments"]] == [None]
        assert {ref.name: list(ref.contents) for ref in state.segments} == says["bundle"]
        [bundle] = says["checkpoint"]["bundles"]
        assert {name: list(of) for name, of in state.bundles.items()} == {bundle: list(says["bundle"])}
        assert [[list(each) for each in state.cut.items()], [list(each) for each in state.lost]] == [
            says["checkpoint"]["cut"],
            says["checkpoint"]["lost"],
        ]
        assert (state.clock, state.history.floor) == (
            says["checkpoint"]["clock"],
            says["checkpoint"]["floor"],
        )

    trio.run(load)


@of("letter")
def test_letter(vector: Vector) -> None:
    binding = Binding(vector.raw("account"), "letter", vector.fields["name"])
    letter = decode_letter(vector.fields["name"], keyring(vector).open_incoming(vector.stored, binding))
    says = json.loads(vector.fields["says"])
    assert letter.record.to_bytes() == make_log_vectors.RECORD.to_bytes()
    assert [letter.millis, letter.sender, letter.recipient, letter.detail] == [
        says[name] for name in ("arrival", "sender", "recipient", "detail")
    ]


@of("body record")
def test_body_record(vector: Vector) -> None:
    record = BodyRecord.from_bytes(vector.stored)
    expected = make_log_vectors.RECORD if record.place is None else make_log_vectors.PLACED
    assert (record.sealed_size, record.size, record.place) == (
        expected.sealed_size,
        expected.size,
        expected.place,
    )
    assert record.to_bytes() == vector.stored


@of("use")
def test_use(vector: Vector) -> None:
    async def read_it() -> dict[bytes, int]:
        store = await MemoryStores(serial=True).open(vector.fields["account"], create=True)
        await store.append("uses", [Row(vector.fields["name"], vector.stored)])
        return await last(store, keyring(vector))

    day = json.loads(vector.fields["says"])["day"]
    assert trio.run(read_it) == {bytes.fromhex("ab" * 16): day * 86400}
