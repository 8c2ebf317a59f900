"""SEARCH against the obvious: every key, and random trees of them, by a search that decodes nothing twice."""

from dataclasses import dataclass

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import BadSyntax
from aerogramme.log.segment import Column
from aerogramme.mailbox import search_keys as k
from aerogramme.mailbox.bodies import DIGESTS_OCTETS, HEAVIEST, _matches, at_once
from aerogramme.mailbox.search import DAY, header_contains, search
from tests.t3_mailbox.conftest import World, put


@dataclass(frozen=True)
class Mail:
    subject: str
    sender: str
    text: str
    flags: tuple[str, ...]
    day: int
    sent: int

    @property
    def raw(self) -> bytes:
        date = f"{1 + self.sent} Jan 1970 12:00:00 +0000"
        head = f"From: {self.sender}\r\nTo: us@example.org\r\nSubject: {self.subject}\r\n"
        head += f"Date: {date}\r\nX-N: {self.day}\r\n"
        return (
            head + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + self.text
        ).encode()


MAILS = [
    Mail("Hello World", "Ann <ann@example.org>", "The quick brown fox\r\n", ("\\Seen",), 10, 1),
    Mail("RE: hello", "Bob <bob@example.net>", "jumps over\r\nthe lazy dog\r\n", (), 10, 2),
    Mail("Grüße aus Köln", "Käthe <k@example.org>", "Straße und WEG\r\n", ("\\Seen", "work"), 11, 3),
    Mail("", "nobody@example.com", "hello again, hello\r\n", ("\\Flagged",), 12, 4),
    Mail("Ünïcode", "Ann <ann@example.org>", "dog", ("$Junk", "\\Deleted"), 13, 5),
]
S = k.SequenceSet


async def mailbox(world: World):
    account = await world.open()
    for mail in MAILS:
        await put(account, "INBOX", mail.raw, flags=mail.flags, date=mail.day * DAY + 3600)
    return account, await account.open_mailbox("INBOX")


CASES = [
    (k.All(), [1, 2, 3, 4, 5]),
    (k.And(()), [1, 2, 3, 4, 5]),
    (k.Or(()), []),
    (k.Flag("\\Seen"), [1, 3]),
    (k.Flag("WORK"), [3]),
    (k.Flag("never"), []),
    (k.Not(k.Flag("\\Seen")), [2, 4, 5]),
    (k.Recent(), [1, 2, 3, 4, 5]),
    (k.Seqs(S(((2, 3), (5, k.STAR)))), [2, 3, 5]),
    (k.Uids(S(((4, 99),))), [4, 5]),
    (k.Field("subject", "HELLO"), [1, 2]),
    (k.Field("subject", "grüße AUS köln"), [3]),
    (k.Field("subject", "ünïcode"), [5]),
    (k.Field("subject", ""), [1, 2, 3, 4, 5]),
    (k.Field("from", "ann@"), [1, 5]),
    (k.Field("to", "us@"), [1, 2, 3, 4, 5]),
    (k.Field("cc", "us@"), []),
    (k.Header("x-n", "1"), [1, 2, 3, 4, 5]),
    (k.Header("x-n", "13"), [5]),
    (k.Header("x-none", ""), []),
    (k.Header("x-n", ""), [1, 2, 3, 4, 5]),
    (k.Body("HELLO"), [4]),
    (k.Body("over the lazy"), [2]),
    (k.Body("strasse"), [3]),
    (k.Text("hello"), [1, 2, 4]),
    (k.Text("dog"), [2, 5]),
    (k.Arrived(10, 11), [1, 2]),
    (k.Arrived(None, 11), [1, 2]),
    (k.Arrived(12, None), [4, 5]),
    (k.Sent(2, 4), [2, 3]),
    (k.Larger(10), [1, 2, 3, 4, 5]),
    (k.Smaller(10), []),
    (k.Or((k.Body("fox"), k.Body("dog"), k.Flag("work"))), [1, 2, 3, 5]),
    (k.And((k.Text("hello"), k.Not(k.Or((k.Flag("\\Seen"), k.Body("again")))))), [2]),
]


async def test_every_key(world: World) -> None:
    account, view = await mailbox(world)
    for key, expected in CASES:
        found = await search(account, view, key)
        assert found.seqs == expected, key
        modseqs = [view.table.modseqs[seq - 1] for seq in expected]
        assert found.modseq == max(modseqs, default=0)
    middle = view.table.modseqs[2]
    assert (await search(account, view, k.ModSeq(middle))).seqs == [3, 4, 5]
    size = view.table.sizes[0]
    assert (await search(account, view, k.And((k.Larger(size - 1), k.Smaller(size + 1))))).seqs == [1]
    with pytest.raises(BadSyntax):
        await search(account, view, k.Seqs(S(((6, 6),))))


