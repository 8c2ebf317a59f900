"""Out and in again: a source of imports reads an export as the account was."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aerogramme.errors import Refused
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.names import canonical, check
from aerogramme.maildir import Layout
from aerogramme.migrate.export import exporting
from aerogramme.migrate.export.report import Report
from aerogramme.migrate.export.target import Kind
from aerogramme.migrate.sources.maildir.maildir import Maildir, Options
from aerogramme.migrate.sources.mbox.mbox import Mbox
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.exports import Box, Mail, boxes_of
from tests.helpers.source_reading import read_all
from tests.t3_mailbox.conftest import World, put

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # to find the smallest failing one takes minutes


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the whole machine is not waited for."""
    monkeypatch.setattr(exporting.os, "sync", lambda: None)


def valid(name: str) -> bool:
    try:
        return check(name) == name and name != "INBOX"
    except Refused:
        return False


level = st.one_of(
    st.sampled_from(["a", "b", "cur", "INBOX", "a.b", "~", "&AC4-", "dovecot-uidlist", ".x"]),
    st.text(st.sampled_from("ab.&-,~\\é日😀 "), min_size=1, max_size=8),
)
names = st.lists(level, min_size=1, max_size=3).map("/".join).map(canonical).filter(valid)
texts = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"From ", b">From x\r\n", b"Subject: x", b"Status: RO\r\n"]
    )
).map(b"".join)
keywords = st.sampled_from(["$Forwarded", "work", "NonJunk", *(f"k{n}" for n in range(20))])
flags = st.sets(st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted"]) | keywords)
# Not as compressed files begin, which are opened.
odd = st.binary(max_size=30).map(lambda octets: b"\xff" + octets)
mails = st.tuples(texts | odd, flags, st.integers(0, 2**32 - 1))
accounts = st.dictionaries(names | st.just("INBOX"), st.lists(mails, max_size=5), max_size=5)


async def fill(account: Account, boxes: dict[str, list[tuple[bytes, set[str], int]]]) -> None:
    for name, letters in boxes.items():
        if name not in account.state.names:
            await account.create_mailbox(name)
        for letter, flags, date in letters:
            await put(account, name, letter.replace(b"\0", b""), flags=tuple(flags), date=date)
        if len(letters) > 2:
            await account.remove(account.find(name), [2])


async def export(account: Account, path: Path, kind: Kind, layout: Layout) -> Report:
    report = Report("", "", kind)
    await exporting.export(account, path, kind, report, layout=layout)
    assert not report.lost
    return report


def renamed_in(report: Report) -> dict[str, str]:
    """Mailboxes that are called otherwise there."""
    called = [(fault.origin, fault.done.partition("it is called ")[2]) for fault in report.faults]
    return {name: other for name, other in called if other}


@settings(max_examples=10, phases=PHASES)
@pytest.mark.parametrize(
    ("kind", "layout"), [("dovecot", "maildir++"), ("dovecot", "fs"), ("maildir", "maildir++")]
)
@given(boxes=accounts)
def test_maildirs(kind: Kind, layout: Layout, boxes: dict[str, list[tuple[bytes, set[str], int]]]) -> None:
    async def test(path: Path) -> None:
        account = await World().open()
        await fill(account, boxes)
        report = await export(account, path, kind, layout)
        renamed = renamed_in(report)
        escaped = any("listescape" in line for line in report.needs)
        naming = Naming(escape="\\" if escaped else "", guess=False)
        source = Maildir(path, naming, Options(layout=layout))
        read = await read_all(source)
        expected = await boxes_of(account)
        assert read.keys() == {renamed.get(name, name) for name in expected}
        for name, box in expected.items():
            found = read[renamed.get(name, name)]
            mails = {uid: Mail(mail.flags, mail.date, mail.content) for uid, mail in found.mails.items()}
            if kind == "dovecot":
                assert Box(found.folder.uidvalidity, found.folder.uidnext, mails) == box
                assert found.folder.subscribed == (name in account.subscriptions())
            else:
                assert Counter(mails.values()) == Counter(box.mails.values())
        assert {fault.what for fault in source.faults} <= {"it is empty"}
        await account.aclose()

    with TemporaryDirectory() as path:
        trio.run(test, Path(path))


mbox_names = st.lists(st.sampled_from(["a", "b", "a.mbox", "Größe"]), min_size=1, max_size=3).map("/".join)
mbox_texts = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r\n\r\n", b"From ", b">From x\r\n", b"From MAILER-DAEMON x\r\n", b"Subject: x"]
    )
).map(b"".join)
mbox_mails = st.tuples(mbox_texts, flags, st.integers(0, 2**32 - 1))


@settings(max_examples=10, phases=PHASES)
@given(boxes=st.dictionaries(mbox_names | st.just("INBOX"), st.lists(mbox_mails, max_size=5), max_size=4))
def test_mboxes(boxes: dict[str, list[tuple[bytes, set[str], int]]]) -> None:
    async def test(path: Path) -> None:
        account = await World().open()
        await fill(account, boxes)
        renamed = renamed_in(await export(account, path, "mbox", "fs"))
        source = Mbox(path, Naming(guess=False))
        read = await read_all(source)
        expected = await boxes_of(account)
        assert read.keys() == {renamed.get(name, name) for name in expected}
        for name, box in expected.items():
            found = read[renamed.get(name, name)]
            mails = {uid: Mail(mail.flags, mail.date, mail.content) for uid, mail in found.mails.items()}
            assert mails == {uid: _ended(mail) for uid, mail in box.mails.items()}
            if mails:  # an empty file says nothing
                assert (found.folder.uidvalidity, found.folder.uidnext) == (box.uidvalidity, box.uidnext)
        await account.aclose()

    with TemporaryDirectory() as path:
        trio.run(test, Path(path))


def _ended(mail: Mail) -> Mail:
    """A letter in an mbox ends with a line end, and its header with an empty line."""
    content = mail.content
    if content and not content.endswith(b"\n"):
        content += b"\r\n"
    if not content.startswith(b"\r\n") and b"\r\n\r\n" not in content:
        content += b"\r\n"
    return mail._replace(content=content)
