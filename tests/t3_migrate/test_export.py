"""Exports: all that an account has is in the files, and a second run only changes what has changed."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from aerogramme.errors import BadConfiguration, Damaged, Refused, Unavailable
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history.past import past_of
from aerogramme.maildir import Layout
from aerogramme.migrate.export import exporting, place
from aerogramme.migrate.export.dovecot_names import spell
from aerogramme.migrate.export.place import Owner, Place, owner_of
from aerogramme.migrate.export.report import Report
from aerogramme.migrate.export.target import Kind
from aerogramme.store.faults import Crash
from tests.helpers import exports
from tests.helpers.exports import boxes_of
from tests.helpers.file_steps import FileSteps
from tests.t3_mailbox.conftest import World, put
from tests.t3_mailbox.test_past import later, moment

LETTERS = [
    b"Subject: one\r\n\r\none\r\n",
    b"Subject: lone\n\nLF\r\nand no end",
    b"Subject: ends\r\r\n\r\nx\r\r\n\r\r\r\n",
    b"",
    b"\r\n\r\nFrom nobody\r\n>From somebody\r\n",
    b"Subject: \xff\r\n\r\n\x00\xfe\r\n",
    b"From me\r\n\r\nFrom you\r\n",
]
KINDS: list[tuple[Kind, Layout]] = [
    ("dovecot", "maildir++"),
    ("dovecot", "fs"),
    ("maildir", "maildir++"),
    ("maildir", "fs"),
    ("mbox", "fs"),
]
every_kind = pytest.mark.parametrize(("kind", "layout"), KINDS)


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the whole machine is not waited for."""
    monkeypatch.setattr(exporting.os, "sync", lambda: None)


async def fill(account: Account) -> None:
    """Mailboxes with odd names, messages with all flags, gaps between UIDs."""
    for name in ("Work/2026", "Work/a.b", "Größe", "~x", "INBOX/below", "cur", "back\\slash"):
        await account.create_mailbox(name)
    await account.subscribe("Work/2026", False)
    await account.subscribe("no/longer")
    await put(account, "INBOX", *LETTERS, flags=("\\Seen",), date=1_000_000_000)
    await put(account, "INBOX", *LETTERS[:2])
    await put(account, "INBOX", LETTERS[0], flags=("\\Flagged", "$Work", "\\Answered", "later"), date=0)
    await put(account, "INBOX", LETTERS[0], flags=("\\Draft", "\\Deleted"), date=2**32 - 1)
    await account.expunge(account.find("INBOX"))
    await put(account, "Work/a.b", LETTERS[0], flags=("later",))
    await put(account, "cur", *LETTERS[:2], flags=("\\Deleted",))
    await account.copy(account.find("INBOX"), [2], "~x")


async def export(
    account: Account, path: Path, kind: Kind = "dovecot", layout: Layout = "maildir++", **options: Any
) -> Report:
    report = Report("alice@example.org", str(path), kind)
    await exporting.export(account, path, kind, report, layout=layout, **options)
    assert report.total("done") == report.messages or report.lost
    return report


async def check(
    account: Account, path: Path, report: Report, *, without: frozenset[int] = frozenset()
) -> None:
    """All is there, and nothing else. `without`: UIDs of INBOX that are not."""
    expected = await boxes_of(account)
    found = {each.name: each.path for each in report.mailboxes}
    assert found.keys() == expected.keys() and len(set(found.values())) == len(found)
    for name, box in expected.items():
        mails = {uid: mail for uid, mail in box.mails.items() if name != "INBOX" or uid not in without}
        if report.kind == "mbox":
            assert exports.mbox(path / found[name]) == [(uid, _in_mbox(mail)) for uid, mail in mails.items()]
        else:
            read = exports.maildir(path / found[name], dovecot=report.kind == "dovecot")
            assert read == exports.Box(box.uidvalidity, box.uidnext, mails), name
    if report.kind == "mbox":
        assert len(names_in(path, "*.mbox")) == len(found)
    else:
        assert len(names_in(path, "cur")) == len(found) + ("cur" in found.values())


def _in_mbox(mail: exports.Mail) -> exports.Mail:
    return mail._replace(
        content=mail.content + b"\r\n" if mail.content[-1:] not in (b"\n", b"") else mail.content
    )


def names_in(path: Path, pattern: str) -> list[str]:
    return [each.name for each in path.rglob(pattern)]


