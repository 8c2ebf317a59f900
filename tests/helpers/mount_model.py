"""People who use one account at once, through a mount and by IMAP and LMTP, and what must be there after.

Each letter has a number, by which it is known wherever it goes. Who may remove it, and who changes which of
its flags, is the business of one person: so the model knows what must be there, whoever is faster.
"""

import errno
import imaplib
import os
import re
import smtplib
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aerogramme.maildir import parse

HOME = ("INBOX", "Archive", "Sent")  # mailboxes that stay
MOUNT_FLAGS, IMAP_FLAGS = {"S": "\\Seen", "F": "\\Flagged"}, {"R": "\\Answered", "a": "$Junk"}
FASTER = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY}  # somebody else was


def letter(number: int) -> bytes:
    """A letter with lines that end with CRLF."""
    text = "".join(f"line {line} of {number}\r\n" for line in range(1 + number * 7 % 40))
    return (
        f"From: bob@example.net\r\nTo: alice@example.org\r\nSubject: letter {number}\r\n"
        f"Message-ID: <{number}@example.net>\r\nX-Number: {number}.\r\n\r\n{text}"
    ).encode()


def number_of(text: bytes) -> int:
    """Which letter this is, as a file: every octet is as it was written, after what LMTP puts before it."""
    found = re.search(rb"^X-Number: (\d+)\.$", text, re.MULTILINE)
    assert found, text[:200]
    number = int(found[1])
    assert text.endswith(letter(number).replace(b"\r\n", b"\n"))
    return number


def mortal_by_imap(number: int) -> bool:
    return number % 8 in (0, 2)


def mortal_by_mount(number: int) -> bool:
    return number % 8 in (4, 6)


def may_be_copied(number: int) -> bool:
    return number % 4 == 1


@dataclass(frozen=True)
class Shown:
    """A message as a view shows it: its mailbox, its flags as letters, its text with LF at ends of lines."""

    mailbox: str
    uid: int
    flags: str
    text: bytes


@dataclass
class Fate:
    """What is known of a letter: how often it is there, at least and at most; its flags, letter by letter,
    but those that nobody can know just now. Those of a letter that may be copied mean nothing."""

    least: int = 0
    most: int = 1
    flags: dict[str, bool] = field(default_factory=dict)
    doomed: bool = False  # somebody has set about removing it


class Ledger:
    """What has been acknowledged. For all threads."""

    def __init__(self) -> None:
        self.fates: dict[int, Fate] = {}
        self._lock = threading.Lock()

    def new(self, flags: str = "") -> int:
        """A letter that somebody is about to bring: its number. Nobody has said yet that it is there."""
        with self._lock:
            number = len(self.fates) + 1
            self.fates[number] = Fate(flags={flag: flag in flags for flag in (*MOUNT_FLAGS, *IMAP_FLAGS)})
            return number

    def arrived(self, number: int) -> None:
        """It is there, whatever dies now."""
        with self._lock:
            self.fates[number].least = 0 if self.fates[number].doomed else 1

    def doom(self, number: int) -> None:
        """It is about to be removed."""
        with self._lock:
            self.fates[number].doomed = True
            self.fates[number].least = 0

    def check(self, shown: Sequence[Shown], *, serialized: bool = True) -> None:
        """Whether all is there that must be, nothing else, and with the flags that it must have. Where
        changes are not serialized, two who move a message at once make it two, and flags are set on either.
        """
        found: dict[int, list[Shown]] = {}
        for message in shown:
            number = number_of(message.text)
            found.setdefault(number, []).append(message)
        assert found.keys() <= self.fates.keys()
        for number, fate in self.fates.items():
            messages = found.get(number, [])
            assert fate.least <= len(messages), (number, fate)
            if not serialized:
                continue
            assert len(messages) <= fate.most, (number, fate, messages)
            if not may_be_copied(number):
                for message in messages:
                    for flag, on in fate.flags.items():
                        assert (flag in message.flags) == on, (number, fate, message)


