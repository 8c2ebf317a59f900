"""What a session does in cases that a transcript cannot bring about: faults of ours, damage, large messages,
TLS."""

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from aerogramme.errors import Damaged, Unavailable
from aerogramme.imap import commands, context, fetching, listing, searching
from aerogramme.imap.commands import Search
from aerogramme.imap.context import Context, Done, Peer
from aerogramme.imap.server import SEND_SIZE
from aerogramme.imap.session import HANDLERS, MAX_BAD, Session
from aerogramme.log.journal import Journal
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.keys.reencrypting import Reencrypting
from tests.helpers.imap_grammar import responses
from tests.helpers.imap_world import World, imap_world, letter


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with imap_world() as world:
        yield world


class Collected:
    """Answers in memory. `largest`: how much was ever collected before it was sent."""

    def __init__(self) -> None:
        self.octets = b""
        self.waiting = self.largest = 0

    @property
    def full(self) -> bool:
        return self.waiting >= SEND_SIZE

    def write(self, octets: bytes) -> None:
        self.octets += octets
        self.waiting += len(octets)
        self.largest = max(self.largest, self.waiting)

    async def flush(self) -> None:
        self.waiting = 0

    async def pause(self) -> None:
        pass

    def stop(self, farewell: bytes) -> None:
        raise AssertionError("no account ends here")

    def take(self) -> bytes:
        octets, self.octets = self.octets, b""
        return octets


async def say(session: Session, out: Collected, octets: bytes) -> bytes:
    session.receive(octets)
    await session.proceed()
    return out.take()


