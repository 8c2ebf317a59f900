"""A mail store that mail is moved in from, in memory: it can be used, and be broken, between passes."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.source import Fault, Folder, Letter, Messages


@dataclass
class Held:
    date: int
    flags: tuple[str, ...]
    letter: bytes
    size: int | None = None  # what is said of it, if that is not true


@dataclass
class Box:
    uidvalidity: int
    role: str | None = None
    subscribed: bool | None = None
    uidnext: int = 1
    messages: dict[int, Held] = field(default_factory=dict)

    def put(self, letter: bytes, flags: tuple[str, ...] = (), date: int = 1_000_000_000) -> int:
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[uid] = Held(date, flags, letter)
        return uid


class FakeSource:
    """`unreadable`: (name, UID) of letters that are a fault; `breaking`: of those that break off."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.boxes: dict[str, Box] = {}
        self.unreadable: set[tuple[str, int]] = set()
        self.breaking: set[tuple[str, int]] = set()
        self.broken: set[str] = set()  # folders
        self.flags_lost = False
        self.read: list[tuple[str, int]] = []  # letters, in this order

    async def folders(self) -> Sequence[Folder]:
        return [
            Folder(name, f"box {name}", box.uidvalidity, box.uidnext, box.role, box.subscribed)
            for name, box in sorted(self.boxes.items(), key=lambda item: item[0] != "INBOX")
        ]

    async def messages(self, folder: Folder) -> Messages:
        if folder.name in self.broken:
            raise Unreadable("its index is no index")
        found = Messages(flags_lost=self.flags_lost)
        for uid, held in sorted(self.boxes[folder.name].messages.items()):
            found.add(uid, held.date, len(held.letter) if held.size is None else held.size, held.flags)
        return found

    async def letters(self, folder: Folder, uids: Sequence[int]) -> AsyncGenerator[Letter | Fault, None]:
        assert list(uids) == sorted(set(uids))
        for uid in uids:
            held = self.boxes[folder.name].messages.get(uid)
            if (folder.name, uid) in self.unreadable:
                yield Fault(f"box {folder.name}, UID {uid}", "it cannot be read", "left out", lost=True)
            elif held is not None:
                self.read.append((folder.name, uid))
                yield Letter(uid, self._pieces(held.letter, (folder.name, uid) in self.breaking))

    async def _pieces(self, letter: bytes, breaking: bool) -> AsyncIterator[bytes]:
        for start in range(0, len(letter), 100_000):
            if breaking and start:
                raise Unreadable("it is cut off")
            yield letter[start : start + 100_000]
        if breaking and len(letter) <= 100_000:
            raise Unreadable("it is cut off")

    async def aclose(self) -> None:
        pass