# --- by the mount


def folder_of(root: Path, mailbox: str) -> Path:
    """Where a mailbox is in a Maildir++; names here have no letter that is spelled in another way there."""
    return root if mailbox == "INBOX" else root / ("." + mailbox.replace("/", "."))


def mailboxes_of(root: Path) -> list[str]:
    names = [
        name[1:].replace(".", "/") for name in os.listdir(root) if name[0] == "." and name != ".uidvalidity"
    ]
    return ["INBOX", *sorted(names)]


def files_of(folder: Path) -> Iterator[Path]:
    for part in ("new", "cur"):
        for name in sorted(os.listdir(folder / part)):
            yield folder / part / name


def seen_by_mount(root: Path) -> list[Shown]:
    """All messages; FileNotFoundError when the account changes meanwhile."""
    found = []
    for mailbox in mailboxes_of(root):
        for file in files_of(folder_of(root, mailbox)):
            uid = re.search(r",U=(\d+)", file.name)
            assert uid, file
            text = file.read_bytes()
            assert len(text) == file.stat().st_size == int(re.findall(r",S=(\d+)", file.name)[0])
            found.append(Shown(mailbox, int(uid[1]), parse(file.name).letters, text))
    return sorted(found, key=lambda shown: (shown.mailbox, shown.uid))


