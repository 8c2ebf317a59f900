"""Writes small stores of Dovecot's dbox by hand, to damage them."""

from pathlib import Path

from tests.helpers.dovecot_index_writer import Writer

HEADER = b"2 M1e C6b0bbe9f\n"


def guid_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def stored(content: bytes, number: int, date: int, box: str = "INBOX") -> bytes:
    """A letter as it is in a file."""
    wide = len(content) + content.count(b"\n") - content.count(b"\r\n")
    head = b"\x01\x02N" + b" " * 10 + b"%016X\n" % len(content)
    facts = f"R{date:x}\nV{wide:x}\nG{guid_of(number).hex()}\nB{box}\n\n"
    return head + content + b"\n\x01\x03\n" + facts.encode()


def sdbox(root: Path, letters: dict[int, bytes], box: str = "INBOX") -> Writer:
    """One mailbox with letters by UID, and its index. Dates are UIDs."""
    folder = root / "mailboxes" / box / "dbox-Mails"
    folder.mkdir(parents=True)
    writer = Writer()
    for uid, content in letters.items():
        (folder / f"u.{uid}").write_bytes(HEADER + stored(content, uid, uid, box))
        writer.append(uid, 0)
    put(folder, "dovecot.index", writer)
    return writer


def mdbox(root: Path, letters: dict[int, bytes], box: str = "INBOX", *, files: int = 2) -> None:
    """The same in a few files, with a map."""
    folder, storage = root / "mailboxes" / box / "dbox-Mails", root / "storage"
    folder.mkdir(parents=True)
    storage.mkdir()
    index, places = Writer(), Writer()
    written = {number: bytearray(HEADER) for number in range(1, files + 1)}
    for number, (uid, content) in enumerate(letters.items(), 1):
        file = written[number % files + 1]
        places.append(number, 0)
        places.introduce("map", 12)
        octets = stored(content, uid, uid, box)
        places.records({number: places.p("III", number % files + 1, len(file), len(octets))})
        places.introduce("ref", 2)
        places.records({number: places.p("HH", 1, 0)})
        file += octets
        index.append(uid, 0)
        index.introduce("mdbox")
        index.records({uid: index.p("II", number, uid)})
        index.introduce("guid", 16)
        index.records({uid: guid_of(uid)})
    index.introduce("mdbox-hdr", 0)
    index.record(0x100, index.p("HHI", 0, 4, places.uidvalidity))
    for number, octets in written.items():
        (storage / f"m.{number}").write_bytes(octets)
    put(folder, "dovecot.index", index)
    put(storage, "dovecot.map.index", places)


def put(folder: Path, name: str, writer: Writer) -> None:
    (folder / f"{name}.log").write_bytes(writer.log)
