"""The sets of flags in use in an account, numbered: a message's flags are one number in a column."""

from collections.abc import Iterable, Sequence

# In the order in which they are shown (RFC 3501 §2.3.2); \Recent is a matter of sessions and is not stored.
SYSTEM = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


class Flagsets:
    """Numbers for flags and for sets of flags. Flags are compared without case (RFC 3501 §9: `flag`).

    A keyword is spelled as in the earliest entry that names it: so its spelling does not depend on the
    order in which entries were read. Numbers are of this process only and keep their meaning; 0 is no
    flags. `sets[number]` are the flags as they are shown, system flags first, then keywords sorted.
    """

    def __init__(self) -> None:
        self.sets: list[tuple[str, ...]] = [()]
        self.names: list[str] = []  # flag number -> spelling
        self.first_use: list[int] = []  # flag number -> the clock that the spelling has
        self._numbers: dict[str, int] = {}  # folded -> flag number
        self._members: list[frozenset[int]] = [frozenset()]
        self._by_members: dict[frozenset[int], int] = {frozenset(): 0}
        self.weight = 0  # the flags in all sets: what they take in memory
        self._changes: dict[tuple[int, frozenset[int], frozenset[int]], int] = {}
        for name in SYSTEM:
            self.flag(name, 0)

    def flag(self, name: str, clock: int) -> int:
        """The number of a flag that is spelled so in an entry of this clock."""
        number = self._numbers.setdefault(name.casefold(), len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self.first_use.append(clock)
        elif (clock, name) < (self.first_use[number], self.names[number]):
            self.first_use[number] = clock
            if self.names[number] != name:
                self.names[number] = name
                self.sets = [self._shown(members) for members in self._members]
        return number

    def number_of(self, name: str) -> int | None:
        """The number of a flag, if the account has ever used it."""
        return self._numbers.get(name.casefold())

    def intern(self, flags: Iterable[str], clock: int) -> int:
        """The number of a set of flags that is spelled so in an entry of this clock."""
        return self.of_members(frozenset(self.flag(name, clock) for name in flags))

    def of_members(self, members: frozenset[int]) -> int:
        """The number of a set of flag numbers."""
        number = self._by_members.get(members)
        if number is None:
            number = self._by_members[members] = len(self.sets)
            self._members.append(members)
            self.weight += len(members)
            self.sets.append(self._shown(members))
        return number

    def members(self, number: int) -> frozenset[int]:
        """The flag numbers in a set."""
        return self._members[number]

    def changed(self, number: int, add: frozenset[int], remove: frozenset[int]) -> int:
        """The number of a set after flags went and others came."""
        key = number, add, remove
        result = self._changes.get(key)
        if result is None:
            if len(self._changes) > 10_000:  # a cache: a few flags, each on or off, for a few sets
                self._changes.clear()
            result = self._changes[key] = self.of_members(self._members[number] - remove | add)
        return result

    def numbers_with(self, name: str) -> frozenset[int]:
        """The numbers of all sets that contain a flag."""
        flag = self.number_of(name)
        return frozenset(n for n, members in enumerate(self._members) if flag in members)

    def keywords(self) -> Sequence[str]:
        """Every keyword that the account has used, sorted."""
        return sorted(self.names[len(SYSTEM) :], key=str.casefold)

    def _shown(self, members: frozenset[int]) -> tuple[str, ...]:
        system = sorted(flag for flag in members if flag < len(SYSTEM))
        keywords = sorted(
            (flag for flag in members if flag >= len(SYSTEM)), key=lambda f: self.names[f].casefold()
        )
        return tuple(self.names[flag] for flag in system + keywords)
