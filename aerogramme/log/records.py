"""Sealed records of the log as they are stored: found under whatever name, and opened.

What is sealed again for a newer generation of keys is stored under another name (suffix.py), and the one
before goes once the new one is durable. So the names that entries and checkpoints have for objects stay good:
who does not find one looks for it under its newer names.
"""

from collections.abc import Awaitable, Callable, Sequence

from aerogramme.errors import Damaged, UnknownGeneration
from aerogramme.log.suffix import base_of, sealed_for
from aerogramme.seal import Keyring
from aerogramme.store.port import Store

Renew = Callable[[float], Awaitable[bool]]
"""Reads the keys of the account, if they were last read more than so many seconds ago, and has the keyring
adopt what is new. Returns whether anything was."""

# Nothing is sealed with keys that were last read longer ago: so what is sealed under a generation that was
# replaced comes no later than this after it was.
KEYS_STALE = 60.0


async def never(_age: float) -> bool:
    """For who has no keys but those it has."""
    return False


class Missing(Damaged):
    """Something that is named is not in the store."""


class Records:
    """Reads the records of an account."""

    def __init__(self, store: Store, keyring: Keyring, renew: Renew = never) -> None:
        self.store = store
        self.keyring = keyring
        self._renew = renew

    async def read(self, kind: str, names: Sequence[str]) -> list[bytes | Damaged]:
        """The plain bytes of objects, in the order asked; Damaged in place of one that cannot be read,
        Missing of one that is not there. One trip, and more only for what was sealed again. Raises
        Unavailable."""
        known = self.keyring.generations
        found = await self._read(kind, names)
        lost = [n for n, each in enumerate(found) if isinstance(each, Missing | UnknownGeneration)]
        if lost:
            await self._renew(0)
        if lost and self.keyring.generations != known:  # perhaps another task has renewed them meanwhile
            again = await self._read(kind, [names[n] for n in lost])
            for n, each in zip(lost, again, strict=True):
                found[n] = each
        return found

    async def open(self, kind: str, name: str, sealed: bytes) -> bytes:
        """The plain bytes of a record that was read already. Raises Damaged."""
        try:
            return self.keyring.open(kind, name, sealed)
        except UnknownGeneration:
            await self._renew(0)
        return self.keyring.open(kind, name, sealed)

    async def fresh(self) -> None:
        """Before anything is sealed: with keys that are not stale. Raises Unavailable."""
        await self._renew(KEYS_STALE)

    async def _read(self, kind: str, names: Sequence[str]) -> list[bytes | Damaged]:
        stored = list(zip(names, await self.store.get_many(names), strict=True)) if names else []
        gone = [n for n, (_, sealed) in enumerate(stored) if sealed is None]
        newer = [[sealed_for(names[n], each.number) for each in self.keyring.generations[1:]] for n in gone]
        asked = [name for some in newer for name in reversed(some)]
        if asked:
            there = {
                base_of(name): (name, sealed)
                for name, sealed in zip(asked, await self.store.get_many(asked), strict=True)
                if sealed is not None
            }
            for n in gone:
                stored[n] = there.get(base_of(names[n]), stored[n])
        return [self._opened(kind, name, sealed) for name, sealed in stored]

    def _opened(self, kind: str, name: str, sealed: bytes | None) -> bytes | Damaged:
        try:
            if sealed is None:
                raise Missing("It is not in the store")
            return self.keyring.open(kind, name, sealed)
        except Damaged as damage:
            return damage
