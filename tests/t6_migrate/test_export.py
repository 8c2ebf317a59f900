"""A real Dovecot serves what was exported: with the same UIDs, flags, dates, octets, names, subscriptions."""

import os
import shlex
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from aerogramme.imap import mutf7
from aerogramme.mailbox.account import Account
from aerogramme.maildir import Layout
from aerogramme.migrate.export import exporting
from aerogramme.migrate.export.place import Owner
from aerogramme.migrate.export.report import Report
from tests.helpers.dovecot import Dovecot, Seen, dovecot, read_messages
from tests.helpers.exports import Box, Mail, boxes_of
from tests.t3_mailbox.conftest import World, cheap_passwords, put

__all__ = ["cheap_passwords"]

pytestmark = pytest.mark.clients

LISTESCAPE = "mail_plugins = listescape\n"
LOCATION: dict[Layout, str] = {"maildir++": "maildir:~/Maildir", "fs": "maildir:~/Maildir:LAYOUT=fs"}

# Names that Dovecot, or the file system, has other uses for.
NAMES = [
    *("a/b", "a.b", "a..b", "a/.b", ".hidden", "Inbox.x", "~tilde", "x/~y", "back\\slash", 'q"uote', "x&y"),
    *("Entwürfe/Größe", "日本", "😀", "-", "a%b", "a*b", "x ", " y", "INBOX/below", "INBOX/INBOX", "x/INBOX"),
    *("cur", "cur_", "x/new", "tmp/x", "dovecot-uidlist", "dovecot.index", "subscriptions", "maildirsize"),
    *(
        "aerogramme-export",
        ".aerogramme-export",
        "dbox-Mails",
        "x" * 100,
        "é" * 125,
        "/".join(["語" * 30] * 4),
    ),
]
LETTERS = [
    b"Subject: a\r\n\r\nb\r\n",
    b"Subject: lone LF\n\nx\r\ny\nz",
    b"Subject: CR CR LF\r\r\n\r\nx\r\r\n\r\r\r\n",
    b"\r\n",
    b"From me\r\n\r\nFrom you\r\n",
    b"Subject: \xff8 bits\r\n\r\n\xfe",
    b"Subject: large\r\n\r\n" + b"a line of it\r\n" * 90_000,
    b"no line\r",
]


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    """Mailboxes of all names, all kinds of letters and flags, and gaps between the UIDs."""
    world = World()
    account = await world.open()
    for name in NAMES:
        await account.create_mailbox(name)
    for name in ("Junk", "x&y", "~tilde"):
        await account.subscribe(name, False)
    await put(account, "INBOX", *LETTERS, flags=("\\Seen", "$Forwarded"), date=1_000_000_000)
    await put(account, "INBOX", *LETTERS[:3])
    for name in account.state.names:
        letter = b"Subject: in " + name.encode() + b"\r\n\r\n"
        await put(account, name, letter, letter, flags=("\\Flagged", "\\Draft", "later"), date=1_234_567_890)
    await account.remove(account.find("INBOX"), [2, 4, 13])
    yield account
    await account.aclose()


def owner(server: Dovecot) -> Owner:
    status = os.stat(server.home)
    return Owner(status.st_uid, status.st_gid)


async def export(account: Account, server: Dovecot, layout: Layout) -> Report:
    report = Report("alice@example.org", "", "dovecot")
    to = server.home / "Maildir"
    await exporting.export(account, to, "dovecot", report, layout=layout, owner=owner(server))
    return report


def is_served(
    server: Dovecot, expected: dict[str, Box], renamed: dict[str, str], subscribed: set[str]
) -> None:
    """`renamed`: mailboxes that Dovecot calls otherwise."""
    called = {mutf7.encode(renamed.get(name, name)).decode(): name for name in expected}
    folders = server.folders()
    assert folders.keys() == called.keys()
    assert {called[folder] for folder, on in folders.items() if on} == subscribed
    with server.imap() as client:
        for folder, name in called.items():
            uidvalidity, uidnext, seen = read_messages(client, folder)
            assert (
                Box(uidvalidity, uidnext, {uid: mail(each) for uid, each in seen.items()}) == expected[name]
            )
            assert all(each.size == len(each.content) for each in seen.values())


