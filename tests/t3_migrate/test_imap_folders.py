"""Which mailboxes an IMAP server has: asked for at once or in steps, in namespaces, with odd names."""

import pytest

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.imap_script import IN, PLAIN, scripted
from tests.helpers.source_reading import said

EXTENDED = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 LIST-EXTENDED SPECIAL-USE LIST-STATUS NAMESPACE] in
C: NAMESPACE
S: * NAMESPACE (("" "/")) NIL NIL
S: @ OK
C: LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (UIDVALIDITY UIDNEXT))
"""


def listed(*lines: str) -> str:
    """LIST and LSUB on a server that has no extensions."""
    return IN + 'C: LIST "" "*"\n' + "".join(f"S: * LIST {line}\n" for line in lines) + "S: @ OK\n"


def status(name: str, words: str = "UIDVALIDITY 7 UIDNEXT 8") -> str:
    return f'C: STATUS "{name}" (UIDVALIDITY UIDNEXT)\nS: * STATUS "{name}" ({words})\nS: @ OK\n'


NOBODY_SUBSCRIBED = 'C: LSUB "" "*"\nS: @ OK\n'


async def test_all_at_once() -> None:
    script = (
        EXTENDED
        + r"""
S: * LIST (\Subscribed) "/" Sent
S: * STATUS Sent (UIDVALIDITY 3 UIDNEXT 4)
S: * LIST (\HasChildren \Sent) "/" "Gesendet"
S: * STATUS "Gesendet" (UIDNEXT 6 UIDVALIDITY 5)
S: * LIST (\Noselect \HasChildren) "/" only
S: * LIST (\NonExistent \Subscribed) "/" gone
S: * LIST () "/" {12}
S| only/a"b\c&- ("CHILDINFO" ("SUBSCRIBED"))
S: * LIST () "/" inbox
S: * STATUS INBOX (UIDVALIDITY 1 UIDNEXT 2)
S: * STATUS somewhere (UIDVALIDITY 1 UIDNEXT 2)
S: @ OK done
C: STATUS "only/a\"b\\c&-" (UIDVALIDITY UIDNEXT)
S: * STATUS {12}
S| only/a"b\c&- (UIDVALIDITY 9)
S: @ OK
"""
    )
    async with scripted(script) as source:
        found = await source.folders()
    assert [(f.name, f.origin, f.uidvalidity, f.uidnext, f.role, f.subscribed) for f in found] == [
        ("INBOX", "INBOX", 1, 2, None, False),
        ("Gesendet", "Gesendet", 5, 6, "\\Sent", False),
        ("Sent", "Sent", 3, 4, None, True),
        ('only/a"b\\c&', 'only/a"b\\c&-', 9, 0, None, False),
    ]
    assert source.faults == []


async def test_step_by_step() -> None:
    async with scripted(
        listed(r'(\HasNoChildren) "." INBOX', r'(\Trash) "." "Old mail"', '() NIL "a b"', '() "." "Sent"')
        + r"""