def files_of(path: Path) -> dict[str, tuple[int, int]]:
    """Every file: which it is, and when it was last written."""
    found = {str(each.relative_to(path)): each.stat() for each in path.rglob("*") if each.is_file()}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


@every_kind
async def test_all_is_there_and_a_second_run_changes_nothing(
    account: Account, tmp_path: Path, kind: Kind, layout: Layout
) -> None:
    await fill(account)
    report = await export(account, tmp_path / "a" / "b", kind, layout)
    await check(account, tmp_path / "a" / "b", report)
    assert report.total("written") == report.messages and not report.lost
    before = files_of(tmp_path)
    again = await export(account, tmp_path / "a" / "b", kind, layout)
    assert files_of(tmp_path) == before
    assert {again.total(name) for name in ("written", "changed", "removed", "lost")} == {0}


@every_kind
async def test_a_later_run_changes_what_has_changed(
    account: Account, tmp_path: Path, kind: Kind, layout: Layout
) -> None:
    await fill(account)
    await export(account, tmp_path, kind, layout)
    before = files_of(tmp_path)
    inbox = account.find("INBOX")
    await account.store_flags(inbox, [2], "+", ["\\Flagged", "new"])
    await account.store_flags(inbox, [3], "=", [])
    await account.remove(inbox, [1, 5])
    await put(account, "INBOX", b"Subject: more\r\n\r\n")
    await account.delete_mailbox("Größe")
    await account.delete_mailbox("Archive")
    await account.create_mailbox("Archive")
    await account.rename_mailbox("Work", "Play")
    await account.move(account.find("cur"), [1], "Archive")
    report = await export(account, tmp_path, kind, layout)
    await check(account, tmp_path, report)
    assert len(report.gone) == 4  # Größe; Work, Work/2026, Work/a.b
    if kind != "mbox":
        inbox = report.mailboxes[0]
        assert (inbox.written, inbox.changed, inbox.removed) == (1, 2, 2)
        kept = next(name for name in before if "U=7:2" in name)
        assert files_of(tmp_path)[kept] == before[kept]


