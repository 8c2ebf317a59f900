"""The protocol's core: smuggling, limits, and whatever a peer may send."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.lmtp.protocol import MAX_LINE, MAX_UNKNOWN_IN_A_ROW
from tests.t1_lmtp.conftest import REPLY, Peer

FOLDER = Path(__file__).parents[1] / "transcripts"
TO_DATA = b"LHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
DIALOGUES = [
    b"".join(line[3:] + b"\r\n" for line in path.read_bytes().splitlines() if line.startswith(b"C:"))
    for path in sorted(FOLDER.glob("*.lmtp"))
]


def deliver(peer, data: bytes) -> bytes:
    """The message that DATA with these octets (with its end) makes."""
    peer.feed(TO_DATA)
    assert peer.codes(data) == ["250 2.0.0"]
    return peer.messages[-1][1]


@pytest.mark.parametrize(
    "false_end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\n.\0\r\n",
        b"\r\n\0.\r\n",
        b"\r.\r\n",
        b"\n\r.\r\n",
    ],
)
def test_only_crlf_dot_crlf_ends_a_message(new_peer, false_end):
    smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nevil\r\n"
    whole, slow = new_peer(), new_peer()
    octets = b"good" + false_end + smuggled + b".\r\n"
    message = deliver(whole, octets)
    assert len(whole.messages) == 1
    assert b"MAIL FROM:<evil@b>\r\n" in message
    assert re.fullmatch(rb"(?:[^\r\n\0]|\r\n)*", message)
    assert whole.codes(b"NOOP\r\n") == ["250 2.0.0"]
    for octet in TO_DATA + octets:
        slow.feed(bytes([octet]))
    assert slow.messages == whole.messages


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\n..\r\n.\r\n", b"a\r\n..\r\n"),
        (b"a\r\n..\r\n\r\n..b\r\n.\r\n", b"a\r\n.\r\n\r\n.b\r\n"),
    ],
)
def test_dots(new_peer, sent, kept):
    assert deliver(new_peer(), sent) == kept
    peer = new_peer()
    for octet in TO_DATA + sent:
        peer.feed(bytes([octet]))
    assert peer.messages[0][1] == kept


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a", b"ab.", b"\xff" * 30]), max_size=12),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_stuffed_message_comes_out_as_it_was(lines, cuts):
    message = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"
    peer = Peer()
    peer.feed(TO_DATA)
    edges = [0, *sorted(min(cut, len(stuffed)) for cut in cuts), len(stuffed)]
    for start, stop in itertools.pairwise(edges):
        peer.feed(stuffed[start:stop])
    assert [body for _, body in peer.messages] == [message]


@settings(max_examples=200)
@given(st.lists(st.text("ab\r\n.\0", max_size=8).map(str.encode), min_size=1, max_size=6))
def test_data_and_bdat_agree(chunks):
    """The same text by BDAT, in these chunks, and by DATA, stuffed as its sender must: the same message."""
    text = b"".join(chunks) + b"\r\n"
    by_data, by_bdat = Peer(), Peer()
    start = TO_DATA.removesuffix(b"DATA\r\n")
    by_data.feed(start + b"DATA\r\n" + (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    by_bdat.feed(
        start + b"".join(b"BDAT %d\r\n" % len(chunk) + chunk for chunk in chunks) + b"BDAT 2 LAST\r\n\r\n"
    )
    assert by_data.messages == by_bdat.messages
    assert len(by_data.messages) == 1


@pytest.mark.parametrize(
    "line",
    [b"BDAT", b"BDAT LAST", b"BDAT x", b"BDAT -1", b"BDAT 1 FIRST", b"BDAT 1 LAST x", b"BDAT " + b"1" * 21],
)
def test_a_chunk_of_unknown_size_ends_the_connection(peer, line):
    peer.feed(TO_DATA.removesuffix(b"DATA\r\n") + b"BDAT 3\r\nabc")
    assert peer.codes(line + b"\r\nQUIT\r\n") == ["501 5.5.4", "421 4.5.0"]
    assert peer.protocol.closed
    assert peer.dropped == 1
    assert peer.codes(b"NOOP\r\n") == []


def test_lines_that_are_too_long(new_peer):
    for parts in ([b"NOOP " + b"x" * MAX_LINE + b"\r\nNOOP\r\n"], [b"x" * 1000] * 9 + [b"\r\n", b"NOOP\r\n"]):
        peer = new_peer()
        for part in parts:
            peer.feed(part)
        assert re.findall(rb"^\d{3} \d\.\d\.\d", peer.output, re.M) == [b"500 5.5.2", b"250 2.0.0"]
    peer = new_peer()
    assert peer.codes(b"NOOP " + b"x" * (MAX_LINE - 7) + b"\r\n") == ["250 2.0.0"]


def test_an_endless_line_takes_no_memory(peer):
    for _ in range(100):
        peer.feed(b"x" * 65536)
        assert len(peer.protocol._input) <= 65536
    assert peer.codes(b"\r\nNOOP\r\n") == ["500 5.5.2", "250 2.0.0"]


def test_lines_with_bare_lf_are_refused_one_by_one(peer):
    assert peer.codes(b"LHLO c\nNOOP\nNOOP\r\n") == ["500 5.5.2", "500 5.5.2", "250 2.0.0"]


def test_nonsense_without_end_ends_the_connection(peer):
    assert peer.codes(b"FOO\r\n" * (MAX_UNKNOWN_IN_A_ROW - 1) + b"NOOP\r\n")[-1] == "250 2.0.0"
    assert not peer.protocol.closed
    assert peer.codes(b"FOO\r\n" * (MAX_UNKNOWN_IN_A_ROW + 5))[-2:] == ["500 5.5.1", "421 4.7.0"]
    assert peer.protocol.closed


def test_a_browser_is_sent_away_at_once(peer):
    request = b"POST / HTTP/1.1\r\nHost: localhost:1024\r\n\r\n"
    assert peer.codes(request + TO_DATA + b"evil\r\n.\r\n") == ["421 4.7.0"]
    assert peer.messages == []


def test_too_many_recipients(peer):
    peer.greeted().feed(b"MAIL FROM:<a@b>\r\n")
    codes = peer.codes(b"".join(b"RCPT TO:<u%d@x>\r\n" % number for number in range(102)))
    assert codes == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 2
    assert peer.codes(b"DATA\r\nx\r\n.\r\n")[1:] == ["250 2.0.0"] * 100


def test_a_whole_refused_transaction_does_not_end_the_connection(peer):
    """Postfix sends up to 50 recipients at once, whatever becomes of MAIL."""
    peer.greeted()
    codes = peer.codes(b"MAIL FROM:<a@b> SIZE=9999\r\n" + b"RCPT TO:<c@d>\r\n" * 50 + b"DATA\r\nRSET\r\n")
    assert codes == ["552 5.3.4"] + ["503 5.5.1"] * 51 + ["250 2.0.0"]


def test_lhlo_forgets_the_transaction(peer):
    peer.feed(TO_DATA.removesuffix(b"DATA\r\n") + b"BDAT 1\r\nx")
    assert peer.codes(b"LHLO d\r\nDATA\r\n")[-1] == "503 5.5.1"
    assert peer.dropped == 1
    assert peer.protocol.client == "d"


def test_a_message_of_bare_lfs_counts_as_it_is_kept(new_peer):
    assert len(deliver(new_peer(max_size=20), b"\n" * 9 + b"\r\n.\r\n")) == 20
    peer = new_peer(max_size=20)
    peer.feed(TO_DATA)
    assert peer.codes(b"\n" * 10 + b"\r\n.\r\n") == ["552 5.3.4"]
    assert peer.dropped == 1
    assert peer.codes(b"NOOP\r\n") == ["250 2.0.0"]


ANSWERS = re.compile(rb"(?:%b)*" % REPLY)
NOISE = st.binary(max_size=60) | st.text("\r\n. :<>@ABDILMORSTFAX0123", max_size=30).map(str.encode)
TO_CHUNK = TO_DATA.removesuffix(b"DATA\r\n") + b"BDAT 5\r\n"
STARTS = [b"", b"LHLO c\r\n", TO_CHUNK[:-8], TO_DATA, TO_CHUNK, b"LHLO c\r\nBDAT 7\r\n"]


def check(peer: Peer, chunks: list[bytes]) -> None:
    """Octets in any state: only replies, never an exception, and the next command is understood."""
    for chunk in chunks:
        peer.feed(chunk)
    # Whatever line, chunk or message it is in the middle of is brought to its end.
    peer.feed(b"\r\n")
    if peer.protocol._chunk_left > 100_000:
        return
    peer.feed(b"x" * peer.protocol._chunk_left)
    peer.feed(b"\r\n.\r\n")
    assert ANSWERS.fullmatch(peer.output)
    if peer.protocol.closed:
        assert peer.feed(b"NOOP\r\n") == b""
    else:
        assert peer.feed(b"RSET\r\n") == b"250 2.0.0 The transaction is forgotten\r\n"


@settings(max_examples=300)
@given(st.sampled_from(STARTS), st.lists(NOISE, max_size=8))
def test_random_octets_in_every_state(start, chunks):
    check(Peer(), [start, *chunks])


@settings(max_examples=300)
@given(st.data())
def test_mutated_dialogues(data):
    octets = bytearray(data.draw(st.sampled_from(DIALOGUES)))
    bits = st.binary(max_size=5) | st.sampled_from([b"\r\n", b"\n.\n", b" LAST", b"\0"])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(octets)))
        match data.draw(st.sampled_from(["put", "cut", "flip", "copy"])):
            case "put":
                octets[at:at] = data.draw(bits)
            case "cut":
                del octets[at : at + data.draw(st.integers(1, 40))]
            case "flip":
                octets[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "copy":
                octets[at:at] = octets[: data.draw(st.integers(0, 60))]
    cut = data.draw(st.integers(0, len(octets)))
    check(Peer(), [bytes(octets[:cut]), bytes(octets[cut:])])