C: LSUB "" "*"
S: * LSUB () "." "Old mail"
S: * LSUB () "." gone
S: * LSUB (\Noselect) "." "Sent"
S: @ OK
C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)
C: STATUS "Old mail" (UIDVALIDITY UIDNEXT)
C: STATUS "a b" (UIDVALIDITY UIDNEXT)
C: STATUS "Sent" (UIDVALIDITY UIDNEXT)
S: * STATUS Inbox (UIDVALIDITY 1 UIDNEXT 2)
S: @ OK
S: * STATUS "Old mail" (UIDVALIDITY 3 UIDNEXT 4)
S: @ OK
S: * STATUS "a b" ()
S: @ OK
S: * STATUS Sent (UIDVALIDITY 5)
S: @ OK
"""
    ) as source:
        found = await source.folders()
    assert [(f.name, f.uidvalidity, f.uidnext, f.role, f.subscribed) for f in found] == [
        ("INBOX", 1, 2, None, False),
        ("Old mail", 3, 4, "\\Trash", True),
        ("Sent", 5, 0, "\\Sent", False),
        ("a b", 0, 0, None, False),
    ]


async def test_a_server_that_says_bad_to_what_it_has_said_it_knows() -> None:
    script = EXTENDED + 'S: @ BAD what\nC: LIST "" "*"\nS: * LIST () "/" INBOX\nS: @ OK\n'
    async with scripted(script + 'C: LSUB "" "*"\nS: @ NO\n' + status("INBOX")) as source:
        assert [(f.name, f.subscribed) for f in await source.folders()] == [("INBOX", None)]


async def test_a_prefix_and_other_peoples_mailboxes() -> None:
    script = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 NAMESPACE] in
C: NAMESPACE
S: * NAMESPACE (("INBOX." ".")) (("user." ".")) (("" ".")("shared." "." "X" ("y")))
S: @ OK
C: LIST "" "*"
S: * LIST () "." INBOX
S: * LIST () "." INBOX.Sent.2020
S: * LIST () "." user.bob
S: * LIST () "." user.bob.x
S: * LIST () "." shared.all
S: @ OK
{NOBODY_SUBSCRIBED}C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)
C: STATUS "INBOX.Sent.2020" (UIDVALIDITY UIDNEXT)
S: * STATUS INBOX (UIDVALIDITY 1)
S: @ OK
S: * STATUS INBOX.Sent.2020 (UIDVALIDITY 1)
S: @ OK
"""
    async with scripted(script) as source:
        assert [f.name for f in await source.folders()] == ["INBOX", "Sent/2020"]
    assert said(source.faults) == [
        "shared.: 1 mailboxes below it are of other users, or shared: they are left out",
        "user.: 2 mailboxes below it are of other users, or shared: they are left out",
    ]


async def test_views_are_left_out_if_nobody_wants_them() -> None:
    lines = (r'(\All \HasNoChildren) "/" "All Mail"', r'(\Flagged) "/" "Starred"', r'() "/" "INBOX"')
    async with scripted(listed(*lines) + NOBODY_SUBSCRIBED + status("INBOX")) as source:
        assert [f.name for f in await source.folders()] == ["INBOX"]
    assert [(f.origin, f.lost) for f in source.faults] == [("All Mail", False), ("Starred", False)]
    async with scripted(listed(lines[1]) + NOBODY_SUBSCRIBED + status("Starred"), views=True) as source:
        assert [(f.name, f.role) for f in await source.folders()] == [("Starred", "\\Flagged")]
    assert source.faults == []


async def test_names_in_utf8_and_what_the_operator_says() -> None:
    name = "Entwürfe/ä".encode().decode("latin-1")
    script = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 ENABLE UTF8=ACCEPT] in
C: ENABLE UTF8=ACCEPT
S: * ENABLED UTF8=ACCEPT
S: @ OK
C: LIST "" "*"
S: * LIST () "/" "{name}"
S: @ OK
{NOBODY_SUBSCRIBED}{status(name)}C: EXAMINE "{name}"
S: * 0 EXISTS
S: * OK [UIDVALIDITY 7] ok
S: @ OK
"""
    naming = Naming(under="Moved", roles={"Moved/Entwürfe/ä": "\\Drafts"})
    async with scripted(script, naming=naming) as source:
        [folder] = await source.folders()
        assert (folder.name, folder.origin, folder.role) == ("Moved/Entwürfe/ä", "Entwürfe/ä", "\\Drafts")
        assert not (await source.messages(folder)).uids


async def test_names_that_are_no_modified_utf7() -> None:
    name = "\xe4"  # Latin-1, which a quoted string cannot hold
    script = (
        listed(f'() "/" "{name}"')
        + NOBODY_SUBSCRIBED
        + f"C: STATUS {{1+}}\nC| {name} (UIDVALIDITY UIDNEXT)\n"
        + f"S: * STATUS {{1}}\nS| {name} (UIDVALIDITY 1)\nS: @ OK\n"
    )
    async with scripted(script) as source:
        assert [f.name for f in await source.folders()] == ["ä"]
    assert len(source.faults) == 1 and not source.faults[0].lost


async def test_a_literal_that_the_server_wants_to_be_asked_for() -> None:
    script = f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1] in
C: LIST "" "*"
S: * LIST () "/" "\xe4"
S: * LIST () "/" "\xf6"
S: @ OK
{NOBODY_SUBSCRIBED}C: STATUS {{1}}
S: + go on
C| \xe4 (UIDVALIDITY UIDNEXT)
S: * STATUS "\xe4" (UIDVALIDITY 1)
S: @ OK
C: STATUS {{1}}
S: @ NO it is not a name
C: EXAMINE {{1}}
S: + go on
C| \xf6
S: @ NO it is not a name
"""
    async with scripted(script) as source:
        assert [f.name for f in await source.folders()] == ["ä"]
    assert [(f.origin, f.lost) for f in source.faults if f.lost] == [("\\xf6", True)]