@every_kind
async def test_a_run_that_was_killed_at_any_step_is_run_again(
    account: Account, tmp_path: Path, kind: Kind, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account.create_mailbox("Work/a.b")
    await put(account, "INBOX", *LETTERS[:3], flags=("\\Seen", "word"))
    await put(account, "Work/a.b", LETTERS[0])
    first = tmp_path / "first"
    await export(account, first, kind, layout)
    await account.store_flags(account.find("INBOX"), [1], "+", ["\\Flagged", "other"])
    await account.remove(account.find("INBOX"), [2])
    await account.rename_mailbox("Work", "Play")
    await put(account, "INBOX", LETTERS[4])
    steps = FileSteps(place, monkeypatch)
    path = tmp_path / "counted"
    shutil.copytree(first, path)
    steps.begin(0)
    await export(account, path, kind, layout)
    assert steps.calls > 40
    for n in range(1, steps.calls + 1, 7 if (kind, layout) == KINDS[0] else 17):
        path = tmp_path / str(n)
        shutil.copytree(first, path)
        steps.begin(n)
        with pytest.raises(Crash):
            await export(account, path, kind, layout)
        steps.begin(0)
        report = await export(account, path, kind, layout)
        await check(account, path, report)
        assert not report.lost
        assert [each for each in path.rglob("*") if each.name.endswith(place.NEW)] == []


async def test_what_is_not_whole_is_written_again(account: Account, tmp_path: Path) -> None:
    await put(account, "INBOX", *LETTERS)
    await export(account, tmp_path)
    file = next(each for each in (tmp_path / "cur").iterdir() if each.stat().st_size > 20)
    with file.open("r+b") as opened:  # as after the machine has stopped
        opened.truncate(10)
    report = await export(account, tmp_path)
    await check(account, tmp_path, report)
    assert (report.total("written"), report.total("removed")) == (1, 1)


async def test_a_letter_that_is_damaged_is_left_out(world: World, account: Account, tmp_path: Path) -> None:
    large = b"Subject: large\r\n\r\n" + b"x" * 78 + b"\r\n"
    await put(account, "INBOX", LETTERS[0], LETTERS[1], large + b"y" * 1_100_000, large + b"z" * 1_100_000)
    table = account.find("INBOX")
    expected = await boxes_of(account)
    for row in (1, 2):
        await account.store.delete([body_name(table.contents[row])])
    for kind in ("dovecot", "mbox"):
        report = await export(account, tmp_path / kind, kind)
        assert report.lost and report.mailboxes[0].lost == 2 and report.mailboxes[0].written == 2
        assert [fault.origin for fault in report.faults] == ["INBOX, UID 2", "INBOX, UID 3"]
        mails = (
            exports.maildir(tmp_path / kind).mails
            if kind == "dovecot"
            else dict(exports.mbox(tmp_path / kind / "INBOX.mbox"))
        )
        assert mails.keys() == {1, 4}
        wanted = expected["INBOX"].mails[4]
        assert mails[4] == (wanted if kind == "dovecot" else _in_mbox(wanted))
        assert (await export(account, tmp_path / kind, kind)).lost  # until it is there, or removed
    world.expected = await world.audit()


async def test_large_letters_come_in_pieces(account: Account, tmp_path: Path) -> None:
    large = b"Subject: large\r\n\r\n" + b"a line of it\r\nFrom x\r\n" * 50_000
    await put(account, "INBOX", LETTERS[0], large, LETTERS[1])
    for kind in ("dovecot", "mbox"):
        await check(account, tmp_path / kind, await export(account, tmp_path / kind, kind))


async def test_keywords_that_have_no_letter_are_said(account: Account, tmp_path: Path) -> None:
    await put(account, "INBOX", LETTERS[0], flags=[f"often{n}" for n in range(20)])
    await export(account, tmp_path)
    kept = (tmp_path / "dovecot-keywords").read_text()
    await put(account, "INBOX", LETTERS[0], LETTERS[0], flags=[f"later{n}" for n in range(8)])
    report = await export(account, tmp_path)
    said = {fault.what.split("keyword ")[1].split(",")[0] for fault in report.faults}
    assert said == {"later6", "later7"} and not report.lost
    assert (tmp_path / "dovecot-keywords").read_text().startswith(kept)
    mails = exports.maildir(tmp_path).mails
    assert mails[2].flags == {f"later{n}" for n in range(6)}
    # A letter that no message has any more goes to another keyword.
    await account.store_flags(account.find("INBOX"), [1], "-", ["often3", "often19"])
    report = await export(account, tmp_path)
    assert report.faults == []
    await check(account, tmp_path, report)


async def test_mail_of_others_is_left_alone(account: Account, tmp_path: Path) -> None:
    await account.create_mailbox("Work")
    await put(account, "INBOX", *LETTERS[:2])
    await export(account, tmp_path)
    (tmp_path / ".Work" / "new" / "1700000000.M1P2.elsewhere").write_bytes(b"delivered")
    await put(account, "Work", LETTERS[0])
    await put(account, "INBOX", LETTERS[2])
    before = files_of(tmp_path / ".Work")
    report = await export(account, tmp_path)
    assert report.lost and [fault.origin for fault in report.faults] == ["Work"]
    assert files_of(tmp_path / ".Work") == before
    assert len(exports.maildir(tmp_path).mails) == 3
    await account.delete_mailbox("Work")
    report = await export(account, tmp_path)
    assert not report.lost and [fault.origin for fault in report.faults] == [".Work"]
    assert files_of(tmp_path / ".Work") == before
    (tmp_path / ".Work" / "new" / "1700000000.M1P2.elsewhere").unlink()
    assert (await export(account, tmp_path)).gone == [".Work"]
    assert not (tmp_path / ".Work").exists()


async def test_an_mbox_that_others_have_changed_is_left_alone(account: Account, tmp_path: Path) -> None:
    await put(account, "INBOX", *LETTERS[:2])
    await export(account, tmp_path, "mbox")
    with (tmp_path / "INBOX.mbox").open("ab") as file:
        file.write(b"From x Thu Jan  1 00:00:00 1970\n\n\n")
    before = files_of(tmp_path)
    report = await export(account, tmp_path, "mbox")
    assert report.lost and files_of(tmp_path) == before
    (tmp_path / "INBOX.mbox").unlink()
    await check(account, tmp_path, await export(account, tmp_path, "mbox"))


async def test_headers_that_an_mbox_has_uses_for_are_not_taken_from_letters(
    account: Account, tmp_path: Path
) -> None:
    letter = b"Status: D\r\nX-UID: 7\r\n\tfolded\r\nSubject: x\r\nx-status : F\r\nContent-Length: 1\r\n"
    letter += b"\r\nX-UID: 9\r\n"
    await put(account, "INBOX", letter)
    await export(account, tmp_path, "mbox")
    [(uid, mail)] = exports.mbox(tmp_path / "INBOX.mbox")
    assert uid == 1 and mail.flags == frozenset()
    assert mail.content == b"Subject: x\r\n\r\nX-UID: 9\r\n"


async def test_files_are_for_their_owner_only(account: Account, tmp_path: Path) -> None:
    await fill(account)
    old = os.umask(0)
    try:
        for kind, layout in KINDS:
            await export(account, tmp_path / f"{kind}{layout}", kind, layout)
    finally:
        os.umask(old)
    for each in [tmp_path / f"{kind}{layout}" for kind, layout in KINDS]:
        for found in (each, *each.rglob("*")):
            assert stat.S_IMODE(found.stat().st_mode) == (0o700 if found.is_dir() else 0o600), found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_all_files_have_the_owner_that_is_asked_for(account: Account, tmp_path: Path) -> None:
    await fill(account)
    top = tmp_path / "example.org"
    await export(account, top / "a", owner=Owner(1234, 2345))
    found = {(each.stat().st_uid, each.stat().st_gid) for each in (top, *top.rglob("*"))}
    assert found == {(1234, 2345)}


def test_owners_are_names_or_numbers() -> None:
    assert owner_of("0") == owner_of("root") == owner_of("root:root") == owner_of("0:0") == Owner(0, 0)
    assert owner_of("54321:12") == Owner(54321, 12)
    for wrong in ("", "no-such-user", "root:", "root:no-such-group", "54321"):
        with pytest.raises(BadConfiguration):
            owner_of(wrong)


async def test_only_a_folder_that_is_empty_or_ours_is_written_to(world: World, tmp_path: Path) -> None:
    account = await world.open()
    other = await world.open("22" * 16)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    await export(account, tmp_path / "done")
    (tmp_path / "damaged").mkdir()
    refused: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: export(account, tmp_path / "mine"), Refused),
        (lambda: export(account, tmp_path / "mine" / "file"), Refused),
        (lambda: export(other, tmp_path / "done"), Refused),
        (lambda: export(account, tmp_path / "done", "mbox"), Refused),
        (lambda: export(account, tmp_path / "done", "dovecot", "fs"), Refused),
        (lambda: export(account, tmp_path / "damaged"), Damaged),
    ]
    record = tmp_path / "damaged" / "aerogramme-export"
    said = {"version": 1, "kind": "dovecot", "layout": "maildir++", "account": account.id}
    made = [{path: {"mailbox": "1"}} for path in ("../x", "x//y", "/x", "x\0y", "\ud800")]
    strange = [json.dumps(said | {"made": each}) for each in (*made, {"x": {}})]
    for text in ("{", "[]", "[" * 100_000, *strange):
        record.write_text(text)
        before = files_of(tmp_path)
        for run, error in refused:
            with pytest.raises(error):
                await run()
        assert files_of(tmp_path) == before
    record.write_text('{"version": 2}')
    with pytest.raises(BadConfiguration):
        await export(account, tmp_path / "damaged")


