"""What programs write into the files that are made."""

import os
import re
from pathlib import Path

import pytest
import trio

from tests.helpers.mounted import Mount, Mounts, filled, opened


def replace(file: Path, text: str) -> None:
    """As programs do that never leave a file half written."""
    (new := file.with_name(f"{file.name}.lock")).write_text(text)
    new.rename(file)


def flags_and_subscriptions(data: Path) -> tuple[dict[int, set[str]], set[str]]:
    """By UID, in INBOX."""

    async def look() -> tuple[dict[int, set[str]], set[str]]:
        async with opened(data) as account:
            table = account.find("INBOX")
            flags = [set(account.flags_of(number)) for number in table.flags]
            return dict(zip(table.uids, flags, strict=True)), set(account.subscriptions())

    return trio.run(look)


def letter(mount: Mount, uid: int) -> Path:
    [file] = [file for part in ("new", "cur") for file in (mount.path / part).glob(f"*,U={uid}*")]
    return file


def test_keywords_get_letters_before_they_are_used(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [b"Subject: one\r\n\r\n"], ["Old"])
    filled(mounted.data, "INBOX", [b"Subject: two\r\n\r\n"] * 2)
    mount = mounted("--rw")
    keywords = mount.path / "dovecot-keywords"
    assert keywords.read_text() == "0 Old\n"
    replace(keywords, "0 Old\n1 Work\n2 $Label1\n")
    assert keywords.read_text() == "0 Old\n1 Work\n2 $Label1\n"
    assert sorted(os.listdir(mount.path)).count("dovecot-keywords") == 1
    # The last one is used first; with each the program finds the file under the name that it gave.
    for uid, letters in (2, "c"), (3, "Sbc"), (2, "Fac"):
        file = letter(mount, uid)
        named = mount.path / "cur" / f"{file.name.partition(':')[0]}:2,{letters}"
        file.rename(named)
        assert named.exists() and letter(mount, uid) == named
    assert keywords.read_text() == "0 Old\n1 Work\n2 $Label1\n"
    flags, _ = flags_and_subscriptions(mounted.data)
    assert flags == {1: {"Old"}, 2: {"\\Flagged", "Old", "$Label1"}, 3: {"\\Seen", "Work", "$Label1"}}


@pytest.mark.parametrize("text", ["0 Other\n1 Work\n", "1 Work\n", "", "no keywords", "0 Old\n1 a(b\n"])
def test_letters_that_are_taken_stay(mounted: Mounts, text: str) -> None:
    filled(mounted.data, "INBOX", [b"Subject: one\r\n\r\n"], ["Old"])
    mount = mounted("--rw")
    replace(mount.path / "dovecot-keywords", text)
    assert (mount.path / "dovecot-keywords").read_text() == "0 Old\n"
    (mount.path / "dovecot-keywords").write_text("0 Old\n1 Work\n")  # in its place
    assert (mount.path / "dovecot-keywords").read_text() == "0 Old\n1 Work\n"


def test_subscriptions(mounted: Mounts) -> None:
    filled(mounted.data, "Lists/Café", [])
    mount = mounted("--rw")
    file = mount.path / "subscriptions"
    said = file.read_text()
    assert said.startswith("V\t2\n\n") and "Lists\tCaf&AOk-\n" in said
    replace(file, said.replace("Sent\n", "").replace("Lists\tCaf&AOk-\n", "") + "Lists\tna&AO8-ve\n")
    _, names = flags_and_subscriptions(mounted.data)
    assert "Lists/naïve" in names and not {"Sent", "Lists/Café"} & names
    assert sorted(file.read_text().splitlines()) == sorted(
        line for line in [*said.splitlines(), "Lists\tna&AO8-ve"] if line not in ("Sent", "Lists\tCaf&AOk-")
    )
    now = file.read_text()
    replace(file, "of another version\n")
    assert file.read_text() == now


def test_a_file_is_what_was_written_while_it_is_open(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [b"Subject: one\r\n\r\n"])
    mount = mounted("--rw")
    file = mount.path / "dovecot-uidlist"
    said = file.read_bytes()
    with file.open("r+b", buffering=0) as opened_file:
        opened_file.seek(0, os.SEEK_END)
        opened_file.write(b"2 :another\n")
        assert os.fstat(opened_file.fileno()).st_size == len(said) + 11
        opened_file.seek(0)
        assert opened_file.read() == said + b"2 :another\n"
        opened_file.truncate(3)
        opened_file.seek(0)
        assert opened_file.read() == said[:3]
        assert file.read_bytes() == said  # to others it is what it is
    assert file.read_bytes() == said and file.stat().st_size == len(said)


def test_a_letter_has_the_uid_that_mbsync_gave_it_or_is_refused(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [b"Subject: one\r\n\r\n"])
    mount = mounted("--rw")

    def bring(name: str) -> None:
        (mount.path / "tmp" / name).write_text(f"Subject: {name}\n\n")
        (mount.path / "tmp" / name).rename(mount.path / "new" / name)

    with (mount.path / ".uidvalidity").open("r+b", buffering=0) as noted:
        uidvalidity = noted.read().split()[0]

        def give(uid: int) -> None:
            noted.seek(0)
            line = b"%s\n%d\n" % (uidvalidity, uid)
            noted.write(line)
            noted.truncate(len(line))

        give(2)
        bring("1.a.here,U=2")
        give(3)
        filled(mounted.data, "INBOX", [b"Subject: another\r\n\r\n"])  # which has the UID now
        with pytest.raises(FileExistsError):
            bring("1.b.here,U=3")
        bring("1.c.here,U=1")  # a name from elsewhere, which nobody has given here
    shown = {
        int(re.findall(r",U=(\d+)$", file.name)[0]): file.read_bytes()
        for file in (mount.path / "new").iterdir()
    }
    assert shown == {
        1: b"Subject: one\n\n",
        2: b"Subject: 1.a.here,U=2\n\n",
        3: b"Subject: another\n\n",
        4: b"Subject: 1.c.here,U=1\n\n",
    }
    assert (mount.path / "tmp" / "1.b.here,U=3").exists()  # nothing is lost
    assert (mount.path / ".uidvalidity").read_text().split()[1] == "4"


def test_a_program_finds_what_it_has_named(mounted: Mounts) -> None:
    """With flags in new/, as neomutt delivers; in another order; with letters of no meaning; with none."""
    mount = mounted("--rw")
    for n, (part, info) in enumerate([("new", ":2,F"), ("cur", ":2,SF"), ("cur", ":2,FZ"), ("cur", "")]):
        named = mount.path / part / f"{n}.M1.here{info}"
        (mount.path / "tmp" / named.name).write_text(f"Subject: {n}\n\n")
        (mount.path / "tmp" / named.name).rename(named)
        os.utime(named, (1_000_000_000, 1_000_000_000))
        assert named.read_text() == f"Subject: {n}\n\n"
        assert named.name not in os.listdir(named.parent)  # listed under its own name, once
    assert sorted(file.name.partition(":2,")[2] for file in (mount.path / "cur").iterdir()) == [
        "",
        "F",
        "F",
        "FS",
    ]
    assert not any((mount.path / "new").iterdir())
    named.unlink()
    assert not named.exists() and len(os.listdir(mount.path / "cur")) == 3
