"""Files with one letter each: what they are, their dates, and what is broken."""

import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.eml import Eml, _date, looks_like
from aerogramme.migrate.sources.naming import Naming
from tests.helpers.source_reading import read_all, said

JAN = 1578391200
SENT = b"Date: Tue, 7 Jan 2020 11:00:00 +0100\n"
RECEIVED = b"Received: from x by y (z; w)\n\twith SMTP; Wed, 8 Jan 2020 10:00:00 +0000 (UTC)\n"
RECEIVED += b"Received: older; 1 Jan 2020\n"


@pytest.mark.parametrize(
    ("letter", "date"),
    [
        (SENT + b"\nx", JAN),
        (RECEIVED + SENT + b"\nx", JAN + 86400),
        (SENT + RECEIVED + b"\nx", JAN + 86400),
        (b"Received: by nobody; never\n" + SENT + b"\nx", JAN),
        (b"DATE:\n Tue, 7 Jan 2020\n 10:00:00 GMT\n\nx", JAN),
        (b"Subject: x\n\n" + SENT, None),
        (b"Date: yesterday\n\n", None),
        (b"Date: Tue, 7 Jan 99999 10:00:00 GMT\n\n", None),
        (b"", None),
    ],
)
def test_a_letter_has_a_date(letter, date) -> None:
    assert _date(letter) == date
    assert _date(letter.replace(b"\n", b"\r\n")) == date


@given(st.binary(max_size=60))
def test_any_date_is_one_or_none(text) -> None:
    _date(b"Received: x; " + text + b"\nDate: " + text + b"\n\n")


async def test_folders_are_mailboxes_and_files_are_letters_by_date(tmp_path) -> None:
    root = tmp_path / "Old mail"
    (root / "Sent" / "2019").mkdir(parents=True)
    (root / "Entwürfe").mkdir()
    (root / "Entwürfe" / "R&D.EML").write_bytes(SENT + b"\nd\0\n")
    (root / "2.eml").write_bytes(SENT + b"\n2\n")
    (root / "1.eml").write_bytes(RECEIVED + b"\n1\r\n")
    (root / "3.eml.gz").write_bytes(gzip.compress(b"\n3\n"))
    (root / "4.eml.gz").write_bytes(gzip.compress(b"\n3\n" * 9999)[:-9])
    (root / "Sent" / "2019" / "a.eml").write_bytes(b"Date: Mon, 1 Jan 1940 00:00:00 +0000\n\na\n")
    (root / "Sent" / "picture.png").write_bytes(b"")
    (root / "5.eml").symlink_to("1.eml")
    (root / "linked").symlink_to("Sent")
    for name in "3.eml.gz", "4.eml.gz":
        os.utime(root / name, (JAN - 5, JAN - 5))
    source = Eml(root, Naming())
    found = await read_all(source)
    assert list(found) == ["Entwürfe", "Old mail", "Sent/2019"]
    assert [(m.date, m.content) for m in found["Old mail"].mails.values()] == [
        (0, None),
        (JAN - 5, b"\r\n3\r\n"),
        (JAN - 5, None),
        (JAN, SENT.replace(b"\n", b"\r\n") + b"\r\n2\r\n"),
        (JAN + 86400, RECEIVED.replace(b"\n", b"\r\n") + b"\r\n1\r\n"),
    ]
    assert "5.eml: it is a symbolic link" in found["Old mail"].mails[1].fault
    assert "4.eml.gz: it cannot be read" in found["Old mail"].mails[3].fault
    assert [mail.date for mail in found["Sent/2019"].mails.values()] == [0]
    assert [line.replace(str(root), "") for line in said(source.faults)] == [
        "/Entwürfe/R&D.EML: it has NULs: they are octets 0x80, as Dovecot shows them",
        "/Sent/2019/a.eml: its time is -946771200 seconds after 1970: it gets the nearest from 1970 to 2106",
        "/Sent: 1 files have not the ending .eml, such as picture.png: they are passed over",
        "/linked: it is a symbolic link: it is left out: import it by its own path",
    ]
    assert looks_like(root) and looks_like(root / "1.eml") and not looks_like(root / "Sent" / "picture.png")


async def test_one_file_is_a_mailbox_with_one_letter(tmp_path) -> None:
    root = tmp_path / "Work"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.eml").write_bytes(b"\n%d\n" % number)
    assert list(await read_all(Eml(root, Naming(), "Old/Post"))) == ["Old/Post"]
    (root / "1.eml").write_bytes(b"\x1f\x8b\x08 mail")  # which is not compressed, for it is not called so
    [box] = (await read_all(Eml(root / "1.eml", Naming()))).values()
    assert box.folder.name == "Work"
    assert [mail.content for mail in box.mails.values()] == [b"\x1f\x8b\x08 mail"]


async def test_where_there_is_no_letter_is_unreadable(tmp_path) -> None:
    (tmp_path / "x.txt").write_text("")
    for path in tmp_path, tmp_path / "x.txt", tmp_path / "nothing":
        with pytest.raises(Unreadable):
            await Eml(path, Naming()).folders()


async def test_a_folder_with_the_name_of_the_one_above_is_another_mailbox(tmp_path) -> None:
    root = tmp_path / "Saved"
    (root / "Saved").mkdir(parents=True)
    (root / "a.eml").write_bytes(b"above")
    (root / "Saved" / "b.eml").write_bytes(b"below")
    found = await read_all(Eml(root, Naming()))
    contents = {name: [mail.content for mail in box.mails.values()] for name, box in found.items()}
    assert contents == {"Saved": [b"above"], "Saved_": [b"below"]}