async def test_a_fault_of_ours_ends_one_command_and_shows_no_mail(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(context: object, command: object) -> None:
        raise ValueError("dear diary")

    client = await world.client()
    monkeypatch.setitem(HANDLERS, commands.Namespace, broken)
    assert (await client.command(b"NAMESPACE"))[-1].startswith(b"x NO [SERVERBUG] ")
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK ")
    assert "ValueError" in caplog.text and "in broken" in caplog.text
    assert "diary" not in caplog.text


async def test_who_talks_another_protocol_is_sent_away(world: World) -> None:
    client = await world.client()
    for good in (b"NOOP", b"SELECT none", b"IDLE\r\nDONE"):
        for _ in range(MAX_BAD - 1):
            assert (await client.command(b"GET / HTTP/1.1"))[-1].startswith(b"x BAD ")
        assert (await client.command(good))[-1].startswith((b"x OK ", b"x NO "))  # all is well again
    for _ in range(MAX_BAD):
        assert (await client.command(b"GET / HTTP/1.1"))[-1].startswith(b"x BAD ")
    assert (await client.line()).startswith(b"* BYE ")
    with pytest.raises(EOFError):
        await client.line()


async def test_the_store_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(*args: object) -> None:
        raise Unavailable(hint="the disk is full")

    client = await world.client()
    await client.command(b"SELECT INBOX")
    with monkeypatch.context() as patch:
        patch.setattr(Account, "append", away)
        answer = await client.command(b"APPEND INBOX {3+}\r\na\r\n")
        assert answer[-1].startswith(b"x NO [UNAVAILABLE] ")
    assert b"disk" not in answer[-1] and "the disk is full" in caplog.text  # for the operator, not the client
    assert (await client.command(b"APPEND INBOX {3+}\r\na\r\n"))[-1].startswith(b"x OK [APPENDUID ")


async def test_no_password_in_the_clear_from_afar(world: World) -> None:
    out = Collected()
    session = Session(world.service, Peer.of_host("192.0.2.1"), out)
    session.greet()
    greeting = out.take()
    assert b"LOGINDISABLED" in greeting and b"AUTH=" not in greeting
    assert b"a NO [PRIVACYREQUIRED] " in await say(session, out, b"a LOGIN alice secret\r\n")
    assert b"b NO [PRIVACYREQUIRED] " in await say(
        session, out, b"b AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n"
    )
    assert b"c NO [PRIVACYREQUIRED] " in await say(session, out, b"c AUTHENTICATE PLAIN\r\n")
    session.close()
    for peer in (Peer("192.0.2.1", encrypted=True), Peer.of_host("::1"), Peer.of_host("::ffff:127.0.0.1")):
        session = Session(world.service, peer, out)
        session.greet()
        assert b"LOGINDISABLED" not in out.take()
        assert b"a OK " in await say(session, out, b"a LOGIN alice secret\r\n")
        session.close()


async def with_mail(world: World, mail: bytes) -> tuple[Session, Collected]:
    """A session that has an INBOX with this mail selected, and what it writes from here on."""
    client = await world.client()
    answer = await client.command(b"APPEND INBOX {%d+}\r\n%b" % (len(mail), mail))
    assert answer[-1].startswith(b"x OK ")
    await client.stream.send_all(b"x LOGOUT\r\n")
    out = Collected()
    session = Session(world.service, Peer("local", loopback=True), out)
    await say(session, out, b"a LOGIN alice secret\r\nb SELECT INBOX\r\n")
    out.largest = 0
    return session, out


async def test_large_messages_pass_in_pieces(world: World) -> None:
    line = b"0123456789" * 7 + b"\r\n"
    part = line * 30_000
    head = (
        b"Subject: large\r\nX-Odd: yes\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
    )
    last = b"--b\r\nContent-Type: text/html\r\n\r\n<p>x\r\n--b--\r\n"
    mail = head + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + part + b"\r\n" + last
    session, out = await with_mail(world, mail)
    command = (
        b"c FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (X-Odd)] BODY.PEEK[] RFC822.SIZE BODY.PEEK[1] BODY.PEEK[2]"
        b" BODY.PEEK[3] BODY.PEEK[2.MIME] BODY.PEEK[1]<1000000.20> BODY.PEEK[]<5.2000000>"
        b" BODY.PEEK[1]<9999999.5>)\r\n"
    )
    fetched, done = responses(await say(session, out, command))
    assert done.kind == "OK"
    data = fetched.data
    assert data[b"UID"] == 1
    assert data[b"BODY[HEADER.FIELDS (X-ODD)]"] == b"X-Odd: yes\r\n\r\n"
    assert data[b"BODY[]"] == mail
    assert data[b"RFC822.SIZE"] == len(mail)
    assert data[b"BODY[1]"] == part
    assert data[b"BODY[2]"] == b"<p>x"
    assert data[b"BODY[3]"] is None
    assert data[b"BODY[2.MIME]"] == b"Content-Type: text/html\r\n\r\n"
    assert data[b"BODY[1]<1000000>"] == part[1_000_000:1_000_020]
    assert data[b"BODY[]<5>"] == mail[5:2_000_005]
    assert data[b"BODY[1]<9999999>"] == b""
    # The message was never whole in what waits to be sent: pieces of a megabyte at most are
    # (mailbox/bodies.py).
    assert out.largest <= 2 * 1024 * 1024
    assert b"d OK" in await say(session, out, b"d FETCH 1 BODY[TEXT]<0.5>\r\n")
    session.close()


@pytest.mark.parametrize("section", [b"", b"HEADER", b"TEXT"])
async def test_many_sections_of_one_message_are_never_in_memory_together(
    world: World, section: bytes
) -> None:
    half = (b"X-Long: " + b"0123456789" * 9 + b"\r\n") * 4000
    mail = half + b"\r\n" + half
    whole = {b"": mail, b"HEADER": half + b"\r\n", b"TEXT": half}[section]
    session, out = await with_mail(world, mail)
    items = b" ".join([b"BODY.PEEK[%b]<%d.900000>" % (section, n) for n in range(30)])
    fetched, done = responses(await say(session, out, b"c UID FETCH 1 (FLAGS %b)\r\n" % items))
    assert done.kind == "OK"
    assert all(fetched.data[b"BODY[%b]<%d>" % (section, n)] == whole[n:] for n in range(30))
    assert out.largest <= 3 * 1024 * 1024
    session.close()


async def test_a_message_that_cannot_be_read_stops_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.mail("INBOX", 3)
    async with world.account() as account:
        second = account.find("INBOX").contents[1]
        name = f"body/{second:016x}"
        body = await account.store.get(name)
        await account.store.delete([name])
        client = await world.client()
        await client.command(b"SELECT INBOX")
        *lines, done = await client.command(b"UID FETCH 1:* (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert done.startswith(b"x OK ")
        found = responses(b"".join(line + b"\r\n" for line in lines))
        assert [one.data[b"BODY[]"] for one in found[:3]] == [letter(1), None, letter(3)]
        assert found[1].data[b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: Message 2\r\n\r\n"
        assert found[3].kind == "NO" and found[3].code == b"CORRUPTION"
        assert "is damaged" in caplog.text
        await account.store.put(name, body)  # for the audit


async def test_bodies_that_are_written_anew_during_a_fetch_are_fetched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.mail("INBOX", 3)
    async with world.account() as account:
        before = list(account.find("INBOX").contents)

        async def overtaken(contents: Sequence[int]) -> AsyncIterator[bytes | Damaged]:
            monkeypatch.undo()
            assert list(contents) == before
            await Reencrypting(account, lambda: None).run(0)
            assert not set(before).intersection(account.find("INBOX").contents)
            async with aclosing(account.read_bodies(contents)) as letters:
                async for each in letters:
                    assert isinstance(each, Damaged), "what is asked for is gone"
                    yield each

        client = await world.client()
        await client.command(b"SELECT INBOX")
        monkeypatch.setattr(account, "read_bodies", overtaken)
        *lines, done = await client.command(b"UID FETCH 1:* BODY.PEEK[]")
        assert done.startswith(b"x OK ")
        found = responses(b"".join(line + b"\r\n" for line in lines))
        assert [one.data[b"BODY[]"] for one in found[:3]] == [letter(n) for n in (1, 2, 3)]


async def test_what_is_too_large_is_not_asked_for(world: World) -> None:
    world.service.max_message_size = 100
    client = await world.client()
    assert (await client.command(b"APPEND INBOX {101}"))[-1].startswith(b"x NO [TOOBIG] ")
    assert (await client.command(b"APPEND INBOX {101+}\r\n" + b"x" * 101))[-1].startswith(b"x NO [TOOBIG] ")
    assert (await client.command(b"APPEND none {101+}\r\n" + b"x" * 101))[-1].startswith(b"x NO [")
    assert (await client.command(b"APPEND none {100+}\r\n" + b"x" * 100))[-1].startswith(b"x NO [TRYCREATE] ")
    assert (await client.command(b"APPEND INBOX {100+}\r\n" + b"x" * 100))[-1].startswith(b"x OK ")


async def test_flags_that_cannot_be_kept_are_refused_before_the_message_is_sent(world: World) -> None:
    client = await world.client()
    many = b" ".join([b"x%d" % n for n in range(101)])
    for flags, code in ((b"x" * 201, b"CANNOT"), (many, b"LIMIT")):
        assert (await client.command(b"APPEND INBOX (%b) {3}" % flags))[-1].startswith(b"x NO [%b] " % code)
    assert (await client.command(b"NOOP"))[-1].startswith(b"x OK ")


async def test_answers_of_pipelined_commands_come_in_order(world: World) -> None:
    await world.mail("INBOX", 10)
    client = await world.client()
    mail = letter(1)
    await client.stream.send_all(
        b"a1 SELECT INBOX\r\na2 FETCH 1:* (UID BODY[])\r\na3 STORE 1:5 +FLAGS (\\Deleted)\r\na4 EXPUNGE\r\n"
        b"a5 APPEND INBOX {%d+}\r\n%b\r\na6 NOOP\r\na7 SEARCH ALL\r\na8 LOGOUT\r\n" % (len(mail), mail)
    )
    tags = []
    lines = []
    while len(tags) < 8:
        lines.append(await client.line())
        if found := re.match(rb"(a\d) (\w+)", lines[-1]):
            assert found[2] == b"OK", lines[-1]
            tags.append(found[1])
    assert tags == [b"a%d" % n for n in range(1, 9)]
    assert b"* SEARCH 1 2 3 4 5 6" in lines


async def test_thousands_of_commands_at_once_hold_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    search = HANDLERS[Search]

    async def counted(context: Context, command: Search) -> Done:
        nonlocal count
        count += 1
        return await search(context, command)

    monkeypatch.setitem(HANDLERS, Search, counted)
    greedy, other = await world.client(), await world.client()
    await greedy.command(b"SELECT INBOX")
    await greedy.stream.send_all(b"a SEARCH ALL\r\n" * 1000)
    assert (await other.command(b"NOOP"))[-1].startswith(b"x OK")
    assert count < 500
    await greedy.command(b"NOOP")
    assert count == 1000


async def test_every_legal_command_has_a_handler() -> None:
    from aerogramme.imap.states import RULES

    conversations = {commands.Append, commands.Authenticate, commands.Idle}
    assert set(HANDLERS) | conversations == set(RULES)
    assert not set(HANDLERS) & conversations


def test_nothing_is_logged_with_its_text_but_our_own_errors(caplog: pytest.LogCaptureFixture) -> None:
    from aerogramme.faults import stack

    caplog.set_level(logging.DEBUG)
    try:
        try:
            raise KeyError("private words")
        except KeyError as inner:
            raise Unavailable("the store is away") from inner
    except Unavailable as error:
        text = stack(error)
    assert "the store is away" in text and "KeyError" in text and "private" not in text


async def test_who_asks_while_news_waits_must_not_take_a_modseq_for_the_highest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news waits for what several servers have to settle first; FETCH shows MODSEQs as they are."""
    await world.mail("INBOX", 1)
    client = await world.client()
    selected = b"\n".join(await client.command(b"SELECT INBOX (CONDSTORE)"))
    known = int(re.search(rb"HIGHESTMODSEQ (\d+)", selected)[1])  # type: ignore[index]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "settled", property(lambda _: False))
        await world.mail("INBOX", 1)
        async with world.account() as account:
            await account.store_flags(account.find("INBOX"), [1], "+", ["\\Seen"])
        fetched = await client.command(b"UID FETCH 1:* (FLAGS MODSEQ)")
        told = int(re.search(rb"MODSEQ \((\d+)\)", fetched[0])[1])  # type: ignore[index]
        assert told > known and not any(line.endswith(b"EXISTS") for line in fetched)
        assert fetched[-2].startswith(b"* OK [HIGHESTMODSEQ %d]" % known)
    assert b"* 2 EXISTS" in await client.command(b"NOOP")


async def test_no_answer_names_a_highest_modseq_below_which_a_removal_is_held_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.mail("INBOX", 3)
    client, other = await world.client(), await world.client()
    selected = b"\n".join(await client.command(b"SELECT INBOX (CONDSTORE)"))
    known = int(re.search(rb"HIGHESTMODSEQ (\d+)", selected)[1])  # type: ignore[index]
    for command in (b"SELECT INBOX", b"STORE 1 +FLAGS.SILENT (\\Deleted)", b"EXPUNGE"):
        await other.command(command)
    await client.command(b"STORE 2 +FLAGS.SILENT (\\Seen)")  # EXPUNGE may not be told here
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "settled", property(lambda _: False))
        lines = await client.command(b"EXPUNGE")
    assert not any(line.endswith(b" EXPUNGE") for line in lines)
    assert all(int(found) <= known for found in re.findall(rb"HIGHESTMODSEQ (\d+)", b"".join(lines)))
    assert b"* 1 EXPUNGE" in await client.command(b"NOOP")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (b"STORE 1:* FLAGS (\\Seen)", b"FETCH (UID"),
        (b"STORE 1:* +FLAGS.SILENT (\\Seen)", b"MODSEQ ("),
        (b"STORE 1:* (UNCHANGEDSINCE 1) FLAGS (\\Seen)", b"FETCH (UID"),
        (b"SEARCH ALL", b"SEARCH 1 2"),
        (b"SELECT INBOX (QRESYNC (%d 1))", b"FETCH (UID"),
        (b"NOOP", b"FETCH (UID"),
    ],
)
async def test_answers_about_many_messages_are_sent_in_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch, command: bytes, line: bytes
) -> None:
    for module in (context, fetching, searching):
        monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr("tests.t4_imap.test_sessions.SEND_SIZE", 20)
    await world.mail("INBOX", 100)
    out = Collected()
    session = Session(world.service, Peer("local", loopback=True), out)
    await say(session, out, b"a LOGIN alice secret\r\nb ENABLE QRESYNC\r\nc SELECT INBOX\r\n")
    async with world.account() as account:
        table = account.find("INBOX")
        if b"%" in command:
            command %= table.uidvalidity
        elif command == b"NOOP":
            await account.store_flags(table, table.uids, "+", ["\\Flagged"])
        out.waiting = out.largest = 0
        answer = await say(session, out, b"d %b\r\n" % command)
    assert line in answer and b" 100" in answer and b"\r\nd OK" in answer
    assert out.largest < len(answer) / 3
    session.close()


async def test_a_mailbox_that_goes_during_a_list_is_no_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.t4_imap.test_sessions.SEND_SIZE", 20)
    out = Collected()
    session = Session(world.service, Peer("local", loopback=True), out)
    await say(session, out, b"a LOGIN alice secret\r\n")

    async def flush() -> None:
        async with world.account() as account:
            if "Sent" in account.state.names:
                await account.delete_mailbox("Sent")

    monkeypatch.setattr(out, "flush", flush)
    answer = await say(session, out, b'b LIST "" * RETURN (STATUS (MESSAGES))\r\n')
    assert b'* STATUS "Drafts" ' in answer and b'* STATUS "Trash" ' in answer and b"\r\nb OK" in answer
    assert b'* STATUS "Sent"' not in answer
    session.close()


async def test_a_mailbox_that_messages_come_from_is_not_to_be_made(world: World) -> None:
    await world.mail("Archive", 1)
    client, other = await world.client(), await world.client()
    await client.command(b"SELECT Archive")
    await other.command(b"DELETE Archive")
    assert (await client.command(b"MOVE 1 INBOX"))[-1].startswith(b"x NO [NONEXISTENT] ")
    assert (await client.command(b"CLOSE"))[-1].startswith(b"x OK ")


async def test_a_list_tells_no_numbers_that_wait_to_be_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.t4_imap.test_sessions.SEND_SIZE", 20)
    refresh, settled = Account.refresh, True
    out = Collected()
    session = Session(world.service, Peer("local", loopback=True), out)
    await say(session, out, b"a LOGIN alice secret\r\n")

    async def settle(account: Account) -> None:
        nonlocal settled
        await refresh(account)
        settled = True

    async def flush() -> None:
        nonlocal settled
        settled = False  # another server's entry comes meanwhile

    def told(*args: object) -> bytes:
        assert settled
        return b"* STATUS\r\n"

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "settled", property(lambda _: settled))
        patch.setattr(Account, "refresh", settle)
        patch.setattr(out, "flush", flush)
        patch.setattr(listing, "_status_line", told)
        answer = await say(session, out, b'b LIST "" * RETURN (STATUS (UIDNEXT))\r\n')
    assert answer.count(b"* STATUS\r\n") == 6 and b"\r\nb OK" in answer
    session.close()


@pytest.mark.parametrize(("limit", "most"), [("MAX_KEYWORDS", 8), ("MAX_WEIGHT", 2)])
async def test_there_is_an_end_to_keywords(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(f"aerogramme.mailbox.flags.{limit}", most)
    await world.mail("INBOX", 1)
    client = await world.client()
    await client.command(b"SELECT INBOX")
    answers = [(await client.command(b"STORE 1 +FLAGS (k%d)" % n))[-1] for n in range(5)]
    assert answers[0].startswith(b"x OK") and answers[-1].startswith(b"x NO [LIMIT] ")
    assert (await client.command(b"APPEND INBOX (new) {1+}\r\nx"))[-1].startswith(b"x NO [LIMIT] ")
    for command in (b"STORE 1 -FLAGS (k0)", b"STORE 1 FLAGS (\\Seen)", b"APPEND INBOX (\\Seen) {1+}\r\nx"):
        assert (await client.command(command))[-1].startswith(b"x OK"), command


async def test_there_is_an_end_to_subscriptions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await world.client()
    monkeypatch.setattr("aerogramme.mailbox.hierarchy.MAX_SUBSCRIPTIONS", 8)
    answers = [(await client.command(b"SUBSCRIBE s%d" % n))[-1] for n in range(5)]
    assert answers[0].startswith(b"x OK") and answers[-1].startswith(b"x NO [LIMIT] ")
    assert (await client.command(b"UNSUBSCRIBE s0"))[-1].startswith(b"x OK")
