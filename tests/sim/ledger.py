"""The ledger: all that was promised to anybody, and what breaks a promise.

A mail has a number, the one in its Message-ID; a message is an instance of it in a mailbox (the program's own
id, which the ledger gets by looking into the server behind its back); a mailbox is known by its UIDVALIDITY.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

FLAGS = ("\\Seen", "\\Flagged")  # those that are followed; \Deleted goes with removing


@dataclass(eq=False, slots=True)
class Change:
    """Somebody set a flag of a message, or took it away."""

    on: bool
    read: float  # whoever did it had been told all that was acknowledged before this time
    done: float | None = None  # when it was acknowledged


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as a client knows it. None: not known yet."""

    message: int | None
    number: int | None
    flags: frozenset[str]


class Ledger:
    """`now` gives the time. Methods raise AssertionError when a promise is broken."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._numbers: dict[tuple[str, int, int], int] = {}  # person, UIDVALIDITY, UID
        self._messages: dict[tuple[str, int, int], int] = {}
        self._placed: dict[tuple[int, int], float] = {}  # UIDVALIDITY, number: acknowledged to be there
        self._leaving: set[tuple[int, int]] = set()  # somebody tried to take it away
        self._deletable: set[int] = set()  # numbers that somebody gave \\Deleted: copies have it too
        self._gone: dict[tuple[int, int], float] = {}  # UIDVALIDITY, message: acknowledged to be removed
        self._changes: defaultdict[tuple[int, str], list[Change]] = defaultdict(list)
        self.letters: dict[int, int] = {}  # number: how many letters were acknowledged
        self.sent: Counter[int] = Counter()  # and how many were on their way
        self.copied: set[int] = set()  # numbers that may be there more than once, or nowhere
        self.detailed: set[int] = set()  # numbers of letters to a mailbox that may be deleted
        self.doubtful: set[int] = set()  # mailboxes (UIDVALIDITY) that somebody tried to delete
        self.checked = 0

    # --- names

    def named(self, person: str, validity: int, uid: int, number: int) -> None:
        """Somebody was told that a UID is this mail."""
        known = self._numbers.setdefault((person, validity, uid), number)
        assert known == number, f"{person} knows UID {uid} of {validity} as mail {known}, now it is {number}"

    def is_message(self, person: str, validity: int, uid: int, message: int) -> None:
        """The server has this message at a UID that it has told."""
        known = self._messages.setdefault((person, validity, uid), message)
        assert known == message, f"{person}: UID {uid} of {validity} is another message now"

    def number(self, person: str, validity: int, uid: int) -> int | None:
        return self._numbers.get((person, validity, uid))

    def message(self, person: str, validity: int, uid: int) -> int | None:
        return self._messages.get((person, validity, uid))

    # --- what is acknowledged

    def placed(self, validity: int, number: int) -> None:
        """A mail is in a mailbox: acknowledged."""
        self._placed.setdefault((validity, number), self._now())

    def leaving(self, validity: int, numbers: Iterable[int]) -> None:
        """Somebody tries to move mails out of a mailbox."""
        self._leaving.update((validity, number) for number in numbers)

    def deletable(self, numbers: Iterable[int]) -> None:
        """Somebody marks mails as \\Deleted: from here on anybody may remove them."""
        self._deletable.update(numbers)
        self.copied.update(numbers)

    def removed(self, validity: int, message: int) -> None:
        """A message is removed from a mailbox: acknowledged."""
        self._gone.setdefault((validity, message), self._now())

    def changing(self, message: int, flag: str, on: bool, read: float) -> Change:
        """Somebody tries to change a flag; set `done` when it is acknowledged."""
        change = Change(on, read)
        self._changes[message, flag].append(change)
        return change

    def seen(self, message: int, flags: frozenset[str]) -> None:
        """Somebody was told the flags of a message that nobody knew before."""
        for flag in FLAGS:
            if (message, flag) not in self._changes:
                self._changes[message, flag].append(Change(flag in flags, 0.0, self._now()))

    # --- checks

    def check(self, validity: int, since: float, box: Mapping[int, Mail]) -> None:
        """A mailbox as somebody knows it who asked for it at the time `since`: all that was acknowledged
        before is in it."""
        self.checked += 1
        numbers = {mail.number for mail in box.values()}
        for (where, number), done in self._placed.items():
            if where == validity and done < since and number not in numbers:
                excused = (where, number) in self._leaving or number in self._deletable
                assert excused or where in self.doubtful, (
                    f"mail {number} was acknowledged to be in {validity}, and is not there"
                )
        for uid, mail in box.items():
            if mail.message is None:
                continue
            done = self._gone.get((validity, mail.message), since)
            assert done >= since, f"UID {uid} of {validity} was removed, and is there again"
            for flag in FLAGS:
                on = flag in mail.flags
                changes = self._changes.get((mail.message, flag), ())
                assert any(_possible(change, on, changes, since) for change in changes), (
                    f"{flag} of UID {uid} in {validity} is {'on' if on else 'off'}, acknowledged otherwise"
                )

    def numbers_of_messages(self) -> dict[int, int]:
        """The number of every message that anybody was told of."""
        return {
            message: self._numbers[key] for key, message in self._messages.items() if key in self._numbers
        }

    def check_letters(self, copies: Mapping[int, int]) -> None:
        """At the end. `copies`: how often each mail is there, by number."""
        for number, letters in self.letters.items():
            count = copies.get(number, 0)
            if number not in self.copied and not (self.doubtful and number in self.detailed):
                assert letters <= count, f"letter {number}: {letters} acknowledged, {count} there"
                assert count <= self.sent[number], f"letter {number}: {count} there, {self.sent[number]} sent"

    @property
    def facts(self) -> int:
        """How many promises it holds."""
        return len(self._placed) + len(self._gone) + sum(map(len, self._changes.values())) + len(self.letters)


def _possible(change: Change, on: bool, changes: Iterable[Change], since: float) -> bool:
    """Whether a flag may be as this change left it: nobody who knew of it has changed it back since."""
    if change.on != on:
        return False
    if change.done is None:
        return True  # nobody knows when it came, or will come
    return not any(
        other.on != on and other.done is not None and other.done < since and change.done < other.read
        for other in changes
    )
