"""Rotation: another generation of keys, and what older ones have sealed is sealed again.

Theory of operation. From the moment that a keyring with the new generation is durable, whoever reads the keys
seals with it; who has them open already reads them again within a known time (`lag`). So a pass over the
store that begins that much later, and finds nothing, leaves nothing that an older keyring opens. Letters that
were sealed to an older incoming key are drained, which seals them with the new one.

A row `rotating-…` among the keys says that a rotation is not finished. It is written with the keyring, and
goes last: after a crash anywhere the next run goes on with the same generation, unless a slot was dismissed
meanwhile, whose secret may have opened that one too. Two rotations at once have the newer generation of the
two in the end, and do the work together.

Bodies are under keys of their own, which are inside what is sealed again. They are written anew only when
that is asked for (reencrypting.py), once nothing is sealed with an older generation any more.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from aerogramme.errors import Damaged
from aerogramme.log import entry
from aerogramme.log.records import KEYS_STALE
from aerogramme.log.resealing import Census, Resealing, Tally, census, name_anew
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys import keys, passwords, uses
from aerogramme.mailbox.keys.changing import change_keys
from aerogramme.mailbox.keys.reencrypting import Reencrypting
from aerogramme.seal.incoming import sealed_generation
from aerogramme.seal.slots import SlotPrivate
from aerogramme.store.port import Store

PARTITIONS = {entry.PARTITION: entry.KIND, uses.PARTITION: uses.KIND, letting_go.PARTITION: letting_go.KIND}
"""Partitions with rows that the keyring seals, and the kind that is bound."""

LETTER = "letter"

# Seconds after which nobody seals with an older generation any more, and what was is in the store (an append
# takes a minute at most).
LAG = KEYS_STALE + 60.0
LAG_SERIALIZED = 5.0  # where writes are serialized, all processes are on one machine and watch the keys


@dataclass(slots=True)
class Report:
    """What a rotation has done, and how far it is.

    ordinal   of the new generation, from 1
    resumed   it had been begun before
    again     kind -> what was sealed again
    letters   how many were drained
    bodies    what was written anew, and how many that were no longer needed were deleted
    left      name -> why it is as it was: damaged things, which are never deleted
    total     what there is to do, as it was found in the beginning
    waiting   until no server uses an older generation
    overtaken a password was revoked meanwhile: it may have opened this generation too
    """

    ordinal: int = 0
    resumed: bool = False
    again: dict[str, Tally] = field(default_factory=dict)
    letters: int = 0
    bodies: Tally = field(default_factory=Tally)
    bodies_removed: int = 0
    writing_bodies: bool = False
    left: dict[str, str] = field(default_factory=dict)
    total: int = 0
    waiting: bool = False
    overtaken: bool = False

    @property
    def count(self) -> int:
        return sum(tally.count for tally in self.again.values())

    @property
    def octets(self) -> int:
        return sum(tally.octets for tally in self.again.values())


async def scan(store: Store) -> Census:
    """What is sealed with which generation, letters that wait too. Changes and opens nothing."""
    found = await census(store, PARTITIONS)
    for key, value in (await store.read(incoming.PARTITION))[0]:
        try:
            found.found[LETTER, sealed_generation(value)] += 1
        except Damaged as why:
            found.unreadable[f"{incoming.PARTITION}/{key}"] = str(why)
    return found


async def rotate(
    account: Account,
    slot: SlotPrivate,
    *,
    bodies: bool = False,
    told: Callable[[Report], None] = lambda _: None,
    lag: float | None = None,
) -> Report:
    """Rotates the keys of an account, or finishes a rotation that was cut off. `slot` has opened the account
    and can change it; with `bodies`, those are written anew too; `told` is called as it goes on; `lag`:
    seconds, for tests.

    Raises Unavailable, AuthenticationFailed when the slot is revoked meanwhile; run it again then.
    """
    return await _Rotation(account, slot, told).run(lag, bodies)


class _Rotation:
    def __init__(self, account: Account, slot: SlotPrivate, told: Callable[[Report], None]) -> None:
        self._account, self._store, self._keyring = account, account.store, account.keyring
        self._slot, self._told = slot, told
        self._resealing = Resealing(
            self._store, self._keyring, PARTITIONS, renew=self._renew, told=self._tell
        )
        self._reencrypting = Reencrypting(account, self._tell)
        self._report = Report(again=self._resealing.done, bodies=self._reencrypting.done)

    async def run(self, lag: float | None, bodies: bool) -> Report:
        if lag is None:
            lag = LAG_SERIALIZED if self._store.serialized else LAG
        await self._begin()
        report, before = self._report, await scan(self._store)
        report.total = before.older(self._keyring.current)
        generation = await self._passes(lag)
        if bodies:
            await self._bodies(lag)
        await name_anew(self._store, self._account.state)
        await self._account.fold(force=True)
        await self._finish(generation)
        report.ordinal = self._keyring.ordinal(self._keyring.current)
        report.left = {**self._resealing.left}
        for key, why in self._account.drain.unreadable.items():
            report.left[f"{incoming.PARTITION}/{key}"] = why
        for content, why in self._reencrypting.left.items():
            report.left[body_name(content)] = why
        self._tell()
        return report

    async def _begin(self) -> None:
        """A generation that is proved, published (by reading the keys, if need be) and held here."""
        stored = await self._renew()
        self._report.resumed = passwords.is_rotating(stored, self._keyring)
        if not self._report.resumed:
            made = await passwords.add_generation(self._store, self._account.id, stored, self._slot)
            self._keyring.adopt(made)
        self._report.ordinal = self._keyring.ordinal(self._keyring.current)

    async def _passes(self, lag: float) -> int:
        """Until a pass that began when nobody sealed with an older generation any more finds nothing. That
        generation."""
        generation, due = self._keyring.current, trio.current_time() + lag
        while True:
            await self._renew()
            if self._keyring.current != generation:  # somebody else rotates, too
                generation, due = self._keyring.current, trio.current_time() + lag
            began = trio.current_time()
            letters = await self._account.drain.all_waiting()
            self._report.letters += letters
            found = await self._resealing.once()
            if found or letters:
                continue
            if began >= due:
                return generation
            self._report.waiting = True
            self._tell()
            await trio.sleep_until(due)
            self._report.waiting = False

    async def _bodies(self, lag: float) -> None:
        """Every body under a key that no older generation has sealed. They are not what the total is of."""
        self._report.writing_bodies = True
        await self._reencrypting.run(lag)
        self._report.bodies_removed = self._reencrypting.removed
        self._report.writing_bodies = False

    async def _finish(self, generation: int) -> None:
        """Keyrings that this one has replaced go, if a change that was cut short has left some; then the row
        that says that this is not finished."""
        stored = await self._renew()
        members = {member.fingerprint for member in self._keyring.members}
        strangers = [each for each in stored.slots.values() if each.public.fingerprint not in members]
        if len(stored.keyrings) > 1 or strangers:
            made = await change_keys(
                self._store, self._account.id, stored, self._slot, lambda keyring: keyring
            )
            self._keyring.adopt(made)
            stored = await self._renew()
        self._report.overtaken = not passwords.is_rotating(stored, self._keyring)
        # One of a generation that is not there was to begin a rotation that never did.
        ahead = {each.number for each in self._keyring.generations if each.number > generation}
        done = [row for row in stored.rotating if passwords.rotating_to(row) not in ahead]
        await self._store.delete_rows(keys.PARTITION, done)

    async def _renew(self) -> keys.StoredKeys:
        stored = await keys.StoredKeys.read(self._store)
        self._keyring.adopt((await stored.unlock_slot(self._account.id, self._slot)).keyring)
        return stored

    def _tell(self) -> None:
        self._told(self._report)
