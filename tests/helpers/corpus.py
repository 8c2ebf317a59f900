"""The 6,046 real mails: what is delivered, and what must come back."""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.wire import Client, deliver, lines_ended

CORPUS = Path(__file__).parents[2] / "corpus"
_ID = re.compile(rb"^(message-id:\s*<)", re.MULTILINE | re.IGNORECASE)


def corpus() -> list[bytes]:
    """All of them; skips the test that asks where there are none."""
    files = sorted(CORPUS.glob("*.eml"))
    if not files:
        pytest.skip("no corpus: make corpus")
    return [file.read_bytes() for file in files]


def deliver_all(ports: Sequence[int], mails: Sequence[bytes]) -> None:
    """Each once, over as many LMTP connections at the same time as there are ports."""
    shares = [(port, mails[n :: len(ports)]) for n, port in enumerate(ports)]
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda share: deliver(*share), shares))


def check_bodies(client: Client, mails: Sequence[bytes]) -> list[int]:
    """Asserts that the selected mailbox has these mails and no others, byte for byte. The UIDs, ascending."""
    bodies = Counter[bytes]()
    uids = []
    for pieces in client.command("FETCH 1:* (UID RFC822.SIZE BODY.PEEK[])"):
        found = re.search(rb"UID (\d+) RFC822\.SIZE (\d+)", pieces[0])
        assert found and int(found[2]) == len(pieces[1])
        uids.append(int(found[1]))
        bodies[without_trace(pieces[1])] += 1
    assert bodies == Counter(map(lines_ended, mails))
    assert uids == sorted(set(uids))
    return uids


def without_trace(message: bytes) -> bytes:
    """The message less the three header fields that LMTP put before it."""
    found = re.match(
        rb"Return-Path: <[^\r]*>\r\nDelivered-To: [^\r]*\r\nReceived: [^\r]*\r\n(?:[ \t][^\r]*\r\n)*", message
    )
    assert found, message[:300]
    return message[found.end() :]


def corpus_of(count: int) -> list[bytes]:
    """About so many of its mails, from all over it; if it has fewer, the first again with other ids."""
    mails = corpus()
    again = [_ID.sub(rb"\g<1>again.", mail, count=1) for mail in mails[: max(0, count - len(mails))]]
    return (mails + again)[:: max(1, len(mails) // count)]
