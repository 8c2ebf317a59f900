"""The server over streams in memory: who gets what, who is told what, and what goes wrong alone."""

import re
import tracemalloc

import pytest
import trio
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from aerogramme.errors import Damaged, TooLarge, Unavailable
from aerogramme.lmtp import server as module
from tests.t4_lmtp.conftest import raising

BOTH = b"MAIL FROM:<me@client.example>\r\nRCPT TO:<alice+Lists@example.org>\r\nRCPT TO:<BOB@example.org>\r\n"
MAIL = b"Subject: xylophone\r\n\r\n..zanzibar\r\n.\r\n"
KEPT = b"Subject: xylophone\r\n\r\n.zanzibar\r\n"


async def test_each_recipient_gets_the_message_under_its_own_lines(running, boxes):
    client = await running.client()
    assert await client.codes(BOTH + b"DATA\r\n", 4) == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354 Go"]
    assert await client.codes(MAIL, 2) == ["250 2.0.0", "250 2.0.0"]
    alice, bob = sorted(boxes.sent(), key=lambda letter: letter.account)
    assert alice.envelope == ("me@client.example", "alice+Lists@example.org", "Lists")
    assert bob.envelope == ("me@client.example", "BOB@example.org", None)
    lines = (
        rb"Return-Path: <me@client\.example>\r\n"
        rb"Delivered-To: (?P<to>\S+)\r\n"
        rb"Received: from client\.example\r\n"
        rb"\tby mx\.example\.org with LMTP id [0-9a-f]{12}\r\n"
        rb"\tfor <(?P=to)>; \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} \+0000\r\n"
    )
    for letter in (alice, bob):
        match = re.match(lines, letter.written)
        assert match is not None
        assert match["to"].decode() == letter.envelope[1]
        assert letter.written[match.end() :] == KEPT


async def test_a_connection_is_good_for_many_messages(running, boxes):
    client = await running.client()
    for number in range(20):
        await client.codes(BOTH + b"DATA\r\n", 4)
        assert await client.codes(b"n: %d\r\n.\r\n" % number, 2) == ["250 2.0.0", "250 2.0.0"]
    assert [letter.written[-7:].split()[-1] for letter in boxes.sent()[::2]] == [
        b"%d" % number for number in range(20)
    ]


async def test_everything_in_one_piece_is_answered_in_order(running, boxes):
    client = await running.client()
    transaction = (
        b"MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<x@example.org>\r\nBDAT 3 LAST\r\na\r\n"
    )
    codes = await client.codes(transaction * 3 + b"QUIT\r\n", 13)
    assert codes == ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.0.0"] * 3 + ["221 2.0.0"]
    assert await client.ended()
    assert [letter.written[-3:] for letter in boxes.sent()] == [b"a\r\n"] * 3
    assert boxes.letters[0].written.startswith(b"Return-Path: <>\r\n")


async def test_utf8_addresses_come_through(running, boxes):
    client = await running.client()
    await client.codes(
        "MAIL FROM:<é@b.example> SMTPUTF8\r\nRCPT TO:<JOSÉ+é@bücher.example>\r\nDATA\r\n".encode(), 3
    )
    assert await client.codes(b".\r\n", 1) == ["250 2.0.0"]
    (letter,) = boxes.sent()
    assert letter.envelope == ("é@b.example", "JOSÉ+é@bücher.example", "é")
    assert "Return-Path: <é@b.example>\r\nDelivered-To: JOSÉ+é@bücher.example\r\n" in letter.written.decode()
    assert b" with UTF8LMTP id " in letter.written


@pytest.mark.parametrize("step", ["open", "write", "send"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("The store cannot be reached", hint="full disk"), "451 4.3.0"),
        (Damaged(), "451 4.3.0"),
        (TooLarge(), "552 5.3.4"),
        (OSError(28, "zanzibar is full"), "451 4.3.0"),
        (ValueError("xylophone"), "451 4.3.0"),
    ],
)
async def test_one_recipients_fault_is_that_recipients_alone(running, boxes, caplog, step, error, code):
    boxes.hooks["a", step] = raising(error)
    client = await running.client()
    await client.codes(BOTH + b"DATA\r\n", 4)
    assert await client.codes(MAIL, 2) == [code, "250 2.0.0"]
    (bob,) = boxes.sent()
    assert bob.account[0] == "b"
    assert all(letter.state == "abandoned" for letter in boxes.letters if letter.account[0] == "a")
    log = caplog.text
    assert "zanzibar" not in log
    assert "xylophone" not in log
    assert "Lists" not in log
    assert (type(error).__name__ in log) == code.startswith("4")
    assert getattr(error, "hint", "") in log
    assert await client.codes(b"NOOP\r\n", 1) == ["250 2.0.0"]


