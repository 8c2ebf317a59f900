"""The letters of a mailbox on an IMAP server, whatever happens to its connections."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import AerogrammeError, Unavailable, Unreadable
from aerogramme.migrate.sources.imap import letters
from aerogramme.migrate.sources.imap.access import Access
from aerogramme.migrate.sources.imap.source import ImapSource
from aerogramme.migrate.sources.source import Fault, Folder, Letter
from aerogramme.seal import Secret
from tests.helpers.fake_imap import VALIDITY, FakeImap, Message

INBOX = Folder("INBOX", "INBOX", uidvalidity=VALIDITY)


@asynccontextmanager
async def serving(
    messages: Mapping[int, Message],
    connections: int = 3,
    pauses: Sequence[float] = (0, 0, 0, 0),
    **ways: Any,
) -> AsyncIterator[tuple[ImapSource, FakeImap]]:
    """A source, and the server that it reads from. In the end no connection may be left over."""
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            server = FakeImap(messages, nursery, **ways)
            access = Access("mail.example.org", "alice", Secret("secret"), opener=server.open)
            source = ImapSource(access, connections=connections, pauses=pauses)
            yield source, server
            assert source._pool.free == source._pool.limit  # all were given back
            await source.aclose()


async def read(
    source: ImapSource, uids: Sequence[int], skip: AbstractSet[int] = frozenset()
) -> list[tuple[int, bytes] | str]:
    """What is given: letters, and what faults are about. Of those in `skip` only the first piece is read."""
    found: list[tuple[int, bytes] | str] = []
    async with aclosing(source.letters(INBOX, uids)) as given:
        async for each in given:
            if isinstance(each, Fault):
                assert each.lost
                found.append(each.origin)
                continue
            assert isinstance(each, Letter)
            content = b""
            async for piece in each.pieces:
                content += piece
                if each.uid in skip:
                    break
            found.append((each.uid, content))
    return found


contents = st.one_of(
    st.binary(max_size=60), st.integers(100, 20_000).map(lambda size: bytes(range(256)) * (size // 256))
)
messages = st.one_of(
    st.builds(Message, contents),
    st.builds(Message, contents),
    st.builds(Message, st.binary(max_size=30).map(lambda o: o.translate(None, b"\r\n\0")), st.just("quoted")),
    st.builds(Message, how=st.sampled_from(["gone", "nil", "no"])),
    st.builds(Message, contents, st.just("falls"), st.sampled_from([1, 2, 1000])),
    st.builds(Message, contents, st.just("cut"), st.integers(1, 3), st.integers(0, 300)),
    st.builds(Message, contents, st.just("cut"), st.just(1000), st.integers(100, 20_000)),
)


@settings(max_examples=80)  # some are slow: thousands of small pieces
@given(
    st.dictionaries(st.integers(1, 40), messages, max_size=25),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
    st.sets(st.integers(1, 40)),
)
def test_every_letter_or_a_fault_in_order(
    box: dict[int, Message], batch: int, connections: int, behind: bool, descending: bool, skip: set[int]
) -> None:
    uids = sorted(box)
    how = {uid: (message.how, message.times) for uid, message in box.items()}

    async def run() -> None:
        async with serving(box, connections, uid_behind=behind, descending=descending) as (source, _):
            found = await read(source, uids, skip)
        expected: list[tuple[int, bytes] | str] = []
        for uid in uids:
            if how[uid][0] in ("nil", "no") or how[uid] == ("falls", 1000):
                expected.append(f"INBOX, UID {uid}")
            elif how[uid][0] != "gone":
                expected.append((uid, box[uid].content))
        assert len(found) == len(expected)
        for is_, should_be in zip(found, expected, strict=True):
            if isinstance(is_, tuple) and is_[0] in skip:
                assert isinstance(should_be, tuple)
                assert is_[0] == should_be[0] and should_be[1].startswith(is_[1])
            else:
                assert is_ == should_be

    before, letters.BATCH = letters.BATCH, batch  # type: ignore[misc]
    try:
        trio.run(run)
    finally:
        letters.BATCH = before  # type: ignore[misc]


def plain(count: int) -> dict[int, Message]:
    return {uid: Message(b"letter %d\r\n" % uid) for uid in range(1, count + 1)}


async def test_batches_go_over_all_connections_but_one() -> None:
    async with serving(plain(1000), 4) as (source, server):
        assert len(await read(source, range(1, 1001))) == 1000
        assert server.connections == 3
        assert sum(command.startswith(b"UID FETCH") for command in server.commands) == 32
        assert b"UID FETCH 1:32 (UID BODY.PEEK[])" in server.commands
        # They are used again.
        assert len(await read(source, [3, 5, 6, 9])) == 4
        assert server.connections == 3 and server.commands[-1] == b"UID FETCH 3,5:6,9 (UID BODY.PEEK[])"


async def test_a_server_that_lets_in_fewer() -> None:
    async with serving(plain(1000), 4, most=2) as (source, server):
        assert len(await read(source, range(1, 1001))) == 1000
        assert server.connections == 2
        assert len(await read(source, range(1, 1001))) == 1000
        assert server.connections == 2  # it is not asked for more again


async def test_others_work_while_letters_are_read() -> None:
    async with (
        serving(plain(1000), 2) as (source, _),
        aclosing(source.letters(INBOX, range(1, 1001))) as given,
    ):
        await anext(given)
        assert len(await source.folders()) == 1


async def test_given_up_amid_a_letter() -> None:
    box = plain(200) | {1: Message(b"x" * 100_000)}
    async with serving(box) as (source, _):
        async with aclosing(source.letters(INBOX, range(1, 201))) as given:
            letter = await anext(given)
            assert isinstance(letter, Letter)
            await anext(letter.pieces)
        assert source._pool.free == 3
        assert len(await read(source, range(1, 201))) == 200  # over new connections


async def test_a_large_letter_that_nobody_wants_is_not_read() -> None:
    box = plain(3) | {2: Message(b"x" * 3_000_000)}
    async with serving(box, 1) as (source, server):
        assert [one[0] for one in await read(source, [1, 2, 3], {2})] == [1, 2, 3]
        assert server.connections == 2


async def test_a_letter_goes_on_at_the_octet_where_it_was_cut() -> None:
    box = {1: Message(bytes(range(256)) * 4000, "cut", 1000, 400_000)}
    async with serving(box) as (source, server):
        assert await read(source, [1]) == [(1, box[1].content)]
    asked = [command for command in server.commands if b"BODY.PEEK[]<" in command]
    assert asked == [
        b"UID FETCH 1 (UID BODY.PEEK[]<%d.%d>)" % (at, 1_024_000 - at) for at in (400_000, 800_000)
    ]


async def test_a_server_that_does_not_go_on() -> None:
    box = plain(3) | {2: Message(b"x" * 1000, "cut", 1, 500)}
    async with (
        serving(box, partial=False) as (source, _),
        aclosing(source.letters(INBOX, [1, 2, 3])) as given,
    ):
        found = []
        async for letter in given:
            assert isinstance(letter, Letter)
            try:
                found.append(b"".join([piece async for piece in letter.pieces]))
            except Unreadable as error:
                found.append(str(error).encode())
    assert found == [
        b"letter 1\r\n",
        b"INBOX, UID 2: the server does not go on with the letter",
        b"letter 3\r\n",
    ]


async def test_a_server_that_is_gone_for_good() -> None:
    async with serving(plain(3), 1, pauses=(0, 0)) as (source, server):
        await source.folders()
        server.most = 0
        for connection in source._pool._idle:
            connection.abort()
        with pytest.raises(Unavailable):
            await read(source, [1, 2, 3])


async def test_a_letter_that_is_never_sent_to_its_end() -> None:
    async with serving({1: Message(b"x" * 10, "cut", 1000, 0)}, pauses=(0, 0)) as (source, _):
        with pytest.raises(Unavailable):
            await read(source, [1])


async def test_a_mailbox_that_was_made_anew() -> None:
    async with serving(plain(3), validity=8) as (source, _):
        with pytest.raises(Unreadable, match="made anew"):
            await read(source, [1, 2, 3])


async def test_letters_that_nobody_asked_for() -> None:
    class Pushy(FakeImap):
        def _letter(self, uid: int, part: tuple[int, int] | None):  # type: ignore[no-untyped-def]
            yield from super()._letter(uid, part)
            yield b"* 9 FETCH (UID %d BODY[] {1}\r\nx)\r\n" % uid

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            server = Pushy(plain(3), nursery)
            access = Access("mail.example.org", "alice", Secret("secret"), opener=server.open)
            source = ImapSource(access, pauses=(0, 0, 0))
            given = await read(source, [1, 2, 3])
            await source.aclose()
    # Each is read before the server says too much; or else it is said that it cannot be.
    assert [one if isinstance(one, str) else one[0] for one in given] == [1, 2, 3]


async def test_a_silent_server() -> None:
    async def silent(access: Access) -> trio.abc.Stream:
        return trio.testing.memory_stream_pair()[0]

    access = Access("mail.example.org", "alice", Secret("secret"), opener=silent, patience=0.01)
    source = ImapSource(access, pauses=(0,))
    with pytest.raises(AerogrammeError, match="said nothing"):
        await source.folders()
