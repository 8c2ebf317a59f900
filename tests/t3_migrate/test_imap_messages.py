"""The messages of a mailbox on an IMAP server."""

import pytest

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.source import Folder, Messages
from tests.helpers.imap_script import PLAIN, scripted
from tests.helpers.source_reading import said

DATE = '"01-Jan-2020 00:00:00 +0000"'
JANUARY = 1577836800
FETCH = "C: UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"
INBOX = Folder("INBOX", "INBOX", uidvalidity=7)


def begun(exists: int = 3) -> str:
    """Up to the mailbox that is open."""
    return f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1] in
C: LIST "" "*"
S: * LIST () "/" INBOX
S: @ OK
C: LSUB "" "*"
S: @ OK
C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)
S: * STATUS INBOX (UIDVALIDITY 7 UIDNEXT 100)
S: @ OK
{examined(exists)}"""


def examined(exists: int = 3, validity: int = 7) -> str:
    return f"""C: EXAMINE "INBOX"
S: * {exists} EXISTS
S: * 0 RECENT
S: * OK [UIDVALIDITY {validity}] x
S: @ OK [READ-ONLY] done
"""


def rows(messages: Messages) -> list[tuple[int, int, int, tuple[str, ...]]]:
    return list(zip(messages.uids, messages.dates, messages.sizes, messages.flags, strict=True))


async def test_all_of_them() -> None:
    script = f"""{begun(exists=4)}{FETCH}
S: * 1 FETCH (UID 2 FLAGS (\\Seen \\Recent) INTERNALDATE {DATE} RFC822.SIZE 10)
S: * 2 FETCH (FLAGS (\\flagged $Foo \\X-Unknown) RFC822.SIZE 0 UID 5 INTERNALDATE {DATE} MODSEQ (3))
S: * 5 EXISTS
S: * OK still busy
S: * 3 FETCH (FLAGS (\\Seen))
S: * 1 FETCH (UID 2 FLAGS ())
S: * 3 FETCH (UID 9 FLAGS () INTERNALDATE " 2-Jan-2020 01:00:00 +0100" RFC822.SIZE 4294967296)
S: * 4 FETCH (UID 4294967295 FLAGS (a b) INTERNALDATE {DATE} RFC822.SIZE 1)
S: * 5 FETCH (UID 4294967295 FLAGS (A b) INTERNALDATE {DATE} RFC822.SIZE 1)
S: * 5 EXPUNGE
S: @ OK done
"""
    async with scripted(script) as source:
        found = await source.messages(INBOX)
        assert rows(found) == [
            (2, JANUARY, 10, ()),
            (5, JANUARY, 0, ("\\Flagged", "$Foo")),
            (9, JANUARY + 86400, 1 << 32, ()),
            (4294967295, JANUARY, 1, ("A", "b")),
        ]
    assert source.faults == []


async def test_in_any_order() -> None:
    lines = "".join(
        f"S: * 1 FETCH (UID {uid} FLAGS (k{uid}) INTERNALDATE {DATE} RFC822.SIZE {uid})\n"
        for uid in (5, 2, 9)
    )
    async with scripted(f"{begun()}{FETCH}\n{lines}S: @ OK\n") as source:
        assert rows(await source.messages(INBOX)) == [(uid, JANUARY, uid, (f"k{uid}",)) for uid in (2, 5, 9)]


async def test_a_server_that_tells_only_of_so_many_at_once() -> None:
    """RFC 9738: of the highest UIDs first."""
    line = f"S: * 1 FETCH (UID 1 FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)\n"
    script = f"""{begun(exists=4)}{FETCH}
{line.replace("UID 1", "UID 70")}{line.replace("UID 1", "UID 90")}S: @ OK [MESSAGELIMIT 2 70] some
{FETCH.replace("1:*", "1:69")}
{line.replace("UID 1", "UID 8")}{line.replace("UID 1", "UID 9")}S: @ OK [MESSAGELIMIT 2 8] some
{FETCH.replace("1:*", "1:7")}
S: @ OK all
"""
    async with scripted(script) as source:
        assert list((await source.messages(INBOX)).uids) == [8, 9, 70, 90]
    assert source.faults == []


async def test_what_was_archived_at_gmail() -> None:
    fetch = FETCH.replace("SIZE", "SIZE X-GM-LABELS")
    labels = {
        1: r'"\\Inbox" Work',
        2: "",
        3: r'"\\Sent"',
        4: r'"\\Important" "\\Starred"',
        5: '"Hidden in IMAP"',
        6: "work",
        7: r"\Draft",
    }
    lines = "".join(
        f"S: * 1 FETCH (X-GM-LABELS ({each}) UID {uid} FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)\n"
        for uid, each in labels.items()
    )
    script = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 X-GM-EXT-1 ID] in
C: ID ("name" "Aerogramme")
S: * ID ("name" "GImap" "vendor" "Google, Inc.")
S: @ OK
C: LIST "" "*"
S: * LIST (\\Noselect) "/" "[Gmail]"
S: * LIST (\\All) "/" "[Gmail]/All Mail"
S: * LIST (\\Flagged) "/" "[Gmail]/Starred"
S: * LIST (\\Sent) "/" "[Gmail]/Sent Mail"
S: * LIST () "/" "Work"
S: @ OK
C: LSUB "" "*"
S: @ OK
C: STATUS "[Gmail]/All Mail" (UIDVALIDITY UIDNEXT)
C: STATUS "[Gmail]/Sent Mail" (UIDVALIDITY UIDNEXT)
C: STATUS "Work" (UIDVALIDITY UIDNEXT)
S: * STATUS "[Gmail]/All Mail" (UIDVALIDITY 7 UIDNEXT 100)
S: @ OK
S: * STATUS "[Gmail]/Sent Mail" (UIDVALIDITY 8 UIDNEXT 100)
S: @ OK
S: * STATUS "Work" (UIDVALIDITY 9 UIDNEXT 100)
S: @ OK
C: EXAMINE "[Gmail]/All Mail"
S: * 7 EXISTS
S: * OK [UIDVALIDITY 7] x
S: @ OK
{fetch}
{lines}S: @ OK
"""
    async with scripted(script) as source:
        folders = {folder.name: folder for folder in await source.folders()}
        assert {name: folder.role for name, folder in folders.items()} == {
            "[Gmail]/All Mail": "\\Archive",
            "[Gmail]/Sent Mail": "\\Sent",
            "Work": None,
        }
        archive = folders["[Gmail]/All Mail"]
        assert archive.uidvalidity == 0
        # There is no mailbox for drafts, or the label that is hidden.
        assert list((await source.messages(archive)).uids) == [2, 4, 5, 7]
    assert [(fault.origin, fault.lost) for fault in source.faults] == [
        ("[Gmail]/All Mail", False),
        ("[Gmail]/Starred", False),
    ]