def mail(seen: Seen) -> Mail:
    date = datetime.strptime(seen.date.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
    return Mail(seen.flags, int(date), seen.content)


def renamed_in(report: Report) -> dict[str, str]:
    assert all(" is called " in f" {fault.done}" and not fault.lost for fault in report.faults), report.faults
    return {fault.origin: fault.done.removeprefix("it is called ") for fault in report.faults}


@pytest.mark.parametrize("layout", LOCATION)
async def test_dovecot_serves_what_was_exported(account: Account, layout: Layout) -> None:
    with dovecot(LOCATION[layout], LISTESCAPE) as server:
        report = await export(account, server, layout)
        renamed = renamed_in(report)
        assert len(renamed) < len(NAMES)  # those alone that nothing helps
        is_served(server, await boxes_of(account), renamed, set(account.subscriptions()))
        assert "mail_plugins = $mail_plugins listescape" in report.needs


@pytest.mark.parametrize("layout", LOCATION)
async def test_a_later_run_is_served_by_a_dovecot_that_knew_the_first(
    account: Account, layout: Layout
) -> None:
    """It has indexes of its own by then, and has rewritten its list of UIDs."""
    with dovecot(LOCATION[layout], LISTESCAPE) as server:
        renamed = renamed_in(await export(account, server, layout))
        is_served(server, await boxes_of(account), renamed, set(account.subscriptions()))
        server.doveadm("index", "*")
        inbox = account.find("INBOX")
        await account.store_flags(inbox, [1, 5], "+", ["\\Answered", "new"])
        await account.store_flags(inbox, [6], "=", [])
        await account.remove(inbox, [3])
        await put(account, "INBOX", LETTERS[0], LETTERS[1], flags=("new", "\\Seen"))
        await account.delete_mailbox("a/b")
        await account.delete_mailbox("Junk")
        await account.create_mailbox("Junk")  # with another UIDVALIDITY
        await put(account, "Junk", LETTERS[0])
        await account.rename_mailbox("x ", "renamed")
        report = await export(account, server, layout)
        subscribed = set(account.subscriptions()).intersection(account.state.names)
        is_served(server, await boxes_of(account), renamed_in(report), subscribed)
        assert report.mailboxes[0].written == 2 and len(report.gone) == 2
        await export(account, server, layout)
        is_served(server, await boxes_of(account), renamed, subscribed)


async def test_plain_names_need_no_plugin(account: Account) -> None:
    for name in NAMES:
        if name.startswith("~") or "." in name:
            await account.delete_mailbox(name)
            await account.subscribe(name, False)
    with dovecot(LOCATION["maildir++"]) as server:
        report = await export(account, server, "maildir++")
        assert not any("listescape" in line for line in report.needs)
        subscribed = set(account.subscriptions()).intersection(account.state.names)
        is_served(server, await boxes_of(account), renamed_in(report), subscribed)


async def test_the_settings_that_it_says_are_those_that_dovecot_needs(account: Account) -> None:
    with dovecot("maildir:~/elsewhere") as server:
        report = await export(account, server, "fs")
        base = server.config.read_text().partition("namespace")[0].replace("mail_location", "#")
        server.config.write_text("\n".join([base, *report.needs]) + "\n")
        is_served(server, await boxes_of(account), renamed_in(report), set(account.subscriptions()))
        with server.imap() as client:
            lines = client._simple_command("LIST", '""', '"*"', "RETURN", "(SPECIAL-USE)")
            assert lines[0] == "OK"
            found = b"\n".join(line for line in client.response("LIST")[1] if line)
        assert b"\\Sent" in found and b"\\Junk" in found


async def test_more_keywords_than_a_maildir_has_letters_for(account: Account) -> None:
    await put(account, "Archive", LETTERS[0], flags=[f"key{n}" for n in range(30)])
    with dovecot(LOCATION["maildir++"], LISTESCAPE) as server:
        report = await export(account, server, "maildir++")
        said = [fault for fault in report.faults if fault.origin == "Archive"]
        assert len(said) == 5 and all(
            "keyword key" in fault.what for fault in said
        )  # "later" has a letter, too
        assert len(server.messages("Archive")[2][3].flags) == 25
        for fault in said:  # but Dovecot can keep them
            command = shlex.split(fault.done.partition(": ")[2].replace("-u alice@example.org ", ""))
            assert command[:3] == ["doveadm", "flags", "add"]
            server.doveadm(*command[1:])
        await put(account, "Archive", LETTERS[0], flags=["later", "\\Seen"])
        assert len((await export(account, server, "maildir++")).mailboxes) == len(account.state.names)
        expected = await boxes_of(account)
        assert {uid: mail(each) for uid, each in server.messages("Archive")[2].items()} == expected[
            "Archive"
        ].mails


async def test_a_maildir_can_be_delivered_to_once_dovecot_serves_it(account: Account) -> None:
    """UIDs and mailboxes that Dovecot makes are above all that there were."""
    highest = max(box.uidvalidity for box in (await boxes_of(account)).values())
    with dovecot(LOCATION["maildir++"], LISTESCAPE) as server:
        await export(account, server, "maildir++")
        with server.imap() as client:
            client.append("INBOX", "", "", LETTERS[0])
            client.create("made")
            _, _, seen = read_messages(client, "INBOX")
            assert max(seen) == account.find("INBOX").uidnext
            assert read_messages(client, "made")[0] > highest
        report = await export(account, server, "maildir++")
        assert [fault.origin for fault in report.faults if fault.lost] == ["INBOX"]
        assert server.messages("INBOX")[2].keys() == seen.keys()
        assert "made" in server.folders()
