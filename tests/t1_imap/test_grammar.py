"""The grammar, command by command: what is read."""

import pytest

from aerogramme.errors import BadSyntax
from aerogramme.imap import commands as c
from aerogramme.imap.commands import Att, Command, Section
from aerogramme.imap.framing import AppendHead, CommandText, Continue, after_login
from aerogramme.imap.grammar import COMMANDS, UID_COMMANDS, parse, parse_append
from aerogramme.imap.grammar_search import ARGUMENTS, SIMPLE
from aerogramme.mailbox import search_keys as k
from aerogramme.mailbox.search_keys import STAR, SequenceSet
from tests.helpers.feed import one_by_one, whole


def nums(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(ranges)


def body(label: bytes, **other: object) -> Section:
    values = {"path": (), "what": "", "fields": (), "partial": None, "peek": True} | other
    return Section(label=label, **values)  # type: ignore[arg-type]


SEEN = k.Flag("\\Seen")
ONE = nums((1, 1))
T = b"a"

GOOD: list[tuple[bytes, Command]] = [
    # any state
    (b"a CAPABILITY", c.Capability(T)),
    (b"A.b-1] noop ", c.Noop(b"A.b-1]")),
    (b"a LogOut", c.Logout(T)),
    (b"a ID NIL", c.Id(T, ())),
    (b"a ID ()", c.Id(T, ())),
    (b'a ID ("Name" "x" "os" nil)', c.Id(T, (("name", "x"), ("os", None)))),
    # not authenticated
    (b"a STARTTLS", c.StartTls(T)),
    (b"a AUTHENTICATE plain", c.Authenticate(T, "PLAIN")),
    (b"a AUTHENTICATE PLAIN =", c.Authenticate(T, "PLAIN", b"")),
    (b"a AUTHENTICATE PLAIN AHVzZXIAcGFzcw==", c.Authenticate(T, "PLAIN", b"\0user\0pass")),
    (b"a LOGIN me@example.org secret", c.Login(T, "me@example.org", b"secret")),
    (b'a LOGIN "a\\"b\\\\c" ""', c.Login(T, 'a"b\\c', b"")),
    (b"a LOGIN {2}\r\nme {3+}\r\np\r\n", c.Login(T, "me", b"p\r\n")),
    ('a LOGIN me "p\u00e4ss"'.encode(), c.Login(T, "me", "p\u00e4ss".encode())),
    # authenticated
    (b"a ENABLE condstore X-Y condstore", c.Enable(T, ("CONDSTORE", "X-Y"))),
    (b"a SELECT &ATE-nbox", c.Select(T, "\u0131nbox")),
    (b"a SELECT inbox", c.Select(T, "INBOX")),
    (b"a SELECT Sent/", c.Select(T, "Sent")),
    (b"a SELECT /", c.Select(T, "/")),
    (b'a EXAMINE "R&AOQ-ume"', c.Select(T, "R\u00e4ume", read_only=True)),
    ('a SELECT "R\u00e4ume"'.encode(), c.Select(T, "R\u00e4ume")),
    (b"a SELECT x (CONDSTORE)", c.Select(T, "x", condstore=True)),
    (b"a SELECT x (QRESYNC (7 90))", c.Select(T, "x", qresync=c.QResync(7, 90))),
    (
        b"a SELECT x (QRESYNC (67890007 90060115194045000 41:211,214:541))",
        c.Select(T, "x", qresync=c.QResync(67890007, 90060115194045000, nums((41, 211), (214, 541)))),
    ),
    (
        b"a SELECT x (QRESYNC (7 9 (1,3 10,30)) CONDSTORE)",
        c.Select(
            T, "x", False, True, c.QResync(7, 9, None, (nums((1, 1), (3, 3)), nums((10, 10), (30, 30))))
        ),
    ),
    (
        b"a SELECT x (QRESYNC (7 9 1:5 (1 10)))",
        c.Select(T, "x", qresync=c.QResync(7, 9, nums((1, 5)), (ONE, nums((10, 10))))),
    ),
    (b"a CREATE x/y/", c.Create(T, "x/y")),
    (b"a CREATE x (USE (\\drafts \\Foo))", c.Create(T, "x", ("\\Drafts", "\\Foo"))),
    (b"a CREATE x (USE ())", c.Create(T, "x")),
    (b"a DELETE x", c.Delete(T, "x")),
    (b"a RENAME Inbox b", c.Rename(T, "INBOX", "b")),
    (b"a SUBSCRIBE x", c.Subscribe(T, "x", True)),
    (b"a UNSUBSCRIBE x", c.Subscribe(T, "x", False)),
    (b'a LIST "" *', c.List(T, "", ("*",))),
    (b'a LIST "" "%/%"', c.List(T, "", ("%/%",))),
    (b'a LIST "" ""', c.List(T, "", ("",))),
    (b"a LIST foo/ %", c.List(T, "foo/", ("%",))),
    (b'a LIST () "" *', c.List(T, "", ("*",), extended=True)),
    (
        b'a LIST (SUBSCRIBED RecursiveMatch) "" * RETURN ()',
        c.List(T, "", ("*",), frozenset({"SUBSCRIBED", "RECURSIVEMATCH"}), extended=True),
    ),
    (
        b'a LIST (SPECIAL-USE REMOTE) "" (INBOX "x y") RETURN (CHILDREN STATUS (MESSAGES unseen) SUBSCRIBED)',
        c.List(
            T,
            "",
            ("INBOX", "x y"),
            frozenset({"SPECIAL-USE", "REMOTE"}),
            frozenset({"CHILDREN", "SUBSCRIBED"}),
            ("MESSAGES", "UNSEEN"),
            True,
        ),
    ),
    (
        b'a LIST "" % RETURN (SPECIAL-USE) ',
        c.List(T, "", ("%",), returns=frozenset({"SPECIAL-USE"}), extended=True),
    ),
    (b'a LSUB "#news." "comp.*"', c.Lsub(T, "#news.", "comp.*")),
    (b"a NAMESPACE", c.Namespace(T)),
    (
        b"a STATUS x (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ MESSAGES)",
        c.Status(T, "x", ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ")),
    ),
    (b"a STATUS x (DELETED deleted-storage)", c.Status(T, "x", ("DELETED", "DELETED-STORAGE"))),
    (b'a GETQUOTA ""', c.GetQuota(T, b"")),
    (b"a getquota {4}\r\nuser", c.GetQuota(T, b"user")),
    (b'a GETQUOTAROOT "B&AOk-"', c.GetQuotaRoot(T, "Bé")),
    (b"a IDLE", c.Idle(T)),
    # selected
    (b"a CHECK", c.Check(T)),
    (b"a CLOSE", c.Close(T)),
    (b"a UNSELECT", c.Unselect(T)),
    (b"a EXPUNGE", c.Expunge(T)),
    (b"a UID EXPUNGE 3000:3002", c.Expunge(T, nums((3000, 3002)))),
    (b"a COPY 2:4 x", c.Copy(T, nums((2, 4)), "x")),
    (b"a uid copy 4:2 {1}\r\nx", c.Copy(T, nums((2, 4)), "x", True)),
    (b"a MOVE *:7,* x", c.Move(T, nums((7, STAR), (STAR, STAR)), "x")),
    (b"a UID MOVE 1,4294967295 x", c.Move(T, nums((1, 1), (2**32 - 1, 2**32 - 1)), "x", True)),
    # FETCH
    (b"a FETCH 1 FLAGS", c.Fetch(T, ONE, (Att.FLAGS,))),
    (b"a FETCH 1 fast", c.Fetch(T, ONE, (Att.FLAGS, Att.INTERNALDATE, Att.SIZE))),
    (b"a FETCH 1 ALL", c.Fetch(T, ONE, (Att.FLAGS, Att.INTERNALDATE, Att.SIZE, Att.ENVELOPE))),
    (
        b"a FETCH 1 FULL",
        c.Fetch(T, ONE, (Att.FLAGS, Att.INTERNALDATE, Att.SIZE, Att.ENVELOPE, Att.BODY)),
    ),
    (
        b"a FETCH 1 (BODY BODYSTRUCTURE MODSEQ UID uid)",
        c.Fetch(T, ONE, (Att.BODY, Att.BODYSTRUCTURE, Att.MODSEQ, Att.UID)),
    ),
    (b"a UID FETCH 1:* (FLAGS)", c.Fetch(T, nums((1, STAR)), (Att.UID, Att.FLAGS), True)),
    (b"a UID FETCH 1 (FLAGS UID)", c.Fetch(T, ONE, (Att.FLAGS, Att.UID), True)),
    (
        b"a FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)",
        c.Fetch(
            T,
            ONE,
            (
                body(b"RFC822", peek=False),
                body(b"RFC822.HEADER", what="HEADER"),
                body(b"RFC822.TEXT", what="TEXT", peek=False),
                Att.SIZE,
            ),
        ),
    ),
    (b"a FETCH 1 BODY[]", c.Fetch(T, ONE, (body(b"BODY[]", peek=False),))),
    (
        b"a FETCH 1 body.peek[1.2.mime]<0.100>",
        c.Fetch(T, ONE, (body(b"BODY[1.2.MIME]<0>", path=(1, 2), what="MIME", partial=(0, 100)),)),
    ),
    (
        b"a FETCH 1 (BODY.PEEK[4.2.header] BODY.PEEK[TEXT] BODY.PEEK[3])",
        c.Fetch(
            T,
            ONE,
            (
                body(b"BODY[4.2.HEADER]", path=(4, 2), what="HEADER"),
                body(b"BODY[TEXT]", what="TEXT"),
                body(b"BODY[3]", path=(3,)),
            ),
        ),
    ),
    (
        b'a FETCH 1 (BODY.PEEK[HEADER.FIELDS (Date "From" {2}\r\nTo "x y" date)] FLAGS)',
        c.Fetch(
            T,
            ONE,
            (
                body(
                    b'BODY[HEADER.FIELDS (Date From To "x y" date)]',
                    what="HEADER.FIELDS",
                    fields=(b"date", b"from", b"to", b"x y"),
                ),
                Att.FLAGS,
            ),
        ),
    ),
    (
        b"a FETCH 1 BODY.PEEK[2.HEADER.FIELDS.NOT (X)]",
        c.Fetch(
            T,
            ONE,
            (body(b"BODY[2.HEADER.FIELDS.NOT (X)]", path=(2,), what="HEADER.FIELDS.NOT", fields=(b"x",)),),
        ),
    ),
    (
        b"a FETCH 1 (FLAGS) (CHANGEDSINCE 0)",
        c.Fetch(T, ONE, (Att.FLAGS, Att.MODSEQ), changed_since=0),
    ),
    (
        b"a UID FETCH 1 (FLAGS) (changedsince 12345 vanished)",
        c.Fetch(T, ONE, (Att.UID, Att.FLAGS, Att.MODSEQ), True, 12345, True),
    ),
    # STORE
    (b"a STORE 1 FLAGS ()", c.Store(T, ONE, "=", ())),
    (
        b"a STORE 1 +flags.silent (\\deleted $Junk $junk)",
        c.Store(T, ONE, "+", ("\\Deleted", "$Junk", "$junk"), True),
    ),
    (b"a UID STORE 1 -FLAGS \\Seen x", c.Store(T, ONE, "-", ("\\Seen", "x"), uid=True)),
    (b"a STORE 1 FLAGS (\\Recent \\Seen)", c.Store(T, ONE, "=", ("\\Recent", "\\Seen"))),
    (
        b"a STORE 1 (UNCHANGEDSINCE 0) FLAGS.SILENT (x)",
        c.Store(T, ONE, "=", ("x",), True, unchanged_since=0),
    ),
    # SEARCH
    (b"a SEARCH ALL", c.Search(T, k.All())),
    (b"a UID SEARCH uid 1:3 ", c.Search(T, k.Uids(nums((1, 3))), True)),
    (b"a SEARCH 1,3 unseen", c.Search(T, k.And((k.Seqs(nums((1, 1), (3, 3))), k.Not(SEEN))))),
    (b"a SEARCH *", c.Search(T, k.Seqs(nums((STAR, STAR))))),
    (b"a SEARCH NEW", c.Search(T, k.And((k.Recent(), k.Not(SEEN))))),
    (b"a SEARCH OLD", c.Search(T, k.Not(k.Recent()))),
    (b"a SEARCH ((SEEN))", c.Search(T, SEEN)),
    (
        b"a SEARCH OR SEEN OR DRAFT (FLAGGED DELETED)",
        c.Search(
            T,
            k.Or((SEEN, k.Flag("\\Draft"), k.And((k.Flag("\\Flagged"), k.Flag("\\Deleted"))))),
        ),
    ),
    (b"a SEARCH NOT NOT RECENT", c.Search(T, k.Not(k.Not(k.Recent())))),
    (
        b'a SEARCH FROM x TO "y z" CC {1}\r\n( BCC b SUBJECT ""',
        c.Search(
            T,
            k.And(
                (
                    k.Field("from", "x"),
                    k.Field("to", "y z"),
                    k.Field("cc", "("),
                    k.Field("bcc", "b"),
                    k.Field("subject", ""),
                )
            ),
        ),
    ),
    (b'a SEARCH HEADER Message-ID "<x@y>"', c.Search(T, k.Header("message-id", "<x@y>"))),
    (b"a SEARCH BODY x TEXT y", c.Search(T, k.And((k.Body("x"), k.Text("y"))))),
    (b"a SEARCH KEYWORD $x UNKEYWORD y", c.Search(T, k.And((k.Flag("$x"), k.Not(k.Flag("y")))))),
    (b"a SEARCH LARGER 0 SMALLER 9", c.Search(T, k.And((k.Larger(0), k.Smaller(9))))),
    (b"a SEARCH BEFORE 1-Jan-1970", c.Search(T, k.Arrived(None, 0))),
    (b'a SEARCH ON "2-jan-1970"', c.Search(T, k.Arrived(1, 2))),
    (b"a SEARCH SINCE 01-Feb-1970", c.Search(T, k.Arrived(31, None))),
    (b"a SEARCH SENTBEFORE 1-Jan-1970", c.Search(T, k.Sent(None, 0))),
    (b"a SEARCH SENTON 1-Jan-1970", c.Search(T, k.Sent(0, 1))),
    (b"a SEARCH SENTSINCE 31-Dec-1969", c.Search(T, k.Sent(-1, None))),
    (b"a SEARCH MODSEQ 620162338", c.Search(T, k.ModSeq(620162338))),
    (
        b'a SEARCH MODSEQ "/flags/\\\\draft" all 620162338',
        c.Search(T, k.ModSeq(620162338, "\\Draft")),
    ),
    (b'a SEARCH MODSEQ "/FLAGS/$x" priv 0', c.Search(T, k.ModSeq(0, "$x"))),
    (b"a SEARCH CHARSET iso-8859-1 TEXT {1}\r\n\xe4", c.Search(T, k.Text("\u00e4"))),
    (b'a SEARCH CHARSET "UTF-8" TEXT "\xc3\xa4"', c.Search(T, k.Text("\u00e4"))),
    (b'a SEARCH TEXT "\xc3\xa4"', c.Search(T, k.Text("\u00e4"))),
    (b'a SEARCH TEXT "\xe4"', c.Search(T, k.Text("\ufffd"))),
]


@pytest.mark.parametrize(("text", "expected"), GOOD, ids=[repr(text)[2:-1] for text, _ in GOOD])
def test_read_three_ways(text: bytes, expected: Command) -> None:
    for feed in whole, one_by_one:
        for behind in b"", b"z NOOP\r\n":
            found = feed(text + b"\r\n" + behind, after_login(1000))
            read = [parse(event.text) for event in found if isinstance(event, CommandText)]
            assert read == [expected, *([c.Noop(b"z")] if behind else [])]
            assert all(isinstance(event, CommandText | Continue) for event in found)


def test_every_name_of_the_grammar_is_tried_above() -> None:
    words = {
        word for text, _ in GOOD for word in text.upper().replace(b"(", b" ").replace(b")", b" ").split()
    }
    assert {*COMMANDS, *UID_COMMANDS} - words == {b"APPEND"}
    assert {*ARGUMENTS} - words == set()


@pytest.mark.parametrize("name", SIMPLE)
def test_search_keys_without_arguments(name: bytes) -> None:
    assert parse(b"a SEARCH " + name) == c.Search(T, SIMPLE[name])


def test_a_fetch_that_is_remembered_is_read_anew_for_each_command() -> None:
    for _ in range(2):
        assert parse(b"a FETCH 1 (FLAGS)") == c.Fetch(T, ONE, (Att.FLAGS,))
        assert parse(b"b UID FETCH 2 (FLAGS)") == c.Fetch(b"b", nums((2, 2)), (Att.UID, Att.FLAGS), True)


def test_more_fetches_than_are_remembered() -> None:
    for since in range(1200):
        fetch = parse(b"a FETCH 1 FLAGS (CHANGEDSINCE %d)" % since)
        assert isinstance(fetch, c.Fetch) and fetch.changed_since == since


def head(text: bytes, **other: bool) -> AppendHead:
    return AppendHead(text, 310, **other)


APPENDS = [
    (b"a APPEND x ", "x", (), None),
    (b'a append "saved messages" (\\Seen) ', "saved messages", ("\\Seen",), None),
    (b"a APPEND {5}\r\nINbox () ", "INBOX", (), None),
    (b'a APPEND x (\\Seen $a) "17-Jul-1996 02:44:25 -0700" ', "x", ("\\Seen", "$a"), 837596665),
    (b'a APPEND x " 7-Jul-1996 02:44:25 +0000" ', "x", (), 836707465),
    (b'a APPEND x "7-Jul-1996 02:44:25 +0000" ', "x", (), 836707465),
    (b'a APPEND x "01-Jan-1900 00:00:00 +0000" ', "x", (), 0),
    (b'a APPEND x "31-Dec-9999 23:59:60 -0000" ', "x", (), 2**32 - 1),
    (
        b"a APPEND x (\\* \\$NOTJUNK \\Recent $Junk \\seen) ",
        "x",
        ("\\*", "\\$NOTJUNK", "\\Recent", "$Junk", "\\Seen"),
        None,
    ),
]


@pytest.mark.parametrize(("text", "mailbox", "flags", "date"), APPENDS)
def test_append(text: bytes, mailbox: str, flags: tuple[str, ...], date: int | None) -> None:
    expected = c.Append(T, mailbox, flags, date, 310)
    assert parse_append(head(text)) == expected
    for feed in whole, one_by_one:
        found = feed(text + b"{310+}\r\n" + b"x" * 310 + b"\r\nz NOOP\r\n", after_login(1000))
        assert [parse_append(event) for event in found if isinstance(event, AppendHead)] == [expected]
        assert found[-1] == CommandText(b"z NOOP")


@pytest.mark.parametrize(
    "text",
    [
        b"a APPEND  ",
        b"a APPEND x",
        b"a APPEND x  ",
        b"a APPEND x () () ",
        b"a APPEND x (x)",
        b"a APPEND x (x ",
        b'a APPEND x "x" ',
        b'a APPEND x "" ',
        b'a APPEND x "31-Feb-1996 02:44:25 -0700" ',
        b'a APPEND x "17-Jul-1996 25:44:25 -0700" ',
        b'a APPEND x "17-Jul-1996 02:44:25 -0700" () ',
        b'a APPEND x "17-Jul-1996 02:44:25" ',
        b"a APPEND & ",
        b"a APPEND x CATENATE (TEXT ",
    ],
)
def test_bad_appends(text: bytes) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse_append(head(text))
    assert caught.value.tag == T


def test_a_binary_append_is_not_taken() -> None:
    with pytest.raises(BadSyntax):
        parse_append(head(b"a APPEND x ", binary=True))