async def test_two_exports_do_not_write_at_the_same_time(account: Account, tmp_path: Path) -> None:
    held = await trio.to_thread.run_sync(Place.begin, tmp_path / "a")
    with pytest.raises(Unavailable):
        await export(account, tmp_path / "a")
    held.close()
    await export(account, tmp_path / "a")


@pytest.mark.parametrize("what", ["cur", ".Work", ".Work/cur", "dovecot-uidlist", "dovecot-keywords", "tmp"])
async def test_no_link_is_followed(account: Account, tmp_path: Path, what: str) -> None:
    """The owner of the folder may be a user of this machine, and the export be made by root."""
    await account.create_mailbox("Work")
    await put(account, "Work", LETTERS[0], flags=("word",))
    await put(account, "INBOX", LETTERS[0], flags=("word",))
    path, elsewhere = tmp_path / "a", tmp_path / "elsewhere"
    await export(account, path)
    for part in ("cur", "new", "tmp"):
        (elsewhere / part).mkdir(parents=True)
    (elsewhere / "file").write_bytes(b"of somebody else")
    target = path / what
    if target.is_dir():
        shutil.rmtree(target)
        target.symlink_to(elsewhere)
    else:
        target.unlink()
        target.symlink_to(elsewhere / "file")
    before = files_of(elsewhere)
    await put(account, "INBOX", LETTERS[1], flags=("other",))
    try:
        await check(account, path, await export(account, path))
    except Refused:
        assert target.is_symlink()
    assert files_of(elsewhere) == before
    assert (elsewhere / "file").read_bytes() == b"of somebody else"


