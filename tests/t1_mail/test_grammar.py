"""The strict client-side grammar, which other tests rely on: what it takes, and what it refuses."""

import pytest

from tests.helpers.imap_grammar import GrammarError, body, envelope, nstring, responses

GOOD = (
    b'* OK [UIDNEXT 5] hi\r\n* 3 EXISTS\r\n* LIST (\\Noselect) "/" foo\r\n* STATUS INBOX (MESSAGES 3)\r\n'
    b'* SEARCH 1 2 (MODSEQ 5)\r\n* NAMESPACE (("" "/")) NIL NIL\r\n'
    b"* 1 FETCH (UID 4 FLAGS (\\Seen) BODY[HEADER.FIELDS (From)] {3}\r\nabc MODSEQ (12))\r\n"
    b"* VANISHED (EARLIER) 1:2,5\r\n+ go\r\na1 OK [READ-ONLY] done\r\n"
)


def test_responses() -> None:
    found = responses(GOOD)
    kinds = ["OK", "EXISTS", "LIST", "STATUS", "SEARCH", "NAMESPACE", "FETCH", "VANISHED", "+", "OK"]
    assert [one.kind for one in found] == kinds
    assert found[0].code == b"UIDNEXT 5"
    assert found[2].data == ([b"\\Noselect"], b"/", b"foo")
    assert (found[4].data, found[4].number) == ([1, 2], 5)
    section = b"BODY[HEADER.FIELDS (FROM)]"
    assert found[6].data == {b"UID": 4, b"FLAGS": [b"\\Seen"], section: b"abc", b"MODSEQ": 12}
    assert found[7].data == (True, b"1:2,5")
    assert (found[9].tag, found[9].code, found[9].text) == (b"a1", b"READ-ONLY", b"done")


@pytest.mark.parametrize(
    "data",
    [
        b"* 1 FETCH (UID 0)\r\n",
        b"* 1 FETCH (UID 1 UID 1)\r\n",
        b"* 1 FETCH ()\r\n",
        b"* 1 FETCH (UID 1 )\r\n",
        b"* 1 FETCH (FLAGS (\\Seen  \\Draft))\r\n",
        b"* 1 FETCH (BODY[1.] NIL)\r\n",
        b"* 1 FETCH (BODY[] {4}\r\nabc)\r\n",
        b"* 1 FETCH (BODY[] {1}\r\n\0)\r\n",
        b'* 1 FETCH (INTERNALDATE "1-Jan-2020 00:00:00 +0000")\r\n',
        b"* 4294967296 EXISTS\r\n",
        b"* SEARCH  1\r\n",
        b"* VANISHED 0\r\n",
        b"* NOTHING\r\n",
        b"a1 OK done\n",
        b"a1 OK done",
        b"* OK \xc3\xa4\r\n",
    ],
)
def test_bad_responses(data: bytes) -> None:
    with pytest.raises(GrammarError):
        responses(data)


@pytest.mark.parametrize(
    "data", [b"", b"nothing", b'"a\r\n"', b'"\xff"', b'"a\\b"', b"{1}\r\nab", b"{2}\nab", b'"a" ']
)
def test_bad_strings(data: bytes) -> None:
    with pytest.raises(GrammarError):
        nstring(data)


def test_bad_envelopes_and_structures() -> None:
    nils = [b"NIL"] * 10
    envelope(b"(%b)" % b" ".join(nils))
    for wrong in (
        b"()",
        b"((NIL NIL NIL NIL))",
        b'((NIL NIL "g" NIL))',
        b'((NIL NIL NIL "h"))',
        b'((NIL NIL "a" "b") (NIL NIL "c" "d"))',
    ):
        nils[2] = wrong
        with pytest.raises(GrammarError):
            envelope(b"(%b)" % b" ".join(nils))
    text = b'("text" "plain" NIL NIL NIL "7bit" 1 1'
    body(text + b")", extensible=False)
    body(text + b" NIL NIL NIL NIL)", extensible=True)
    for data, extensible in (
        (text + b")", True),
        (text + b" NIL NIL NIL NIL)", False),
        (b'("text" "plain" NIL NIL NIL "7bit" 1)', False),
        (b'("message" "rfc822" NIL NIL NIL "7bit" 1)', False),
        (b'("text" "plain" () NIL NIL "7bit" 1 1)', False),
        (b'("text" "plain" NIL NIL NIL NIL 1 1)', False),
        (b'(%b) %b) "mixed")' % (text, text), False),
        (b'( "mixed")', False),
        (b'("multipart" "mixed" NIL NIL NIL "7bit" 1)', False),
    ):
        with pytest.raises(GrammarError):
            body(data, extensible)
