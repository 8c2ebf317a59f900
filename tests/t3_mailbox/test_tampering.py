"""Whoever can write the store changes anything in it: that is found, named, and confined to what it touches.

What nobody can find who has not seen the account before stands in docs/threat-model.md.
"""

from itertools import pairwise

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerogramme.errors import AerogrammeError
from aerogramme.log.history import MAX_GAP
from tests.helpers.damage import damaged
from tests.helpers.tampering import (
    DAMAGED,
    Item,
    Lines,
    Whole,
    build,
    change,
    findings,
    open_account,
    serve,
)
from tests.t3_mailbox.conftest import put


@pytest.fixture(scope="module", params=[True, False], ids=["serial", "listing"])
def whole(request) -> Whole:
    return trio.run(_build, request.param)


async def _build(serial: bool) -> Whole:
    return await build(serial=serial)


def name_of(item: Item) -> str:
    """What a person is told of it: the key of a row; of an object the name, or the id in it."""
    partition, name = item
    if partition:
        return name
    kind, _, rest = name.partition("/")
    return rest.lstrip("0") if kind in ("body", "pack", "entry") else name


def check(whole: Whole, changes: dict[Item, bytes | None], *, silent: bool = False) -> None:
    """Changes the store, then opens the account as somebody who has never seen it.

    Nothing is served that is not what was stored; all is that has nothing to do with what was changed; and
    unless `silent` the audit or the log names each thing.
    """
    stores = whole.copy()
    for item, value in changes.items():
        change(stores, item, value)
    with Lines() as log:
        try:
            found = trio.run(findings, stores)
            served = trio.run(serve, stores)
        except AerogrammeError as refused:  # keys: nothing is opened with what is not theirs
            assert any(partition == "keys" for partition, _ in changes), refused
            return
    told = "\n".join([*found, *log.said])
    touched = {message for item in changes for message in whole.touches.get(item, ())}
    for message in whole.served.keys() | served.keys():
        was, now = whole.served.get(message), served.get(message)
        if was == now:
            continue
        assert message in touched, f"message {message:x} has nothing to do with {list(changes)}: {told}"
        assert told or not changes.keys().isdisjoint(whole.unknowable), "nothing is said"
        if was is not None and now is not None:
            assert all(b in (a, DAMAGED) for a, b in zip(was[2], now[2], strict=True)), "another digest"
            assert now[3] in (was[3], DAMAGED), "another body"
            assert was[0] == now[0], "another mailbox"
    # Of a slot only its owner's password can tell: the keyring knows some of its head.
    named = [name_of(item) for item in changes if not item[1].startswith("slot-")]
    if not silent and named:
        assert any(name in told for name in named), f"none of {named} is named: {told!r}"


def flipped(value: bytes, bit: int) -> bytes:
    at = bit % (8 * len(value))
    return value[: at // 8] + bytes([value[at // 8] ^ 1 << at % 8]) + value[at // 8 + 1 :]


def test_any_bit_of_anything(whole: Whole) -> None:
    """Of each thing the first bytes, which are read before anything is opened, and some of all others."""
    for item, value in whole.items.items():
        if value:
            bits = [
                *range(0, min(64, 8 * len(value)), 21),
                *range(64, 8 * len(value), 8 * len(value) // 2 + 1),
            ]
            for bit in bits:
                check(whole, {item: flipped(value, bit)})


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_damaged(whole: Whole, data: st.DataObject) -> None:
    item = data.draw(st.sampled_from(sorted(item for item, value in whole.items.items() if value)))
    check(whole, {item: data.draw(damaged(whole.items[item]))})


def test_cut(whole: Whole) -> None:
    for item, value in whole.items.items():
        if value:
            for length in {0, len(value) - 1}:
                check(whole, {item: value[:length]})


def swaps(whole: Whole) -> list[tuple[Item, Item]]:
    """Each thing with the next of its kind, and with one of another kind."""
    listed = sorted(whole.items)
    pairs = list(pairwise(listed))
    pairs += zip(listed, listed[len(listed) // 2 :], strict=False)
    return [(a, b) for a, b in pairs if whole.items[a] != whole.items[b]]


def test_two_swapped(whole: Whole) -> None:
    for a, b in swaps(whole):
        check(whole, {a: whole.items[b], b: whole.items[a]})


def test_a_copy_under_another_name(whole: Whole) -> None:
    for a, b in swaps(whole):
        check(whole, {a: whole.items[b]})


def test_deleted(whole: Whole) -> None:
    """What nobody needs any more may go without a word: older checkpoints, say."""
    for item in whole.items:
        check(whole, {item: None}, silent=True)


JUNK = [
    ("log", "7fffffffffffffff-0000000001-00000001"),  # the end of all clocks
    ("log", "7fffffffffffffff-ffffffffff-ffffffff"),
    ("log", "0000000000000001-0000000001-ffffffff"),
    ("log", "no key at all"),
    ("incoming", "ffffffffffff-ffffffffffffffff"),
    ("incoming", "no key at all"),
    ("keys", "slot-no"),
    ("keys", "keyring-no"),
    ("keys", "keyring-ffffffff-ffffffff"),
    ("keys", "public-no"),
    ("keys", "rotating-no"),
    ("uses", "no key at all"),
    ("", "checkpoint/0000000000000000-0000000000000000"),
    ("", "checkpoint/no"),
    ("", "piece/no"),
    ("", "segment/no"),
    ("", "entry/no"),
]


@pytest.mark.parametrize("value", [b"x", b"AGG\1" + bytes(40)], ids=["short", "record"])
def test_what_nobody_wrote(whole: Whole, value: bytes) -> None:
    for item in JUNK:
        check(whole, {item: value})


@pytest.mark.parametrize("name", [name for partition, name in JUNK if partition == "log"])
def test_a_row_that_nobody_wrote_stops_no_writer(whole: Whole, name: str) -> None:
    """Also not one with the last clock there is, or the last number of an entry of a replica that goes on."""

    async def main() -> None:
        stores = whole.copy()
        change(stores, ("log", name), b"junk")
        [last] = [key for partition, key in whole.unknowable if partition == "log"]
        change(stores, ("log", f"{last[:28]}ffffffff"), b"junk")
        with Lines() as log:
            account = await open_account(stores)
            await put(account, "INBOX", b"Subject: and one more\r\n\r\n")
            assert len(account.state.history.holes) <= 2 * MAX_GAP
            await account.aclose()
            served = await serve(stores)
        assert any(name in line for line in [*log.said, *await findings(stores)])
        assert len(served) == len(whole.served) + 1

    trio.run(main)


def test_an_entry_that_is_missing_is_named(whole: Whole) -> None:
    for item in whole.items.keys() - whole.unknowable:
        if item[0] == "log":
            stores = whole.copy()
            change(stores, item, None)
            _, replica, seq = item[1].split("-")
            assert f"replica {replica}: entry {int(seq, 16)} is missing" in trio.run(findings, stores)


def test_what_was_done_with_is_put_back(whole: Whole) -> None:
    """Beside what has replaced it: the newer counts."""
    for item, value in whole.past.items():
        check(whole, {item: value}, silent=True)