async def test_a_fault_while_giving_up_harms_nobody(running, boxes):
    boxes.hooks["a", "write"] = raising(Unavailable())
    boxes.hooks["a", "abandon"] = raising(Unavailable())
    client = await running.client()
    await client.codes(BOTH + b"DATA\r\n", 4)
    assert await client.codes(MAIL, 2) == ["451 4.3.0", "250 2.0.0"]


async def test_mail_waits_for_an_account_that_is_lost(running, boxes):
    """Its user is known, so it comes back from a backup, or its erasure is about to end."""
    client = await running.client()
    await client.codes(b"MAIL FROM:<>\r\nRCPT TO:<gone@example.org>\r\nDATA\r\n", 3)
    assert await client.codes(MAIL, 1) == ["451 4.3.0"]


async def test_a_user_who_goes_between_rcpt_and_data(running, boxes, book, monkeypatch):
    client = await running.client()
    await client.codes(BOTH, 3)
    monkeypatch.delitem(book._by_address, "bob@example.org")
    await client.codes(b"DATA\r\n", 1)
    assert await client.codes(MAIL, 2) == ["250 2.0.0", "550 5.1.1"]


@pytest.mark.parametrize("end", [b"", b"half a line", b"\r\n.\r", b"\r\n.\n"])
async def test_a_client_that_leaves_amid_a_message_leaves_nothing(running, boxes, end):
    client = await running.client()
    await client.codes(BOTH + b"DATA\r\n", 4)
    await client.send(b"Subject: x\r\n" + end)
    await client.stream.aclose()
    await wait_all_tasks_blocked()
    assert [letter.state for letter in boxes.letters] == ["abandoned"] * 2


@pytest.mark.parametrize("command", [b"RSET\r\n", b"LHLO again\r\n", b"QUIT\r\n", b"BDAT x\r\n"])
async def test_a_message_in_chunks_that_is_not_finished_leaves_nothing(running, boxes, command):
    client = await running.client()
    await client.codes(BOTH + b"BDAT 3\r\nabc", 4)
    await client.send(command)
    await client.reply()
    await wait_all_tasks_blocked()
    assert [letter.state for letter in boxes.letters] == ["abandoned"] * 2


async def test_a_message_that_grows_too_large_is_dropped_at_once_and_read_to_its_end(running, boxes, config):
    client = await running.client()
    await client.codes(BOTH + b"DATA\r\n", 4)
    await client.send(b"x" * (config.max_message_size + 1))
    await wait_all_tasks_blocked()
    assert [letter.state for letter in boxes.letters] == ["abandoned"] * 2
    assert await client.codes(b"\r\n.\r\n", 2) == ["552 5.3.4"] * 2
    assert await client.codes(b"NOOP\r\n", 1) == ["250 2.0.0"]


async def test_the_slowest_box_sets_the_pace(running, boxes):
    gate = trio.Event()
    boxes.hooks["b", "write"] = gate.wait
    client = running.connect(lockstep_stream_pair)
    await client.start()
    sent = 0

    async def send_much() -> None:
        nonlocal sent
        for _ in range(20):
            await client.send(b"x" * 8192)
            sent += 8192

    async with trio.open_nursery() as nursery:
        await client.codes(BOTH, 3)
        nursery.start_soon(client.send, b"DATA\r\n")
        await wait_all_tasks_blocked()
        nursery.start_soon(send_much)
        await wait_all_tasks_blocked()
        assert sent == 0, "the box has not even taken the header lines"
        gate.set()
        await client.reply()
    assert sent == 163_840
    assert await client.codes(b"\r\n.\r\nQUIT\r\n", 3) == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]


async def test_memory_does_not_grow_with_the_message(running, boxes, config, monkeypatch):
    async def forget(self, chunk):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("tests.t4_lmtp.conftest.FakeLetter.write", forget)
    object.__setattr__(config, "max_message_size", 10**9)
    client = running.connect(lockstep_stream_pair)
    await client.start()
    await client.codes(BOTH + b"DATA\r\n", 4)
    piece = (b"x" * 998 + b"\r\n") * 64
    await client.send(piece)
    tracemalloc.start()
    try:
        for _ in range(150):
            await client.send(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert await client.codes(b".\r\nQUIT\r\n", 3) == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]