async def test_a_mailbox_that_cannot_be_opened_is_lost_and_the_others_are_not() -> None:
    script = (
        listed('() "/" INBOX', '() "/" a', '() "/" b')
        + NOBODY_SUBSCRIBED
        + "".join(f'C: STATUS "{name}" (UIDVALIDITY UIDNEXT)\n' for name in ("INBOX", "a", "b"))
        + "S: @ NO cannot\nS: @ NO [NOPERM] not yours\nS: * STATUS b (UIDVALIDITY 1)\nS: @ OK\n"
        + 'C: EXAMINE "INBOX"\nS: * 3 EXISTS\nS: * OK [UIDVALIDITY 5] x\nS: * OK [UIDNEXT 6] x\nS: @ OK\n'
        + 'C: EXAMINE "a"\nS: @ NO [NOPERM] not yours\n'
    )
    async with scripted(script) as source:
        found = await source.folders()
    assert [(f.name, f.uidvalidity, f.uidnext) for f in found] == [("INBOX", 5, 6), ("b", 1, 0)]
    [fault] = source.faults
    assert fault.origin == "a" and "not yours" in fault.what and fault.lost


async def test_names_without_end_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.imap.listing._MAX_LISTED", 3000)
    async with scripted(listed(*(f'() "/" {number}{"a" * 1000}' for number in range(3)))) as source:
        with pytest.raises(Unreadable, match="names without end"):
            await source.folders()


async def test_a_server_that_lists_nothing() -> None:
    """Else a run with --delete would take it that all mailboxes are gone."""
    async with scripted(listed() + NOBODY_SUBSCRIBED) as source:
        with pytest.raises(Unreadable, match="lists no mailbox"):
            await source.folders()


async def test_no_list_is_an_error() -> None:
    async with scripted(IN + 'C: LIST "" "*"\nS: @ NO [CANNOT] no\n') as source:
        with pytest.raises(Unreadable, match="does not list"):
            await source.folders()


@pytest.mark.parametrize(
    "line", ["* LIST () ", '* LIST () "/" (a)', "* LIST a b c", "* STATUS INBOX (UIDNEXT x)", "* LIST ("]
)
async def test_what_makes_no_sense_is_asked_for_again_and_then_an_error(line: str) -> None:
    async with scripted(*[IN + f'C: LIST "" "*"\nS: {line}\nS: @ OK\n'] * 2, pauses=(0,)) as source:
        with pytest.raises(Unreadable, match="does not speak IMAP"):
            await source.folders()


async def test_it_waits_as_long_as_the_server_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("aerogramme.migrate.sources.imap.pool.trio.sleep", sleep)
    ask = IN + 'C: LIST "" "*"\n'
    scripts = [
        ask + "S: @ BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\n",
        ask + "S: * BYE [THROTTLED] come again\nX",
        ask + "S: @ NO [UNAVAILABLE] later\n",
        ask + 'S: * LIST () "/" INBOX\nS: @ OK\n' + NOBODY_SUBSCRIBED + status("INBOX"),
    ]
    async with scripted(*scripts, pauses=(1, 2, 3)) as source:
        assert [folder.name for folder in await source.folders()] == ["INBOX"]
    assert slept == [299.961, 2, 3]