async def test_an_empty_mailbox_is_not_asked() -> None:
    async with scripted(begun(exists=0)) as source:
        assert rows(await source.messages(INBOX)) == []


async def test_dates_that_are_none() -> None:
    lines = "".join(
        f"S: * 1 FETCH (UID {uid} FLAGS () INTERNALDATE {date} RFC822.SIZE 1)\n"
        for uid, date in enumerate(('"x"', DATE, '"30-Feb-2020 00:00:00 +0000"', "NIL"), 1)
    )
    async with scripted(f"{begun(exists=4)}{FETCH}\n{lines}S: @ OK\n") as source:
        assert list((await source.messages(INBOX)).dates) == [0, JANUARY, JANUARY, JANUARY]
    assert said(source.faults) == [
        "INBOX: UID 1 has the date 'x': it gets the date of the message before it",
        "INBOX: UID 3 has the date '30-Feb-2020 00:00:00 +0000': it gets the date of the message before it",
        "INBOX: UID 4 has no date: it gets the date of the message before it",
    ]


async def test_messages_that_are_not_told_of_are_lost() -> None:
    line = f"S: * 1 FETCH (UID 1 FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)\n"
    async with scripted(f"{begun()}{FETCH}\n{line}S: @ OK\n") as source:
        assert len((await source.messages(INBOX)).uids) == 1
    [fault] = source.faults
    assert fault.lost and "3 messages, and tells of 1" in fault.what


async def test_messages_that_come_or_go_while_others_are_told_are_not_lost() -> None:
    lines = "".join(
        f"S: * {uid} FETCH (UID {uid} FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)\n" for uid in (1, 2)
    )
    async with scripted(f"{begun()}{FETCH}\nS: * 5 EXISTS\n{lines}S: * 3 EXPUNGE\nS: @ OK\n") as source:
        assert list((await source.messages(INBOX)).uids) == [1, 2]
    assert source.faults == []


async def test_a_mailbox_that_was_made_anew() -> None:
    script = begun().replace("[UIDVALIDITY 7]", "[UIDVALIDITY 8]")
    async with scripted(script) as source:
        with pytest.raises(Unreadable, match="made anew"):
            await source.messages(INBOX)


async def test_a_mailbox_that_is_gone() -> None:
    async with scripted(begun().partition("C: EXAMINE")[0]) as source:
        with pytest.raises(Unreadable, match="no mailbox Old"):
            await source.messages(Folder("Old", "Old", uidvalidity=7))


@pytest.mark.parametrize(
    "line",
    [
        f"* 1 FETCH (UID 0 FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)",
        f"* 1 FETCH (UID 4294967296 FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)",
        f"* 1 FETCH (UID 99999999999 FLAGS () INTERNALDATE {DATE} RFC822.SIZE 1)",
        f"* 1 FETCH (UID 1 FLAGS () INTERNALDATE {DATE} RFC822.SIZE x)",
        "* 1 FETCH (UID",
        "* 1 FETCH",
        "* 1 FETCH ()()",
    ],
)
async def test_what_makes_no_sense(line: str) -> None:
    again = begun() + f"{FETCH}\nS: {line}\nS: @ OK\n"
    first = again
    head, _, rest = begun().partition("C: LIST")
    second = head + "C: EXAMINE" + rest.partition("C: EXAMINE")[2] + f"{FETCH}\nS: {line}\nS: @ OK\n"
    if line == "* 1 FETCH":  # says nothing, and is nothing
        async with scripted(first) as source:
            assert not (await source.messages(INBOX)).uids
        return
    async with scripted(first, second, pauses=(0,)) as source:
        with pytest.raises(Unreadable, match="does not speak IMAP"):
            await source.messages(INBOX)


async def test_too_many_different_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.imap.columns._MAX_FLAGS_TEXT", 1000)
    lines = "".join(
        f"S: * 1 FETCH (UID {uid} FLAGS (k{uid}) INTERNALDATE {DATE} RFC822.SIZE 1)\n" for uid in range(1, 50)
    )
    async with scripted(f"{begun()}{FETCH}\n{lines}S: @ OK\n") as source:
        with pytest.raises(Unreadable, match="too many different flags"):
            await source.messages(INBOX)