async def test_too_many_connections(running, config):
    clients = [await running.client() for _ in range(config.max_lmtp_connections)]
    late = running.connect()
    assert (await late.reply()).startswith("421 4.3.2")
    assert await late.ended()
    await clients[0].codes(b"QUIT\r\n", 1)
    await wait_all_tasks_blocked()
    assert (await running.connect().reply()).startswith("220 ")


async def test_an_idle_peer_is_told_and_left(running, boxes, autojump_clock):
    client = await running.client()
    await client.codes(BOTH + b"DATA\r\n", 4)
    start = trio.current_time()
    assert (await client.reply()).startswith("421 4.4.2")
    assert trio.current_time() - start == pytest.approx(module.IDLE_SECONDS)
    assert await client.ended()
    assert [letter.state for letter in boxes.letters] == ["abandoned"] * 2


async def test_a_peer_that_reads_nothing_is_left(running, autojump_clock):
    client = running.connect(lockstep_stream_pair)
    await trio.sleep(module.SEND_SECONDS + 1)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError):
        await client.send(b"LHLO c\r\n")
    assert running.server._connections == 0


@pytest.mark.parametrize(
    ("step", "minutes"),
    # RFC 5321 §4.5.3.2.4 to .6: for so long the client waits
    [("open", 2), ("write", 2), ("second write", 3), ("send", 10)],
)
async def test_a_store_that_hangs_is_our_fault_and_told_while_the_client_listens(
    running, boxes, autojump_clock, step, minutes
):
    client = await running.client()
    await client.codes(BOTH, 3)
    began = trio.current_time()
    if step == "second write":
        await client.codes(b"DATA\r\n", 1)
    boxes.hooks["a", step.split()[-1]] = trio.sleep_forever
    if step != "second write":
        await client.codes(b"DATA\r\n", 1)
    assert await client.codes(MAIL, 2) == ["451 4.3.0", "250 2.0.0"]
    assert 30 < trio.current_time() - began < 60 * minutes
    assert [letter.state for letter in boxes.letters if letter.account[0] == "a"] != ["sent"]
    (bob,) = boxes.sent()
    assert bob.account[0] == "b"
    assert await client.codes(b"NOOP\r\n", 1) == ["250 2.0.0"]


async def test_a_store_that_hangs_while_a_letter_is_given_up_keeps_nobody_for_long(
    running, boxes, autojump_clock
):
    boxes.hooks["a", "write"] = boxes.hooks["a", "abandon"] = trio.sleep_forever
    client = await running.client()
    began = trio.current_time()
    await client.codes(BOTH + b"DATA\r\n", 4)
    assert await client.codes(MAIL, 2) == ["451 4.3.0", "250 2.0.0"]
    assert trio.current_time() - began < 120


async def test_shutdown_tells_idle_peers(running):
    client = await running.client()
    running.shut_down()
    assert (await client.reply()).startswith("421 4.3.2")
    assert await client.ended()


async def test_shutdown_waits_for_what_is_being_stored_and_says_so(running, boxes):
    storing, stored = trio.Event(), trio.Event()

    async def store() -> None:
        storing.set()
        await stored.wait()

    boxes.hooks["a", "send"] = store
    client = await running.client()
    await client.codes(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n", 3)
    await client.send(MAIL)
    await storing.wait()
    running.shut_down()
    await wait_all_tasks_blocked()
    stored.set()
    assert (await client.reply()).startswith("250 2.0.0")
    assert (await client.reply()).startswith("421 4.3.2")
    assert await client.ended()
    assert len(boxes.sent()) == 1


async def test_shutdown_does_not_wait_long_for_a_store_that_hangs(running, boxes, autojump_clock):
    storing = trio.Event()

    async def hang() -> None:
        storing.set()
        await trio.sleep_forever()

    boxes.hooks["a", "send"] = hang
    client = await running.client()
    await client.codes(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n", 3)
    await client.send(MAIL)
    await storing.wait()
    began = trio.current_time()
    running.shut_down()
    assert await client.ended()
    assert trio.current_time() - began < 30


async def test_a_fault_of_one_connection_leaves_the_others(running, caplog, monkeypatch):
    other = await running.client()
    client = await running.client()

    def by_address(address):
        raise RuntimeError("xylophone")

    monkeypatch.setattr(running.server._directory, "by_address", by_address)
    await client.send(BOTH)
    assert await client.ended()
    assert "RuntimeError" in caplog.text
    assert "xylophone" not in caplog.text
    assert await other.codes(b"NOOP\r\n", 1) == ["250 2.0.0"]
