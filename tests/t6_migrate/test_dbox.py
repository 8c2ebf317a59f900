"""sdbox and mdbox that a real Dovecot has written: read as its IMAP shows them."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox.dbox import Dbox
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.source import Letter
from tests.helpers.dovecot import Dovecot, Seen, append, dovecot, read_messages
from tests.helpers.dovecot_use import BOXES, NAMES, fill, letter
from tests.helpers.source_reading import Box, read_all, said, same_as_imap

pytestmark = pytest.mark.clients

BUSY_LOGS = (  # logs are rotated, and the index is written, as in mailboxes that were used for years
    "mail_index_log_rotate_min_size=1k\nmail_index_log_rotate_max_size=2k\nmail_index_log_rotate_min_age=0\n"
    "mail_index_rewrite_min_log_bytes=1k\n"
)
FORMATS = ["sdbox:~/mail", "mdbox:~/mail"]


def source_of(server: Dovecot, **places: str) -> Dbox:
    where = {name: server.home / path for name, path in places.items()}
    return Dbox(server.home / "mail", Naming(), **where)


async def is_read_as_imap_shows_it(server: Dovecot, source: Dbox) -> None:
    found = await read_all(source)
    assert sorted(found) == sorted(NAMES)
    assert not source.faults, said(source.faults)
    subscribed = server.folders()
    for box, name in zip(BOXES, NAMES, strict=True):
        uidvalidity, uidnext, seen = server.messages(box)
        assert len(seen) >= 9
        folder = found[name].folder
        assert (folder.uidvalidity, folder.uidnext) == (uidvalidity, uidnext)
        assert folder.subscribed == subscribed[box]
        same_as_imap(found[name].mails, seen)
    assert {f.role for f in (box.folder for box in found.values())} == {None, "\\Sent", "\\Drafts"}


@pytest.mark.parametrize(
    ("layout", "settings"), [("", ""), (":LAYOUT=index", BUSY_LOGS), (":UTF-8", BUSY_LOGS)]
)
@pytest.mark.parametrize("location", FORMATS)
async def test_all_is_as_imap_shows_it(location: str, layout: str, settings: str) -> None:
    with dovecot(location + layout, settings) as server:
        fill(server)
        naming = Naming(utf8=layout == ":UTF-8")
        await is_read_as_imap_shows_it(server, Dbox(server.home / "mail", naming))


@pytest.mark.parametrize("location", FORMATS)
async def test_parts_of_a_store_are_elsewhere(location: str) -> None:
    with dovecot(f"{location}:INDEX=~/index:CONTROL=~/control:ALT=~/alt") as server:
        fill(server)
        server.doveadm("altmove", "mailbox", "*", "seen")
        server.doveadm("purge")
        assert list((server.home / "alt").rglob("[mu].*"))
        source = source_of(server, index="index", control="control", alt="alt")
        await is_read_as_imap_shows_it(server, source)


@pytest.mark.parametrize("location", FORMATS)
async def test_a_store_of_which_a_part_is_not_given(location: str) -> None:
    with dovecot(f"{location}:ALT=~/alt") as server:
        fill(server)
        server.doveadm("altmove", "mailbox", "INBOX", "uid", "8:9")
        server.doveadm("purge")  # mdbox: until then there is a copy
        source = source_of(server)
        mails = (await read_all(source))["INBOX"].mails
        assert any("alternative storage" in fault.what for fault in source.faults)
        lost = [fault.origin.rpartition(" ")[2] for fault in source.faults if fault.lost]
        assert lost == ["8", "9"]
        assert not {8, 9} & set(mails)
        with pytest.raises(Unreadable):
            await source_of(server, alt="nowhere").folders()


@pytest.mark.parametrize("location", FORMATS)
async def test_names_are_lost(location: str) -> None:
    """Where folders are called by GUIDs, each mailbox knows its own name, too."""
    with dovecot(f"{location}:LAYOUT=index") as server:
        fill(server)
        server.doveadm("mailbox", "status", "messages", "*")
        expected = {box: server.messages(box) for box in BOXES}
        remove(server.home / "mail", "dovecot.list.index*")
        source = source_of(server)
        found = await read_all(source)
        assert sorted(found) == sorted(NAMES)
        for box, name in zip(BOXES, NAMES, strict=True):
            assert found[name].folder.uidvalidity == expected[box][0]
            same_as_imap(found[name].mails, expected[box][2])
        assert source.faults
        assert not any(fault.lost for fault in source.faults)


async def test_folders_are_called_otherwise() -> None:
    with dovecot("sdbox:~/mail:DIRNAME=letters") as server:
        fill(server)
        with pytest.raises(Unreadable, match="No mailbox is found"):
            await source_of(server).folders()


@pytest.mark.parametrize("location", FORMATS)
async def test_dovecot_is_running(location: str) -> None:
    """What a session has done shows at once, though the indexes are not written yet."""
    with dovecot(location) as server:
        fill(server)
        with server.imap() as client:
            client.select("INBOX")
            source = source_of(server)
            inbox = (await source.folders())[0]
            for number in range(20):
                client.uid("STORE", f"{number % 9 + 1}:{number + 1}", "+FLAGS", f"(run{number % 3})")
                client.uid("STORE", f"{number + 1}", "-FLAGS", "(\\Seen work)")
                append(client, "INBOX", letter(number), ["\\Flagged"])
                if number % 4 == 0:
                    client.uid("STORE", f"{number + 1}", "+FLAGS", "(\\Deleted)")
                    client.expunge()
                _, _, seen = read_messages(client, "INBOX")
                client.select("INBOX")
                messages = await source.messages(inbox)
                assert list(messages.uids) == list(seen)
                assert [frozenset(flags) for flags in messages.flags] == [one.flags for one in seen.values()]
        same_as_imap((await read_all(source))["INBOX"].mails, server.messages("INBOX")[2])
        assert not source.faults, said(source.faults)


@pytest.mark.parametrize("location", FORMATS)
async def test_letters_go_while_they_are_read(location: str) -> None:
    with dovecot(location) as server:
        fill(server)
        source = source_of(server)
        inbox = (await source.folders())[0]
        messages = await source.messages(inbox)
        with server.imap() as client:
            client.select("INBOX")
            client.uid("STORE", "1:3", "+FLAGS", "(\\Deleted)")
            client.expunge()
        server.doveadm("purge")  # what is left is in other files now
        letters = [letter async for letter in source.letters(inbox, list(messages.uids))]
        await source.aclose()
        left = server.messages("INBOX")[2]
        assert all(isinstance(letter, Letter) for letter in letters)
        uids = {letter.uid for letter in letters if isinstance(letter, Letter)}
        assert set(left) <= uids <= set(messages.uids)
        assert not source.faults, said(source.faults)


@pytest.mark.parametrize("handler", ["gz", "bz2", "zstd", "lz4"])
@pytest.mark.parametrize("location", FORMATS)
async def test_letters_are_compressed(location: str, handler: str) -> None:
    settings = f"mail_plugins = zlib\nplugin {{\n  zlib_save = {handler}\n}}\n"
    with dovecot(location, settings) as server:
        with server.imap() as client:
            for number in (1, 7, 12):
                append(client, "INBOX", letter(number))
        source = source_of(server)
        found = await read_all(source)
        assert not source.faults, said(source.faults)
        same_as_imap(found["INBOX"].mails, server.messages("INBOX")[2])


@dataclass(frozen=True, slots=True)
class Filled:
    """A store that was used for a while, and what IMAP shows of it."""

    root: Path
    seen: dict[str, tuple[int, int, dict[int, Seen]]]

    def copied(self, folder: Path) -> Path:
        """Another such store, to damage."""
        return shutil.copytree(self.root, folder / "mail")

    async def is_read(self, root: Path, *but: str) -> tuple[Dbox, dict[str, Box]]:
        """What is read of a damaged store. All mailboxes but some are as they were."""
        source = Dbox(root, Naming())
        found = await read_all(source)
        assert sorted(found) == sorted(NAMES)
        for box, name in zip(BOXES, NAMES, strict=True):
            if box not in but:
                uidvalidity, uidnext, seen = self.seen[box]
                assert (found[name].folder.uidvalidity, found[name].folder.uidnext) == (uidvalidity, uidnext)
                same_as_imap(found[name].mails, seen)
        return source, found


@pytest.fixture(scope="module")
def stores() -> Iterator[dict[str, Filled]]:
    with ExitStack() as stack:
        found = {}
        for location in FORMATS:
            server = stack.enter_context(dovecot(location, BUSY_LOGS))
            fill(server)
            assert (server.home / "mail/mailboxes/INBOX/dbox-Mails/dovecot.index.backup").exists()
            found[location] = Filled(server.home / "mail", {box: server.messages(box) for box in BOXES})
        yield found


def remove(folder: Path, *patterns: str) -> None:
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    assert found
    for path in found:
        path.unlink()


def damage(folder: Path, how: str) -> None:
    index, log = folder / "dovecot.index", folder / "dovecot.index.log"
    if how == "no index":
        index.unlink()
    elif how == "no log":
        remove(folder, "dovecot.index.log*")
    elif how == "index cut in its header":
        index.write_bytes(index.read_bytes()[:100])
    elif how == "index is nothing":
        index.write_bytes(bytes(len(index.read_bytes())))
    elif how == "log cut":
        log.write_bytes(log.read_bytes()[:-7])
    elif how == "log is noise":
        data = log.read_bytes()
        log.write_bytes(data[:40] + bytes(n * 7 % 256 for n in range(len(data))))
    elif how == "nothing left":
        remove(folder, "dovecot.index", "dovecot.index.log*", "dovecot.index.backup")


HARMLESS = ["no index", "index cut in its header", "index is nothing"]  # there is the one before, and the log


@pytest.mark.parametrize("how", [*HARMLESS, "no log", "log cut", "log is noise", "nothing left"])
@pytest.mark.parametrize("location", FORMATS)
async def test_indexes_are_damaged(
    stores: dict[str, Filled], tmp_path: Path, location: str, how: str
) -> None:
    """No letter is lost, and none of another mailbox is touched; what was not as it should be is said."""
    filled = stores[location]
    root = filled.copied(tmp_path)
    damage(root / "mailboxes/INBOX/dbox-Mails", how)
    source, found = await filled.is_read(root, "INBOX")
    uidvalidity, uidnext, seen = filled.seen["INBOX"]
    inbox = found["INBOX"]
    if how != "no index":  # its log may have all of it
        assert any("/INBOX/dbox-Mails" in fault.origin for fault in source.faults), said(source.faults)
    lost = [fault.what for fault in source.faults if fault.lost]
    assert not lost or (
        location == "sdbox:~/mail" and lost == ["1 letters that its old index has are not there"]
    )
    mails = inbox.mails
    assert sorted(mail.content or b"" for mail in mails.values()) == sorted(
        one.content for one in seen.values()
    )
    if location == "sdbox:~/mail" or inbox.folder.uidvalidity:
        assert (inbox.folder.uidvalidity, sorted(mails)) == (uidvalidity, sorted(seen))
    if how in HARMLESS:
        assert inbox.folder.uidnext == uidnext
        same_as_imap(inbox.mails, seen)


@pytest.mark.parametrize("how", ["no map", "map is nothing", "map log cut"])
async def test_the_map_is_damaged(stores: dict[str, Filled], tmp_path: Path, how: str) -> None:
    """Letters are found by their GUIDs: all is as it was."""
    filled = stores["mdbox:~/mail"]
    root = filled.copied(tmp_path)
    log = root / "storage/dovecot.map.index.log"
    if how == "no map":
        remove(root / "storage", "dovecot.map.index*")
    elif how == "map is nothing":
        for path in (root / "storage").glob("dovecot.map.index*"):
            path.write_bytes(b"")
    else:
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        remove(root / "storage", "dovecot.map.index")
    source, _ = await filled.is_read(root)
    assert source.faults
    assert not any(fault.lost for fault in source.faults), said(source.faults)


async def test_letters_of_an_sdbox_are_damaged(stores: dict[str, Filled], tmp_path: Path) -> None:
    filled = stores["sdbox:~/mail"]
    root = filled.copied(tmp_path)
    folder = root / "mailboxes/INBOX/dbox-Mails"
    seen = dict(filled.seen["INBOX"][2])
    cut, empty, missing, link, no_file, size = list(seen)[:6]

    def path(uid: int) -> Path:
        return folder / f"u.{uid}"

    path(cut).write_bytes(path(cut).read_bytes()[:80])
    path(empty).write_bytes(b"")
    for uid in (missing, link, no_file):
        path(uid).unlink()
    path(link).symlink_to("/etc/passwd")
    path(no_file).mkdir()
    data = path(size).read_bytes()
    at = data.index(b"\x01\x02N") + 13
    path(size).write_bytes(data[:at] + b"0000000000000007" + data[at + 16 :])
    source, found = await filled.is_read(root, "INBOX")
    lines = said(source.faults)
    mails = found["INBOX"].mails
    lost = {int(fault.origin.rpartition(" ")[2]) for fault in source.faults if fault.lost}
    assert lost == {empty, missing, link, no_file}, lines
    assert any(f"UID {cut}: the file ends after" in line for line in lines), lines
    assert any(f"UID {size}: its size is not 7 octets but" in line for line in lines), lines
    first = mails.pop(cut).content
    assert first and seen.pop(cut).content.startswith(first)
    for uid in lost:
        del seen[uid]
    same_as_imap(mails, seen)


async def test_files_of_an_mdbox_are_damaged(stores: dict[str, Filled], tmp_path: Path) -> None:
    """Of a file that is cut all letters before are read, and what there is of the one that is cut."""
    filled = stores["mdbox:~/mail"]
    root = filled.copied(tmp_path)
    path = root / "storage/m.1"
    data = path.read_bytes()
    # A size that is wrong, noise instead of metadata, and the end is missing.
    header = data.rindex(b"\x01\x02N", 0, data.index(b"Message-ID: <31@"))
    data = data[: header + 13] + b"00000000000FFFFF" + data[header + 29 :]
    noise = data.index(b"\n\x01\x03\n", data.index(b"Message-ID: <10@"))
    data = data[: noise + 2] + b"\x07" + data[noise + 3 :]
    path.write_bytes(data[: data.index(b"Message-ID: <50@")])
    source, found = await filled.is_read(root, *BOXES)
    lines = said(source.faults)
    assert any("its size is not 1048575 octets" in line for line in lines), lines
    assert any("its metadata is missing" in line for line in lines), lines
    assert any("the file ends after" in line for line in lines), lines
    for box, name in zip(BOXES, NAMES, strict=True):
        for uid, one in filled.seen[box][2].items():
            number = int(one.content.split(b"Message-ID: <")[1].split(b"@")[0])
            mail = found[name].mails.get(uid)
            if number > 50:
                assert mail is None
                continue
            assert mail is not None and mail.content
            if number < 50 and number != 10:
                assert mail.content == one.content
            else:  # without metadata the end is where the next message begins
                assert mail.content.startswith(one.content) or one.content.startswith(mail.content)


@pytest.mark.parametrize("location", FORMATS)
async def test_encrypted_mail_is_refused(location: str) -> None:
    settings = (
        "mail_attribute_dict = file:%h/dovecot-attributes\nmail_plugins = mail_crypt\n"
        "plugin {\n  mail_crypt_curve = prime256v1\n  mail_crypt_save_version = 2\n}\n"
    )
    with dovecot(location, settings) as server:
        with server.imap() as client:
            append(client, "INBOX", letter(3))
        source = source_of(server)
        with pytest.raises(Unreadable) as refused:
            await read_all(source)
        await source.aclose()
        assert "doveadm" in refused.value.hint


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("location", FORMATS)
async def test_attachments_are_in_files_of_their_own(location: str, compressed: bool) -> None:
    picture = base64.encodebytes(bytes(range(256)) * 500)
    mail = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n"
        b"--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n%s"
        b"--x\r\nContent-Type: application/x\r\n\r\n%s\r\n"
        b"--x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n%s--x--\r\n"
    ) % (
        picture.replace(b"\n", b"\r\n"),
        b"not coded at all\r\n" * 100,
        picture[:20_000].replace(b"\n", b"\r\n"),
    )
    settings = "mail_attachment_dir = %h/attached\nmail_attachment_min_size = 1k\n"
    settings += "mail_plugins = zlib\nplugin {\n  zlib_save = gz\n}\n" if compressed else ""
    with dovecot(location, settings) as server:
        with server.imap() as client:
            append(client, "INBOX", mail)
            append(client, "INBOX", letter(3))
            client.select("INBOX")
            client.copy("1", "INBOX")
        files = [path for path in (server.home / "attached").rglob("*") if path.is_file()]
        assert len(files) >= 3
        source = source_of(server, attached="attached")
        found = await read_all(source)
        assert not source.faults, said(source.faults)
        seen = server.messages("INBOX")[2]
        assert seen[1].content == mail
        same_as_imap(found["INBOX"].mails, seen)

        source = source_of(server)
        mails = (await read_all(source))["INBOX"].mails
        assert [uid for uid, one in mails.items() if one.content is None] == [1, 3]
        assert "attachments" in mails[1].fault
        for path in files:
            path.unlink()
        source = source_of(server, attached="attached")
        assert "is missing" in (await read_all(source))["INBOX"].mails[1].fault
