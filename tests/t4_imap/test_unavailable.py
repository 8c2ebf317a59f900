"""What clients see while the store is away, and when it is back: through real sessions, command by command.

The account has been open before, so what was read of it is in memory: numbers, flags, dates, sizes, and
envelopes.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from aerogramme.errors import Unavailable
from aerogramme.imap import grammar
from aerogramme.imap.states import RULES
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.persisting import RETRY_LONGEST
from aerogramme.mailbox.throttle import FREE
from aerogramme.store import Faults, MemoryStores
from aerogramme.store.memory import MemoryStore
from tests.helpers.imap_world import ACCOUNT, PASSWORD, USER, World, imap_world, letter, quiet_faults
from tests.helpers.transcript import Client

LOGIN = b"LOGIN %b %b" % (USER.encode(), PASSWORD.encode())


@dataclass
class Away:
    """A world whose store can go away."""

    world: World
    faults: Faults
    clock: MockClock

    async def go(self) -> None:
        """The network is cut. Whoever watches something hears of it with the next row, or never."""
        self.faults.reachable = False
        await wait_all_tasks_blocked()

    async def come_back(self) -> None:
        """And the background tasks have noticed."""
        self.faults.reachable = True
        await self.time_passes(2 * RETRY_LONGEST)

    async def time_passes(self, seconds: float) -> None:
        assert trio.lowlevel.current_clock() is self.clock, (
            "pytest-trio takes it from the test's own arguments"
        )
        while seconds > 0:
            self.clock.jump(min(seconds, 0.5))
            seconds -= 0.5
            await wait_all_tasks_blocked()

    async def mail_from_elsewhere(self, mailbox: str = "INBOX") -> None:
        """Another server, which reaches the store, adds a mail."""
        from aerogramme.mailbox.account import Account
        from aerogramme.mailbox.keys import keys
        from aerogramme.seal import Secret

        store = await self.world.stores.another().open(ACCOUNT)
        unlocked = await keys.unlock(store, ACCOUNT, Secret(PASSWORD))
        account = await Account.open(store, ACCOUNT, unlocked)
        upload = account.upload()
        await upload.write(letter(99))
        await account.append(mailbox, [NewMessage(upload)])
        await account.aclose()


@pytest.fixture(params=["serialized", "far"])
async def away(request: pytest.FixtureRequest, mock_clock: MockClock) -> AsyncIterator[Away]:
    faults = quiet_faults()
    far = request.param == "far"
    stores = MemoryStores(faults, serial=not far, object_costs_request=far)
    async with imap_world(stores) as world:
        away = Away(world, faults, mock_clock)
        yield away
        await away.come_back()


async def selected(away: Away) -> Client:
    """A client with three messages in INBOX, whose envelopes it has seen, and one in Archive."""
    await away.world.mail("INBOX", 3)
    await away.world.mail("Archive")
    client = await away.world.client()
    await client.command(b"SELECT INBOX")
    await client.command(b"FETCH 1:* (FLAGS ENVELOPE)")
    return client


ANSWERED = [
    b"CAPABILITY",
    b"NOOP",
    b"CHECK",
    b'ID ("name" "test")',
    b"ENABLE CONDSTORE",
    b"NAMESPACE",
    b'LIST "" *',
    b'LIST "" * RETURN (STATUS (MESSAGES UIDNEXT))',
    b'LSUB "" *',
    b'GETQUOTA ""',
    b"GETQUOTAROOT INBOX",
    b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)",
    b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODYSTRUCTURE)",
    b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
    b"SEARCH UNSEEN",
    b"UID SEARCH FLAGGED UID 2:* LARGER 1",
    b'SEARCH SUBJECT "Message 2"',
    b"CLOSE",
    b"UNSELECT",
    b"LOGOUT",
]
REFUSED = [
    b"SELECT Archive",
    b"EXAMINE Archive",
    b"STATUS Archive (MESSAGES)",
    b"CREATE new",
    b"DELETE Archive",
    b"RENAME Archive Other",
    b"SUBSCRIBE Archive/x",
    b"UNSUBSCRIBE Archive",
    b"APPEND INBOX {3+}\r\nx\r\n",
    b"STORE 1 +FLAGS (\\Flagged)",
    b"UID STORE 1:* -FLAGS.SILENT (\\Flagged $Junk)",
    b"FETCH 1 (BODY.PEEK[])",
    b"FETCH 1 (FLAGS BODY[])",
    b"COPY 1 Archive",
    b"UID MOVE 1 Archive",
    b"EXPUNGE",
    b"UID EXPUNGE 1",
]
ELSEWHERE = {
    "Idle",
    "Login",
    "Authenticate",
    "StartTls",
}  # other tests below; and of TLS the store knows nothing


def test_every_command_is_tried() -> None:
    tried = {
        type(grammar.parse(b"x " + text)).__name__ for text in [*ANSWERED, *REFUSED] if b"APPEND" not in text
    }
    assert tried | ELSEWHERE | {"Append"} == {command.__name__ for command in RULES}


@pytest.mark.parametrize("command", ANSWERED)
async def test_what_is_in_memory_answers(away: Away, mock_clock: MockClock, command: bytes) -> None:
    client = await selected(away)
    before = []
    if command not in (b"CLOSE", b"UNSELECT", b"LOGOUT"):
        for _ in range(2):  # the first may enable something
            before = await client.command(command)
    await away.go()
    answer = await client.command(command)
    assert answer[-1].startswith(b"x OK"), answer
    assert answer == before or not before
    if command != b"LOGOUT":
        assert (await client.command(b"NOOP"))[-1].startswith(b"x OK ")


@pytest.mark.parametrize("command", REFUSED)
async def test_what_needs_the_store_is_unavailable_and_works_afterwards(
    away: Away, mock_clock: MockClock, command: bytes
) -> None:
    client = await selected(away)
    await away.go()
    for _ in range(2):
        answer = await client.command(command)
        assert answer[-1].startswith(b"x NO [UNAVAILABLE] "), answer
        assert (await client.command(b"NOOP")) == [b"x OK NOOP completed"]
    if command.startswith((b"SELECT", b"EXAMINE")):
        assert answer[-1].startswith(b"x NO [UNAVAILABLE] ")
    else:
        # Nothing has changed, and the session is where it was.
        assert (await client.command(b"SEARCH ALL"))[0] == b"* SEARCH 1 2 3"
        assert (await client.command(b"SEARCH FLAGGED"))[0] == b"* SEARCH"
    away.faults.reachable = True  # the client does not wait for anybody to notice
    answer = await client.command(command)
    assert answer[-1].startswith(b"x OK"), answer


async def test_a_mailbox_that_cannot_be_opened_leaves_none_selected(
    away: Away, mock_clock: MockClock
) -> None:
    client = await selected(away)
    await away.go()
    answer = await client.command(b"SELECT Archive")
    assert answer[0].startswith(b"* OK [CLOSED] ") and answer[-1].startswith(b"x NO [UNAVAILABLE] ")
    assert (await client.command(b"SEARCH ALL"))[-1].startswith(b"x BAD ")  # RFC 3501 §6.3.1
    assert (await client.command(b"SELECT INBOX"))[-1].startswith(b"x NO [UNAVAILABLE] ")
    await away.come_back()
    answer = await client.command(b"SELECT INBOX")
    assert b"* 3 EXISTS" in answer and answer[-1].startswith(b"x OK [READ-WRITE] ")


async def test_close_with_something_to_remove_keeps_the_mailbox_open(
    away: Away, mock_clock: MockClock
) -> None:
    client = await selected(away)
    await client.command(b"STORE 2 +FLAGS (\\Deleted)")
    await away.go()
    assert (await client.command(b"CLOSE"))[-1].startswith(b"x NO [UNAVAILABLE] ")
    assert (await client.command(b"SEARCH DELETED"))[0] == b"* SEARCH 2"
    await away.come_back()
    assert (await client.command(b"CLOSE"))[-1].startswith(b"x OK ")
    assert b"* 2 EXISTS" in await client.command(b"SELECT INBOX")


@pytest.mark.parametrize("how", ["login", "initial", "asked"])
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "closed"])
async def test_a_login_is_unavailable_and_no_wrong_password(
    away: Away, mock_clock: MockClock, opened: bool, how: str
) -> None:
    if opened:
        await away.world.client()
    client = await away.world.client(login=False)

    async def login() -> bytes:
        if how == "login":
            return (await client.command(LOGIN))[-1]
        if how == "initial":
            return (await client.command(b"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA=="))[-1]
        await client.stream.send_all(b"x AUTHENTICATE PLAIN\r\n")
        assert (await client.line()).startswith(b"+")
        await client.stream.send_all(b"AGFsaWNlAHNlY3JldA==\r\n")
        return await client.line()

    await away.go()
    for _ in range(3 * FREE):  # and however often it is tried, that costs no patience afterwards
        assert (await login()).startswith(b"x NO [UNAVAILABLE] ")
    away.faults.reachable = True
    began = trio.current_time()
    assert (await login()).startswith(b"x OK [CAPABILITY ")
    assert trio.current_time() == began


async def test_a_wrong_password_is_wrong_again_when_the_store_is_back(
    away: Away, mock_clock: MockClock
) -> None:
    client = await away.world.client(login=False)
    await away.go()
    assert (await client.command(b"LOGIN alice wrong"))[-1].startswith(b"x NO [UNAVAILABLE] ")
    await away.come_back()
    answered: list[list[bytes]] = []

    async def log_in() -> None:
        answered.append(await client.command(b"LOGIN alice wrong"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_in)
        await away.time_passes(1)  # no answer to a failed login comes sooner than others do
    assert answered[0][-1].startswith(b"x NO [AUTHENTICATIONFAILED] ")


async def test_who_idles_hears_what_came_once_the_store_is_back(away: Away, mock_clock: MockClock) -> None:
    idling, working = await selected(away), await away.world.client()
    await idling.stream.send_all(b"i IDLE\r\n")
    assert (await idling.line()).startswith(b"+ ")
    await away.go()
    await away.mail_from_elsewhere()
    await away.time_passes(3 * RETRY_LONGEST)
    await idling.stream.send_all(b"DONE\r\n")
    assert await idling.line() == b"i OK IDLE completed"  # it knows nothing of it, and IDLE goes on
    await idling.stream.send_all(b"i IDLE\r\n")
    assert (await idling.line()).startswith(b"+ ")
    away.faults.reachable = True
    began = trio.current_time()
    await away.time_passes(2 * RETRY_LONGEST)
    with trio.fail_after(1):
        assert [await idling.line(), await idling.line()] == [b"* 4 EXISTS", b"* 4 RECENT"]
    assert trio.current_time() - began <= 2 * RETRY_LONGEST + 1
    assert b"* 4 EXISTS" in await working.command(b"SELECT INBOX")


async def test_a_blip_is_not_seen_by_who_idles(
    away: Away, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    idling = await selected(away)
    await idling.stream.send_all(b"i IDLE\r\n")
    assert (await idling.line()).startswith(b"+ ")
    await away.go()
    await away.mail_from_elsewhere()
    await away.time_passes(0.5)
    away.faults.reachable = True
    await away.time_passes(1.0)
    with trio.fail_after(0.1):
        assert await idling.line() == b"* 4 EXISTS"


async def test_the_log_says_once_that_the_store_is_away(
    away: Away, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await selected(away)
    for _ in range(2):
        await away.go()
        await away.mail_from_elsewhere()
        await away.time_passes(60)
        await away.come_back()
        await away.time_passes(60)
    said = [record for record in caplog.records if "unavailable" in record.message]
    assert 2 <= len(said) <= 2 * 3  # each time, by each of the account's background tasks that needed it
    assert {record.levelname for record in caplog.records} == {"WARNING"}


async def test_a_large_append_that_the_store_cannot_take(away: Away, mock_clock: MockClock) -> None:
    client = await selected(away)
    size = 3 * 1024 * 1024
    await client.stream.send_all(b"a APPEND INBOX {%d}\r\n" % size)
    assert (await client.line()).startswith(b"+ ")
    half = Random(0).randbytes(size // 2).replace(b"\0", b"x")
    await client.stream.send_all(half)
    await away.go()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stream.send_all, half + b"\r\nb NOOP\r\n")
        assert (await client.line()).startswith(b"a NO [UNAVAILABLE] ")
        assert (await client.line()).startswith(
            b"b OK "
        )  # the rest of the message was not taken for commands
    await away.come_back()
    assert b"* 3 EXISTS" in await client.command(b"SELECT INBOX")
    answer = await client.command(b"APPEND INBOX {%d+}\r\n%b" % (2 * len(half), 2 * half))
    assert answer[-1].startswith(b"x OK [APPENDUID ")


LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 250_000


async def large(away: Away) -> Client:
    client = await away.world.client()
    await client.command(b"APPEND INBOX {%d+}\r\n%b" % (len(LARGE), LARGE))
    await client.command(b"SELECT INBOX")
    return client


@pytest.mark.parametrize(
    "items", [b"BODY.PEEK[]", b"UID BODY.PEEK[TEXT]", b"BODY.PEEK[]<5.2000000>", b"BODY.PEEK[]<9.5> UID"]
)
async def test_a_large_message_of_which_nothing_can_be_read(
    away: Away, mock_clock: MockClock, items: bytes
) -> None:
    client = await large(away)
    await away.go()
    answer = await client.command(b"FETCH 1 (" + items + b")")
    assert len(answer) == 1 and answer[0].startswith(b"x NO [UNAVAILABLE] ")
    assert (await client.command(b"FETCH 1 (RFC822.SIZE)"))[-1].startswith(b"x OK ")
    away.faults.reachable = True
    assert (await client.command(b"FETCH 1 (" + items + b")"))[-1].startswith(b"x OK ")


async def test_a_store_that_goes_amid_a_large_message_ends_the_connection(
    away: Away, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The literal's length is out: whatever came now would be taken for the rest of the message."""
    client = await large(away)
    real, calls = MemoryStore.get, 0

    async def get(store: MemoryStore, name: str, start: int = 0, stop: int | None = None) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Unavailable
        return await real(store, name, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "get", get)
        await client.stream.send_all(b"f FETCH 1 (FLAGS BODY.PEEK[])\r\n")
        octets = b""
        while got := await client.stream.receive_some(65536):
            octets += got
    assert octets.startswith(b"* 1 FETCH (FLAGS (\\Recent) BODY[] {%d}\r\n" % len(LARGE))
    message = octets.split(b"\r\n", 1)[1]
    assert LARGE.startswith(message) and len(message) < len(LARGE)
    assert (await (await large_again(away)).command(b"FETCH 1 (BODY[])"))[-1].startswith(b"x OK ")


async def large_again(away: Away) -> Client:
    client = await away.world.client()
    await client.command(b"SELECT INBOX")
    return client


async def test_noop_asks_nothing_of_a_store_where_asking_costs(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    stores = MemoryStores(object_costs_request=True)
    async with imap_world(stores) as world:
        away = Away(world, quiet_faults(), mock_clock)
        client = await selected(away)
        look = MemoryStore._look

        async def counted(store: MemoryStore) -> int:
            calls.append("read")
            return await look(store)

        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "_look", counted)
            for command in (b"NOOP", b"CHECK", b"FETCH 1:* (FLAGS)", b"SEARCH UNSEEN", b"CLOSE"):
                assert (await client.command(command))[-1].startswith(b"x OK ")
            assert calls == []
        await client.command(b"SELECT INBOX")
        await away.mail_from_elsewhere()
        await wait_all_tasks_blocked()
        assert b"* 4 EXISTS" in await client.command(b"NOOP")  # the follower has brought it