async def test_messages_that_are_gone_do_not_match(world: World) -> None:
    account, view = await mailbox(world)
    await account.expunge(view.table)
    view.sync(allow_expunge=False)
    await put(account, "INBOX", MAILS[1].raw)
    assert (await search(account, view, k.All())).seqs == [1, 2, 3, 4]
    assert (await search(account, view, k.Text("dog"))).seqs == [2]
    view.sync()
    assert (await search(account, view, k.Text("dog"))).seqs == [2, 5]


async def test_a_line_that_goes_on_is_no_field(world: World) -> None:
    account, view = await mailbox(world)
    await put(account, "INBOX", b"Subject: one\r\n : two\r\n\r\n")
    view.sync()
    for name in ("", " ", "subject: one\r\n "):
        assert (await search(account, view, k.Header(name, "two"))).seqs == []
    assert (await search(account, view, k.Header("subject", "one : two"))).seqs == [6]


def test_fewer_large_messages_are_looked_at_in_one_go() -> None:
    assert at_once([1000] * 1000) == 1000
    assert at_once([HEAVIEST] * 1000) <= DIGESTS_OCTETS // HEAVIEST
    assert at_once([50 * HEAVIEST] * 40 + [0] * 40) == 20
    assert at_once([1 << 31]) == 1
    assert at_once([]) == 0


@pytest.mark.parametrize("most", ["search.BATCH", "bodies.DIGESTS_OCTETS"])
async def test_more_than_a_batch(world: World, monkeypatch, most: str) -> None:
    monkeypatch.setattr(f"aerogramme.mailbox.{most}", 2)
    account, view = await mailbox(world)
    for key, expected in CASES:
        assert (await search(account, view, key)).seqs == expected, key


@pytest.mark.parametrize(
    "key",
    [
        k.Text("dog"),
        k.Header("x-n", "1"),
        k.Or(tuple(k.Flag(f"never{n}") for n in range(5))),
    ],
)
async def test_a_long_search_lets_others_have_their_turn(world: World, monkeypatch, key) -> None:
    monkeypatch.setattr("aerogramme.mailbox.search.BATCH", 1)  # five of them
    account, view = await mailbox(world)
    await search(account, view, key)  # all that is needed is in memory
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        await search(account, view, key)
        nursery.cancel_scope.cancel()
    assert turns >= 3  # of five, less what chance in the order of tasks takes


def plainly(key: k.SearchKey, seq: int) -> bool:
    """What a key means for message `seq`, said again."""
    match key:
        case k.And(keys):
            return all(plainly(each, seq) for each in keys)
        case k.Or(keys):
            return any(plainly(each, seq) for each in keys)
        case k.Not(inner):
            return not plainly(inner, seq)
    return seq in next(expected for case, expected in CASES if case == key)


leaves = st.sampled_from([key for key, _ in CASES if not isinstance(key, k.And | k.Or | k.Not)])
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda keys: k.And(tuple(keys))),
        st.lists(inner, max_size=3).map(lambda keys: k.Or(tuple(keys))),
        inner.map(k.Not),
    ),
    max_leaves=12,
)


@settings(max_examples=20, deadline=None)
@given(st.lists(trees, min_size=10, max_size=10))
async def test_trees_of_keys_mean_what_they_say(keys) -> None:
    account, view = await mailbox(World())
    for key in keys:
        expected = [seq for seq in range(1, 6) if plainly(key, seq)]
        assert (await search(account, view, key)).seqs == expected


@given(st.lists(st.text("ab ", max_size=6), min_size=1), st.text("ab ", max_size=3), st.data())
def test_a_match_lies_within_one_value(values, needle, data) -> None:
    column = Column.of([value.encode() for value in values])
    start = data.draw(st.integers(0, len(values) - 1))
    count = data.draw(st.integers(1, len(values) - start))
    expected = [needle in value for value in values[start : start + count]]
    assert _matches(column, start, count, needle.encode()) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (b"subject", b"caf\xc3\xa9 noir", True),
        (b"subject", b"no", True),
        (b"subject", b"x-other", False),
        (b"x-old", b"value", True),
        (b"ubject", b"", False),
        (b"x-empty", b"", True),
        (b"x-twice", b"second", True),
        (b"x-twice", b"third", False),
        (b"x-last", b"end", True),
        (b"text", b"", False),
    ],
)
def test_header_fields(name, text, expected) -> None:
    header = (
        b"Subject: =?utf-8?q?caf=C3=A9?=\r\n NOIR\r\nX-Old : Value\r\nX-Empty:\r\n"
        b"X-Twice: first\r\nX-twice: second\r\nSome text\r\nX-Last: the\r\n\tend"
    )
    assert header_contains(header, name, text) is expected
