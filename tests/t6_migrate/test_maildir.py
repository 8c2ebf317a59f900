"""Maildirs that a real Dovecot has written: read as its IMAP shows them."""

import os
import shutil
from pathlib import Path

import pytest

from aerogramme.errors import Unreadable
from aerogramme.imap import mutf7
from aerogramme.migrate.sources.maildir.maildir import Maildir, Options
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.dovecot import Dovecot, append, dovecot
from tests.helpers.dovecot_use import BOXES, NAMES, fill, letter
from tests.helpers.source_reading import read_all, said, same_as_imap

pytestmark = pytest.mark.clients


async def is_read_as_imap_shows_it(server: Dovecot, options: Options, naming: Naming | None = None) -> None:
    source = Maildir(server.home / "Maildir", naming or Naming(), options)
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
    ("location", "options"),
    [
        ("", Options()),
        (":LAYOUT=fs", Options()),
        (":UTF-8", Options()),
        (":CONTROL=~/control:INDEX=~/index", Options(control=Path("control"), index=Path("index"))),
        (":LAYOUT=fs:CONTROL=~/control", Options("fs", control=Path("control"))),
        (":INBOX=~/inbox", Options(inbox=Path("inbox"))),
    ],
)
async def test_a_maildir_is_read_as_imap_shows_it(location, options) -> None:
    with dovecot("maildir:~/Maildir" + location) as server:
        fill(server)
        there = {
            name: server.home / getattr(options, name)
            for name in ("control", "index", "inbox")
            if getattr(options, name)
        }
        naming = Naming(utf8=location == ":UTF-8")
        await is_read_as_imap_shows_it(server, Options(layout=options.layout, **there), naming)


@pytest.mark.parametrize("kind", ["gz", "bz2", "zstd", "lz4"])
async def test_compressed_letters_are_read_as_imap_shows_them(kind) -> None:
    settings = f"mail_plugins = zlib\nplugin {{\n  zlib_save = {kind}\n}}\n"
    with dovecot("maildir:~/Maildir", settings) as server:
        fill(server)
        await is_read_as_imap_shows_it(server, Options())


@pytest.mark.parametrize("layout", ["", ":LAYOUT=fs"])
async def test_names_that_the_listescape_plugin_has_escaped(layout) -> None:
    names = ["a.b/c.d", "~x", "back\\slash", "Entwürfe.ä", "pct%25"]
    with dovecot(f"maildir:~/Maildir{layout}", "mail_plugins = listescape\n") as server:
        with server.imap() as client:
            for name in names:
                spelled = mutf7.encode(name).decode().replace("\\", "\\\\")
                assert client.create(f'"{spelled}"')[0] == client.subscribe(f'"{spelled}"')[0] == "OK"
        source = Maildir(server.home / "Maildir", Naming(escape="\\"))
        assert {folder.name: folder.subscribed for folder in await source.folders()} == {
            "INBOX": False,
            **dict.fromkeys(names, True),
        }
        assert not source.faults


async def test_mail_that_dovecot_has_not_seen_gets_the_uids_that_dovecot_would_give() -> None:
    names = [
        "1600000001.M10P1.h", "1600000001.M9P1.h", "1600000001.M9P1_2.h", "1600000001.M9P1_10.h", "abc",
        "999.z", "1600000001.A", "1600000002.5.h", "1600000001.10.h", "1600000001.9.h", "1600000001.m8P1.h",
        "0", "xyz", "1600000001.M000009P1.h",
    ]  # fmt: skip
    with dovecot("maildir:~/Maildir") as server:
        with server.imap() as client:
            append(client, "INBOX", letter(1), ["known"])
        for number, name in enumerate(names):
            path = server.home / "Maildir" / ("new" if number % 3 else "cur") / f"{name}:2,aFcS"
            path.write_bytes(letter(number))
            os.utime(path, (1600000000 + number, 1600000000 + number))
            if os.geteuid() == 0:
                shutil.chown(path, "nobody", "nogroup")
        left = Maildir(server.home / "Maildir", Naming())
        assert list((await read_all(left))["INBOX"].mails) == [1]
        [fault] = left.faults
        assert fault.lost and "no UID yet to 14 of its files" in fault.what

        source = Maildir(server.home / "Maildir", Naming(), Options(settled=True))
        box = (await read_all(source))["INBOX"]
        assert len(box.mails) == 15
        assert [fault.done for fault in source.faults] == ["it is called unknown-2, as Dovecot calls it"]
        same_as_imap(box.mails, server.messages("INBOX")[2])


async def test_a_file_that_gets_another_name_while_it_is_read_is_found() -> None:
    with dovecot("maildir:~/Maildir") as server:
        with server.imap() as client:
            for number in range(100):
                append(client, "INBOX", letter(number % 5))
        source = Maildir(server.home / "Maildir", Naming())
        [inbox] = await source.folders()
        messages = await source.messages(inbox)
        with server.imap() as client:
            client.select("INBOX")
            client.uid("STORE", "1:100", "+FLAGS", "(\\Seen)")
            client.uid("STORE", "10:19", "+FLAGS", "(\\Deleted)")
            client.expunge()
        read = [letter.uid async for letter in source.letters(inbox, messages.uids)]  # type: ignore[union-attr]
        assert read == [uid for uid in range(1, 101) if not 10 <= uid <= 19]
        assert not source.faults


PASSWORD = "plugin/mail_crypt_private_password=secret"
CRYPT = """mail_attribute_dict = file:%h/attributes
mail_plugins = mail_crypt
plugin {
  mail_crypt_curve = prime256v1
  mail_crypt_save_version = 2
  mail_crypt_require_encrypted_user_key = yes
  mail_crypt_private_password = secret
}
"""


async def test_mail_crypt_is_refused_with_the_line_that_helps() -> None:
    with dovecot("maildir:~/Maildir", CRYPT) as server:
        server.doveadm("-o", PASSWORD, "mailbox", "cryptokey", "generate", "-U")
        with server.imap() as client:
            for number in range(3):
                append(client, "INBOX", letter(number), ["work"])
        with pytest.raises(Unreadable) as refused:
            await Maildir(server.home / "Maildir", Naming()).folders()
        hint = refused.value.hint
        words = hint[hint.index("-o ") : hint.index(", and import")].replace("-u USER ", "").split()
        plain = server.home / "plain"
        line = [word.replace("PASSWORD", "secret").replace("/a/folder", str(plain)) for word in words]
        server.doveadm(*line)
        source = Maildir(plain, Naming())
        box = (await read_all(source))["INBOX"]
        assert not source.faults
        uidvalidity, _, seen = server.messages("INBOX")
        assert box.folder.uidvalidity == uidvalidity
        same_as_imap(box.mails, seen)
