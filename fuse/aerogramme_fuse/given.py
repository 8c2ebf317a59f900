"""What programs have given to messages in this mount, and the account does not keep: names, numbers, letters
for keywords, and the folder that one without flags is in.
"""

import logging
import time
from collections.abc import Sequence
from typing import TypeVar

from aerogramme.log.flagsets import SYSTEM
from aerogramme.mailbox.account import Account
from aerogramme.maildir import KEYWORDS

log = logging.getLogger(__name__)

Key = TypeVar("Key")

MOST = 10_000  # names and numbers: who comes back to one does so soon


class Given:
    """All of that, of one mount."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._names: dict[tuple[int, str], int] = {}  # mailbox, name -> message
        self._numbers: dict[int, int] = {}  # a message that a program has moved -> what it is now
        self._keywords: list[str] = []  # that have letters by a program
        self.in_cur: set[int] = set()  # messages that were moved to cur/: they stay there without flags
        self._in_new: set[int] = set()  # that were put into new/
        self._moved_at: dict[int, int] = {}  # mailbox -> nanoseconds since 1970
        self.moves = 0  # more with each message that is listed elsewhere than the account has it

    # --- letters

    def keywords(self) -> list[str]:
        """The keywords that have letters, in their order: those that the account has used first."""
        flagsets = self._account.state.flagsets
        used = zip(flagsets.first_use[len(SYSTEM) :], flagsets.names[len(SYSTEM) :], strict=True)
        given = {name.lower() for name in self._keywords}
        others = (name for _, name in sorted(used) if name.lower() not in given)
        return [*self._keywords, *others][: len(KEYWORDS)]

    def announce(self, keywords: Sequence[str]) -> None:
        """A program has given letters to keywords in this order, before any message has them. It is not heard
        if it did not know of some that have letters already."""
        has = self.keywords()
        if [name.lower() for name in keywords[: len(has)]] == [name.lower() for name in has]:
            self._keywords = [*has, *keywords[len(has) :]]
        else:
            log.warning("dovecot-keywords: letters that a program has given to keywords mean others already")

    # --- names and numbers

    def name(self, mailbox: int, base: str, message: int) -> None:
        """A message was given a name (less its flags): under that it is found, too."""
        _keep(self._names, (mailbox, base), message)

    def named(self, mailbox: int, base: str) -> int | None:
        """The message that was given a name last."""
        return self._names.get((mailbox, base))

    def renumber(self, message: int, now: int) -> None:
        """A message was moved, or another has taken its place: it has another number."""
        _keep(self._numbers, message, now)

    def number(self, message: int) -> int:
        """What a message is now: a program that has moved a file may come with its old number until the
        kernel hears of the new one."""
        while message in self._numbers:
            message = self._numbers[message]
        return message

    # --- places

    def move_to_cur(self, message: int, mailbox: int) -> None:
        """A message was moved out of new/."""
        self.in_cur.add(message)
        self._in_new.discard(message)
        self.moves += 1
        self._moved_at[mailbox] = time.time_ns()

    def put_in_new(self, message: int) -> None:
        """A message was put into new/: it is found there, also if it is listed in cur/."""
        self._in_new.add(message)

    def is_found_in_new(self, message: int) -> bool:
        return message in self._in_new

    def stays_at(self, message: int, now: int) -> None:
        """Another message takes the place of one, in cur/ or new/."""
        for messages in self.in_cur, self._in_new:
            if message in messages:
                messages.add(now)

    def moved_at(self, mailbox: int) -> int:
        """When a message of a mailbox was last moved to cur/, in nanoseconds since 1970; 0: never."""
        return self._moved_at.get(mailbox, 0)


def _keep(kept: dict[Key, int], key: Key, message: int) -> None:
    """As the newest; the oldest goes, when there are too many."""
    kept.pop(key, None)
    kept[key] = message
    if len(kept) > MOST:
        del kept[next(iter(kept))]
