"""What is in an export, read as the programs do that it is made for; nothing of ours is used for it."""

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from aerogramme.mailbox.account import Account

LETTERS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
STATUS = {"A": "\\Answered", "F": "\\Flagged", "T": "\\Draft", "D": "\\Deleted"}


class Mail(NamedTuple):
    flags: frozenset[str]
    date: int
    content: bytes


class Box(NamedTuple):
    uidvalidity: int
    uidnext: int
    mails: dict[int, Mail]


def shown(content: bytes) -> bytes:
    """What IMAP shows of a file: a LF without CR before it gets one."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", content)


async def boxes_of(account: Account) -> dict[str, Box]:
    """The mailboxes of an account, as an export should have them."""
    boxes = {}
    for name, mailbox in account.state.names.items():
        table = account.state.tables[mailbox]
        mails = {}
        for row, uid in enumerate(table.uids):
            content = shown(await account.body(table.contents[row]))
            mails[uid] = Mail(frozenset(account.flags_of(table.flags[row])), table.dates[row], content)
        boxes[name] = Box(table.uidvalidity, table.uidnext, mails)
    return boxes


def maildir(folder: Path, *, dovecot: bool = True) -> Box:
    """One Maildir; Dovecot takes UIDs from its list, others from the names of files."""
    keywords = {}
    if (folder / "dovecot-keywords").exists():
        for line in (folder / "dovecot-keywords").read_text().splitlines():
            number, keyword = line.split(" ")
            keywords[chr(ord("a") + int(number))] = keyword
    files = {}
    for part in ("cur", "new"):
        for path in (folder / part).iterdir():
            base, _, info = path.name.partition(":2,")
            assert base not in files and (part == "cur" or ":" not in path.name)
            assert info == "".join(sorted(set(info)))
            files[base] = path, frozenset((LETTERS | keywords)[letter] for letter in info)
    assert list((folder / "tmp").iterdir()) == []
    if dovecot:
        head, *lines = (folder / "dovecot-uidlist").read_text().splitlines()
        found = re.fullmatch(r"3 V(\d+) N(\d+) G([0-9a-f]{32})", head)
        assert found
        uidvalidity, uidnext = int(found[1]), int(found[2])
        bases = {int(line.split(" :")[0]): line.split(" :")[1] for line in lines}
        assert list(bases) == sorted(bases) and len(bases) == len(lines)
    else:
        uidvalidity, last = map(int, (folder / ".uidvalidity").read_text().split())
        uidnext = last + 1
        bases = {int(re.search(r",U=(\d+)$", base)[1]): base for base in files}
    assert sorted(bases.values()) == sorted(files)
    mails = {}
    for uid, base in bases.items():
        path, flags = files[base]
        content = path.read_bytes()
        sizes = re.search(r",S=(\d+),W=(\d+)", base)
        assert (int(sizes[1]), int(sizes[2])) == (len(content), len(shown(content)))
        mails[uid] = Mail(flags, int(path.stat().st_mtime), shown(content))
    return Box(uidvalidity, uidnext, mails)


def mbox(path: Path) -> list[tuple[int, Mail]]:
    """The messages of an mbox with their UIDs, 0 for none, in their order. The date is that of the line that
    begins one; its text is not read."""
    raw = path.read_bytes()
    if not raw:
        return []
    assert raw.startswith(b"From ") and raw.endswith(b"\n\n")
    mails = []
    for each in re.split(rb"\n\nFrom ", b"\n\n" + raw[:-2])[1:]:
        line, _, letter = (each + b"\n").partition(b"\n")
        assert line.startswith(b"MAILER-DAEMON ")
        head = {}
        while found := re.match(rb"(X-IMAPbase|X-UID|Status|X-Status|X-Keywords): (.*)\n", letter):
            head[found[1].decode()] = found[2].decode()
            letter = letter[found.end() :]
        assert ("X-IMAPbase" in head) == (not mails)
        flags = {STATUS[letter] for letter in head.get("X-Status", "")}
        flags.update(["\\Seen"] if "R" in head["Status"] else [], head.get("X-Keywords", "").split())
        letter = re.sub(rb"(?m)^>(>*From )", rb"\1", letter)
        mails.append((int(head["X-UID"]), Mail(frozenset(flags), _asctime(line), shown(letter))))
    return mails


def _asctime(line: bytes) -> int:
    date = line.decode().partition(" ")[2]
    return int(datetime.strptime(date, "%a %b %d %H:%M:%S %Y %z").timestamp())