async def test_what_an_earlier_run_made_is_removed_only_inside(account: Account, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "a", tmp_path / "elsewhere"
    await account.create_mailbox("Work")
    await put(account, "Work", LETTERS[0])
    await export(account, path)
    shutil.move(path / ".Work", elsewhere)
    (path / ".Work").symlink_to(elsewhere)
    await account.delete_mailbox("Work")
    before = files_of(elsewhere)
    with pytest.raises(Refused):
        await export(account, path)
    assert files_of(elsewhere) == before


async def test_an_account_as_it_stood(account: Account, tmp_path: Path) -> None:
    await put(account, "INBOX", LETTERS[0])
    expected = await boxes_of(account)
    then = moment(account)
    later(account)
    await put(account, "INBOX", LETTERS[1])
    await account.create_mailbox("later")
    past = await past_of(account, then)
    report = await export(past, tmp_path)
    assert {each.name for each in report.mailboxes} == expected.keys()
    assert exports.maildir(tmp_path) == expected["INBOX"]
    await past.aclose()


async def test_uidnext_is_never_less_than_it_was(account: Account, tmp_path: Path) -> None:
    """What Dovecot has given and taken away is not given again."""
    await put(account, "INBOX", LETTERS[0])
    await export(account, tmp_path)
    uidlist = tmp_path / "dovecot-uidlist"
    uidlist.write_text(uidlist.read_text().replace(" N2 ", " N9 "))
    await export(account, tmp_path)
    assert exports.maildir(tmp_path).uidnext == 9
    uidlist.write_text("3 V7 N99 G00\n")
    await export(account, tmp_path)
    assert exports.maildir(tmp_path).uidnext == 2


async def test_the_uidvalidity_of_new_mailboxes_is_above_all_there_were(
    account: Account, tmp_path: Path
) -> None:
    await export(account, tmp_path)
    last = account.state.last_uidvalidity
    assert names_in(tmp_path, "dovecot-uidvalidity.*") == [f"dovecot-uidvalidity.{last:08x}"]
    assert (tmp_path / "dovecot-uidvalidity").read_text() == f"{last:08x}"
    (tmp_path / "dovecot-uidvalidity").write_text(f"{last + 5:08x}")
    await export(account, tmp_path)
    assert names_in(tmp_path, "dovecot-uidvalidity.*") == [f"dovecot-uidvalidity.{last + 5:08x}"]


@pytest.mark.parametrize("layout", ["maildir++", "fs"])
def test_folders_of_dovecot(layout: Layout) -> None:
    plain = spell(["INBOX", "a", "a/b", "x\\y", "Größe"], layout)
    dotted = layout == "maildir++"
    assert not plain.escaped and not plain.renamed
    assert plain.folders["INBOX"] == [] and plain.folders["x\\y"] == [".x\\y" if dotted else "x\\y"]
    assert plain.folders["a/b"] == ([".a.b"] if dotted else ["a", "b"])
    odd = spell(
        ["INBOX", "~a", "b/~c", "x\\y", "a.b/c", "cur", "cur_", "cur/x", "é" * 125, "/".join(["x" * 90] * 4)],
        layout,
    )
    assert odd.escaped
    assert odd.folders["~a"] == [".\\7ea" if dotted else "\\7ea"]
    assert odd.folders["b/~c"] == ([".b.\\7ec"] if dotted else ["b", "\\7ec"])
    assert odd.folders["x\\y"] == [".x\\5cy" if dotted else "x\\5cy"]
    assert odd.folders["a.b/c"] == ([".a\\2eb.c"] if dotted else ["a.b", "c"])
    assert odd.renamed.get("cur") == (None if dotted else "cur__")
    assert odd.renamed.get("cur/x") == (None if dotted else "cur_/x")
    assert odd.renamed["é" * 125].startswith("Mailbox ")
    assert ("/".join(["x" * 90] * 4) in odd.renamed) == dotted
    assert len({tuple(folders) for folders in odd.folders.values()}) == len(odd.folders)
    assert odd.subscription("cur") == odd.renamed.get("cur", "cur")