class Person(ABC):
    """Each `step` is something at random, which is done unless somebody else was faster."""

    def __init__(self, ledger: Ledger, random: Random) -> None:
        self.ledger, self.random = ledger, random
        self.counts = Counter[str]()  # what was done

    @abstractmethod
    def actions(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        """What there is to do: name -> weight, and what does it and says whether it was done."""

    def step(self) -> None:
        actions = self.actions()
        [name] = self.random.choices(list(actions), [weight for weight, _ in actions.values()])
        if actions[name][1]():
            self.counts[name] += 1

    def until_done(self, name: str) -> None:
        """Does this and that until this one thing was done."""
        before = self.counts[name]
        while self.counts[name] == before:
            self.step()


class AtTheMount(Person):
    """Uses the mount as mail programs do. When the mount is killed, a step ends with OSError."""

    def __init__(self, ledger: Ledger, random: Random, root: Path, without: Collection[str] = ()) -> None:
        super().__init__(ledger, random)
        self.root, self._without = root, without

    def actions(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        actions = {
            "deliver": (5, self.deliver),
            "flag": (8, self.flag),
            "move": (5, self.move),
            "unlink": (3, self.unlink),
            "mkdir": (1, self.mkdir),
            "rmdir": (1, self.rmdir),
            "rename folder": (1, self.rename_folder),
        }
        return {
            name: (weight, self._faster(action))
            for name, (weight, action) in actions.items()
            if name not in self._without
        }

    @staticmethod
    def _faster(action: Callable[[], bool]) -> Callable[[], bool]:
        def run() -> bool:
            try:
                return action()
            except OSError as error:
                if error.errno not in FASTER:
                    raise
                return False

        return run

    def _folder(self) -> Path:
        """A mailbox at random into which mail may go."""
        names = [name for name in mailboxes_of(self.root) if name in HOME or name.startswith("made/")]
        return folder_of(self.root, self.random.choice(names))

    def _pick(self) -> tuple[Path, int] | None:
        """A file at random, and its number."""
        files = list(files_of(self._folder()))
        if not files:
            return None
        file = self.random.choice(files)
        text = file.read_bytes()
        number = number_of(text)
        return file, number

    def deliver(self) -> bool:
        """As maildir(5) says: written in tmp/, then renamed or linked."""
        folder = self._folder()
        flags = "".join(flag for flag in "FS" if self.random.random() < 0.5)
        number = self.ledger.new(flags)
        name = f"{number}.P{self.random.getrandbits(64):x}.host"
        tmp = folder / "tmp" / name
        to = folder / "cur" / f"{name}:2,{flags}" if flags else folder / "new" / name
        with tmp.open("wb") as file:
            file.write(letter(number).replace(b"\r\n", b"\n"))
            os.fsync(file.fileno())
        if self.random.random() < 0.5:
            tmp.rename(to)
            self.ledger.arrived(number)
        else:
            os.link(tmp, to)
            self.ledger.arrived(number)
            tmp.unlink()
        return True

    def flag(self) -> bool:
        picked = self._pick()
        if picked is None:
            return False
        file, number = picked
        flag, said = self.random.choice(list(MOUNT_FLAGS)), parse(file.name)
        flags = set(said.letters) ^ {flag}
        known = self.ledger.fates[number].flags
        known.pop(flag, None)  # until it is acknowledged
        file.rename(file.parent.with_name("cur") / f"{said.base}:2,{''.join(sorted(flags))}")
        known[flag] = flag in flags
        return True

    def move(self) -> bool:
        picked, to = self._pick(), self._folder()
        if picked is None or picked[0].parent.parent == to:
            return False
        file = picked[0]
        info = "" if ":" in file.name else ":2,"
        target = to / "cur" / (file.name + info)
        file.rename(target)
        try:  # it is there at once under the name that it was given, unless somebody else was faster
            assert number_of(target.read_bytes()) == picked[1]
        except FileNotFoundError:
            return True
        return True

    def unlink(self) -> bool:
        picked = self._pick()
        if picked is None or not mortal_by_mount(picked[1]):
            return False
        self.ledger.doom(picked[1])
        picked[0].unlink()
        self.ledger.fates[picked[1]].most = 0
        return True

    def _made(self) -> Path | None:
        made = [name for name in mailboxes_of(self.root) if name.startswith("made/")]
        return folder_of(self.root, self.random.choice(made)) if made else None

    def mkdir(self) -> bool:
        """Makes a folder whole before others may come to it: until then it is not whole to this program."""
        new = self.root / f".new{self.random.getrandbits(64):x}"
        new.mkdir()
        for part in ("cur", "new", "tmp"):
            (new / part).mkdir()
        try:
            new.rename(self.root / f".made.{self.random.randrange(6)}")
        except FileExistsError:
            new.rmdir()
        return True

    def rmdir(self) -> bool:
        folder = self._made()
        if folder is not None:
            folder.rmdir()
        return folder is not None

    def rename_folder(self) -> bool:
        folder = self._made()
        if folder is not None:
            folder.rename(self.root / f".made.{self.random.randrange(6)}")
        return folder is not None


# --- by IMAP


def seen_by_imap(client: imaplib.IMAP4) -> list[Shown]:
    """All messages."""
    found = []
    letters = {flag: letter for letter, flag in (MOUNT_FLAGS | IMAP_FLAGS).items()}
    for mailbox in mailboxes_by_imap(client):
        _ok(client.select(f'"{mailbox}"', readonly=True))
        for head, text in _fetched(_ok(client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])"))):
            flags = [letters.get(flag, "?") for flag in _flags(head)]
            uid = int(re.findall(rb"UID (\d+)", head)[0])
            found.append(Shown(mailbox, uid, "".join(sorted(flags)), text.replace(b"\r\n", b"\n")))
    return sorted(found, key=lambda shown: (shown.mailbox, shown.uid))


def mailboxes_by_imap(client: imaplib.IMAP4) -> list[str]:
    lines = [line for line in _ok(client.list()) if isinstance(line, bytes)]
    names = [line.rsplit(b" ", 1)[1].strip(b'"').decode() for line in lines if b"\\Noselect" not in line]
    return [name for name in names if name]


def _ok(answer: tuple[str, list]) -> list:
    assert answer[0] == "OK", answer
    return answer[1]


def _fetched(data: list) -> Iterator[tuple[bytes, bytes]]:
    for at, item in enumerate(data):
        if isinstance(item, tuple):
            rest = data[at + 1] if at + 1 < len(data) and isinstance(data[at + 1], bytes) else b""
            yield item[0] + rest, item[1]


def _flags(line: bytes) -> list[str]:
    found = re.search(rb"FLAGS \(([^)]*)\)", line)
    assert found, line
    return [flag for flag in found[1].decode().split() if flag != "\\Recent"]


class ByImap(Person):
    """Has one IMAP session."""

    def __init__(self, ledger: Ledger, random: Random, client: imaplib.IMAP4) -> None:
        super().__init__(ledger, random)
        self.client = client

    def actions(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        return {
            "append": (4, self.append),
            "store": (8, self.store),
            "move": (4, self.move),
            "copy": (2, self.copy),
            "expunge": (3, self.expunge),
            "mailbox": (1, self.mailbox),
        }

    def append(self) -> bool:
        number = self.ledger.new()
        mailbox = self.random.choice(HOME)
        _ok(self.client.append(mailbox, "", "", letter(number)))  # type: ignore[arg-type]
        self.ledger.arrived(number)
        return True

    def _pick(self) -> tuple[int, int] | None:
        """UID and number of a message of a mailbox that is selected now."""
        mailbox = self.random.choice(mailboxes_by_imap(self.client))
        if self.client.select(f'"{mailbox}"')[0] != "OK":
            return None  # it has gone
        uids = _ok(self.client.uid("SEARCH", "ALL"))[0].split()
        if not uids:
            return None
        uid = int(self.random.choice(uids))
        fetched = list(_fetched(_ok(self.client.uid("FETCH", str(uid), "(BODY.PEEK[])"))))
        if not fetched:
            return None  # it has gone
        return uid, number_of(fetched[0][1].replace(b"\r\n", b"\n"))

    def store(self) -> bool:
        picked = self._pick()
        if picked is None:
            return False
        uid, number = picked
        flag, on = self.random.choice(list(IMAP_FLAGS)), self.random.random() < 0.5
        known = self.ledger.fates[number].flags
        known.pop(flag, None)
        self.client.untagged_responses.clear()
        kind, data = self.client.uid("STORE", str(uid), "+FLAGS" if on else "-FLAGS", f"({IMAP_FLAGS[flag]})")
        told = [line for line in data if isinstance(line, bytes) and f"UID {uid}".encode() in line]
        if kind != "OK" or not told or (IMAP_FLAGS[flag] in _flags(told[-1])) != on:
            return False  # it has gone
        known[flag] = on
        return True

    def move(self) -> bool:
        return self._place("MOVE")

    def copy(self) -> bool:
        return self._place("COPY")

    def _place(self, command: str) -> bool:
        picked = self._pick()
        if picked is None or (command == "COPY" and not may_be_copied(picked[1])):
            return False
        uid, number = picked
        if command == "COPY":
            self.ledger.fates[number].most += 1
        self.client.uid(command, str(uid), self.random.choice(HOME))
        return True

    def expunge(self) -> bool:
        picked = self._pick()
        if picked is None or not mortal_by_imap(picked[1]):
            return False
        uid, number = picked
        self.ledger.doom(number)
        self.client.uid("STORE", str(uid), "+FLAGS.SILENT", "(\\Deleted)")
        self.client.uid("EXPUNGE", str(uid))
        return True

    def mailbox(self) -> bool:
        """Mailboxes into which nobody puts anything."""
        one, other = (f"mine/{self.random.randrange(3)}" for _ in range(2))
        getattr(self.client, self.random.choice(["create", "delete"]))(one)
        self.client.rename(one, other)
        return True


class Sender(Person):
    """Sends by LMTP."""

    def __init__(self, ledger: Ledger, random: Random, lmtp: smtplib.LMTP) -> None:
        super().__init__(ledger, random)
        self.lmtp = lmtp

    def actions(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        return {"send": (1, self.send)}

    def send(self) -> bool:
        number = self.ledger.new()
        assert self.lmtp.sendmail("bob@example.net", ["alice@example.org"], letter(number)) == {}
        self.ledger.arrived(number)
        return True
