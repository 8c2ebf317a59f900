"""All that a source gives, read to the end: what tests compare with what IMAP shows."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Source
from tests.helpers.dovecot import Seen


@dataclass(frozen=True, slots=True)
class Mail:
    """A message of a source. `content` is None, and `fault` says why, for one that could not be read."""

    flags: frozenset[str]
    date: int
    size: int
    content: bytes | None
    fault: str = ""


@dataclass(slots=True)
class Box:
    folder: Folder
    mails: dict[int, Mail] = field(default_factory=dict)


async def read_all(source: Source) -> dict[str, Box]:
    """Every mailbox by its name here, and every message of it by its UID."""
    found: dict[str, Box] = {}
    for folder in await source.folders():
        box = found[folder.name] = Box(folder)
        messages = await source.messages(folder)
        assert list(messages.uids) == sorted(set(messages.uids))
        read: dict[int, bytes | str] = {}
        faults: list[Fault] = []
        async with aclosing(source.letters(folder, list(messages.uids))) as letters:
            async for letter in letters:
                if isinstance(letter, Letter):
                    try:
                        read[letter.uid] = b"".join([piece async for piece in letter.pieces])
                    except Unreadable as e:
                        read[letter.uid] = str(e)
                else:
                    faults.append(letter)
        missing = [uid for uid in messages.uids if uid not in read]
        assert len(faults) <= len(missing)  # what is gone has none
        rows = zip(messages.uids, messages.dates, messages.sizes, messages.flags, strict=True)
        for uid, date, size, flags in rows:
            content = read.get(uid)
            if isinstance(content, bytes):
                box.mails[uid] = Mail(frozenset(flags), date, size, content)
            else:
                said = content or "; ".join(f"{fault.origin}: {fault.what}" for fault in faults)
                box.mails[uid] = Mail(frozenset(flags), date, size, None, said)
    await source.aclose()
    return found


def same_as_imap(mails: dict[int, Mail], seen: dict[int, Seen]) -> None:
    """Fails unless a source gives what IMAP shows: UIDs, flags, dates, sizes where it says them, octets."""
    assert sorted(mails) == sorted(seen)
    for uid, mail in mails.items():
        shown = seen[uid]
        assert mail.content == shown.content, (uid, mail.fault)
        assert mail.flags == shown.flags, uid
        assert mail.date == unix(shown.date), uid
        assert mail.size in (0, shown.size), uid


def unix(internaldate: str) -> int:
    """Unix seconds of an INTERNALDATE."""
    return int(datetime.strptime(internaldate.strip(), "%d-%b-%Y %H:%M:%S %z").timestamp())


def said(faults: Iterable[Fault]) -> list[str]:
    """Faults as lines, in order."""
    return sorted(f"{fault.origin}: {fault.what}: {fault.done}" for fault in faults)
