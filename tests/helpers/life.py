"""The life of an account: people add, flag, move, copy and delete mail, for months of a time of its own."""

import sys
import time
from base64 import encodebytes
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from unittest.mock import patch

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import NewMessage

START = 1_700_000_000.0  # unix seconds
NAMES = ("INBOX", "INBOX", "INBOX", "Archive", "Drafts")
WORDS = [f"{Random(n).getrandbits(40):x}"[: 3 + n % 7] for n in range(3000)]


class Calendar:
    """In place of the module `time`: `now` is what it is told, in unix seconds."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


@contextmanager
def calendar() -> Iterator[Calendar]:
    """While this is open, the program's time of day is the calendar's."""
    ours = Calendar()
    with ExitStack() as stack:
        for name, module in sorted(sys.modules.items()):
            if name.startswith("aerogramme.") and getattr(module, "time", None) is time:
                stack.enter_context(patch.object(module, "time", ours))
        yield ours


class Life:
    """What the people of one account do: one `step` is one operation. They keep about `live` messages."""

    def __init__(self, account: Account, random: Random, live: int, words: int = 120) -> None:
        self.account, self.done = account, Counter[str]()
        self._random, self._live, self._words = random, live, words
        self._number = 0
        self._small: dict[str, Callable[[str], Awaitable[bool]]] = {
            "flags": self._flag,
            "move": self._move,
            "copy": self._copy,
        }

    @property
    def messages(self) -> int:
        state = self.account.state
        return sum(len(state.tables[mailbox]) for mailbox in state.names.values())

    async def step(self) -> str:
        """One operation. Which it was."""
        random = self._random
        while True:
            [what] = random.choices(["add", "flags", "expunge", "move", "copy"], [22, 42, 18, 10, 8])
            if what in ("add", "copy") and self.messages > 1.1 * self._live:
                what = "expunge"
            elif what == "expunge" and self.messages < 0.9 * self._live:
                what = "add"
            if what == "add":
                await self._add()
            elif what == "expunge":
                if not await self._expunge(self._biggest()):
                    continue
            elif not await self._small[what](random.choice(NAMES)):
                continue
            self.done[what] += 1
            return what

    def letter(self) -> bytes:
        """A new one: a short text, and an attachment of some kB that does not get smaller, as mostly."""
        self._number += 1
        n, random = self._number, self._random
        words = " ".join(random.choices(WORDS, k=self._words))
        attached = encodebytes(random.randbytes(random.randrange(2000, 10000))).decode()
        text = (
            f"From: a{n % 97}@example.org\nSubject: mail {n}\nMessage-ID: <{n}@life>\nMIME-Version: 1.0\n"
            "Content-Type: multipart/mixed; boundary=b\n\n"
            f"--b\nContent-Type: text/plain\n\n{words}\n"
            "--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
            f"{attached}--b--\n"
        )
        return text.replace("\n", "\r\n").encode()

    async def _add(self) -> None:
        messages = []
        for _ in range(self._random.choice([1, 1, 1, 2])):
            upload = self.account.upload()
            await upload.write(self.letter())
            messages.append(NewMessage(upload))
        await self.account.append("INBOX", messages)

    def _some(self, name: str) -> list[int]:
        """UIDs of one or more messages; mostly new ones."""
        uids, random = self.account.find(name).uids, self._random
        if not uids:
            return []
        at = min(int(random.expovariate(6 / len(uids))), len(uids) - 1)
        return [uids[-1 - row] for row in range(at, min(at + random.choice([1, 1, 1, 4]), len(uids)))]

    def _biggest(self) -> str:
        return max(set(NAMES), key=lambda name: (len(self.account.find(name)), name))

    async def _flag(self, name: str) -> bool:
        uids, flag = self._some(name), self._random.choice(["\\Seen", "\\Flagged", "\\Answered", "$Label1"])
        mode = self._random.choice("+++-")
        return bool(uids) and await self._stored(name, uids, mode, flag)  # type: ignore[arg-type]

    async def _stored(self, name: str, uids: Sequence[int], mode: str, flag: str) -> bool:
        await self.account.store_flags(self.account.find(name), uids, mode, [flag])  # type: ignore[arg-type]
        return True

    async def _expunge(self, name: str) -> bool:
        table, random = self.account.find(name), self._random
        if not table.uids:
            return False
        at = random.randrange(len(table.uids))
        uids = list(table.uids[at : at + random.choice([1, 2, 3])])
        await self._stored(name, uids, "+", "\\Deleted")
        return bool(await self.account.expunge(self.account.find(name), uids))

    async def _move(self, name: str) -> bool:
        uids, target = self._some(name), self._random.choice(NAMES)
        return bool(uids) and bool((await self.account.move(self.account.find(name), uids, target)).uids)

    async def _copy(self, name: str) -> bool:
        uids, target = self._some(name), self._random.choice(NAMES)
        return bool(uids) and bool((await self.account.copy(self.account.find(name), uids, target)).uids)
