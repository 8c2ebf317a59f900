"""An opened account, whatever is done with it: its store, keys and log, and what runs beside it."""

from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial
from typing import Self

import trio

from aerogramme.errors import AlreadyExists, NoSuchMailbox, Refused, Unavailable
from aerogramme.log.clock import wall_ms
from aerogramme.log.entry import Entry
from aerogramme.log.journal import Draft, Journal
from aerogramme.log.past import Past
from aerogramme.log.state import State
from aerogramme.mailbox import hierarchy
from aerogramme.mailbox.history.restored import renumbered
from aerogramme.mailbox.incoming.drain import Drain
from aerogramme.mailbox.keys import passwords
from aerogramme.mailbox.keys.holding import Holding
from aerogramme.mailbox.keys.keys import Unlocked
from aerogramme.mailbox.names import INBOX
from aerogramme.mailbox.packs import Packing
from aerogramme.mailbox.persisting import persist
from aerogramme.mailbox.policy import Policy
from aerogramme.seal import Argon2Params, Code, Secret
from aerogramme.store.port import Store, Stores

KEYS_SECONDS = 30.0  # how long others may go on with a secret that was revoked


class OpenedAccount:
    """What an Account (account.py) is made of: opened, kept as new as the store, folded, and closed."""

    def __init__(self, store: Store, account_id: str, holding: Holding, journal: Journal) -> None:
        """Use `create` and `open`."""
        self.id = account_id  # 32 hex digits
        self.store = store
        self.holding = holding
        self.keyring = holding.keyring
        self.policy = Policy()  # who opens the account says what it is
        self.journal = journal
        self.drain = Drain(self)
        self._packing = Packing(store, bytes.fromhex(account_id), journal.state)
        self._waiting = 0  # how many do so in `wait_changed`
        self._nursery: trio.Nursery | None = None  # while the account runs: for large uploads

    @classmethod
    async def create(
        cls,
        stores: Stores,
        account_id: str,
        secret: Secret,
        *,
        params: Argon2Params | None = None,
        invitation: bool = False,
    ) -> Code | None:
        """Makes the store, the keys and the first mailboxes; gives the recovery code. Raises AlreadyExists.

        With `invitation` the secret is that of an invitation code, and there is no recovery code yet.

        A creation that is cut short leaves no account (no keys), or one that is completed when it is first
        opened.
        """
        store = await stores.open(account_id, create=True)
        try:
            unlocked, code = await passwords.create_keys(
                store, account_id, secret, params, invitation=invitation
            )
        except BaseException:
            with trio.CancelScope(shield=True):
                await store.aclose()
            raise
        account = await cls.open(store, account_id, unlocked)
        await account.aclose()
        return code

    @classmethod
    async def open(cls, store: Store, account_id: str, unlocked: Unlocked) -> Self:
        """Opens the newest checkpoint and what came after it. The account owns the store from here on, also
        when this fails. Raises Unavailable, Damaged."""
        try:
            holding = Holding(store, account_id, unlocked)
            journal = await Journal.open(
                store, unlocked.keyring, bytes.fromhex(account_id), renew=holding.renew
            )
            account = cls(store, account_id, holding, journal)
            if INBOX not in journal.state.names:
                await account._make_first_mailboxes()
            if unlocked.restored:
                await journal.commit(lambda state: renumbered(state, unlocked.restored, _now()))
        except BaseException:
            with trio.CancelScope(shield=True):
                await store.aclose()
            raise
        return account

    async def _make_first_mailboxes(self) -> None:
        def build(state: State) -> Draft | None:
            if INBOX in state.names:
                return None
            return Draft(hierarchy.first_mailboxes(self.maker(state)))

        await self._commit(build)

    async def aclose(self) -> None:
        """Closes the store. What was acknowledged is durable already."""
        await self.store.aclose()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follows the log and the keys, drains letters as they come in, and folds; until cancelled. Raises
        NoSuchUser when the account was erased, AuthenticationFailed when all slots that have opened it are
        revoked, Outdated when it has to be opened anew (in an ExceptionGroup)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(persist, self.id, partial(self.journal.follow, self.eager))
            nursery.start_soon(persist, self.id, self._follow_keys)
            if not self.past:
                nursery.start_soon(persist, self.id, self.drain.follow)
                nursery.start_soon(persist, self.id, self._fold_as_it_grows)
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def _follow_keys(self) -> None:
        """Where to wait for a change costs nothing, it is noticed at once, else within KEYS_SECONDS."""
        while True:
            if self.store.object_costs_request:
                await trio.sleep(KEYS_SECONDS)
                await self.holding.renew(KEYS_SECONDS / 2)
            else:
                await self.holding.watch()
                await self.holding.renew()

    async def _fold_as_it_grows(self) -> None:
        """Each change is a chance to write a checkpoint; the journal knows whether one is worth it."""
        version = self.journal.version
        while True:
            await self.fold()
            version = await self.journal.wait_changed(version)

    async def fold(self, *, force: bool = False, without: Container[int] = ()) -> bool:
        """Writes a checkpoint, as Journal.fold does, and packs bodies where that pays."""
        packer = self._packing if self.store.object_costs_request else None
        return await self.journal.fold(packer, force=force, without=without)

    async def _commit(self, build: Callable[[State], Draft | None]) -> Entry | None:
        """As the journal does, and what refuses or does nothing is asked again if the state was not the
        newest.
        """
        version = self.journal.version
        try:
            entry = await self.journal.commit(build)
        except (NoSuchMailbox, AlreadyExists, Refused):
            await self.journal.refresh()
            if self.journal.version == version:
                raise
        else:
            if entry is not None:
                return entry
            await self.journal.refresh()
            if self.journal.version == version:
                return None
        return await self.journal.commit(build)

    async def refresh(self) -> None:
        """The read rule: what any server has acknowledged before this call is in the state after it."""
        await self.journal.refresh()

    async def poll(self) -> None:
        """For who asks again and again: what others have done by now is in the state, as far as looking costs
        nothing. Where it costs a request, or the store is away, what comes is brought by `run`."""
        if not self.store.object_costs_request:
            with suppress(Unavailable):  # `run` finds the same, and says so
                await self.journal.refresh()

    @property
    def past(self) -> bool:
        """Whether this is the account as it stood: nothing comes in, and nothing that is written stays."""
        return isinstance(self.store, Past)

    @property
    def state(self) -> State:
        return self.journal.state

    @property
    def version(self) -> int:
        """Grows with every change of the account."""
        return self.journal.version

    async def wait_changed(self, version: int) -> int:
        """Returns the version once it is above the one given."""
        self._waiting += 1
        try:
            return await self.journal.wait_changed(version)
        finally:
            self._waiting -= 1

    def eager(self) -> bool:
        """Whether somebody waits for what comes, in this moment: an idling session."""
        return self._waiting > 0

    def maker(self, state: State) -> hierarchy.Maker:
        return hierarchy.Maker(state, self.journal.new_ids, _now())


def _now() -> int:
    """In unix seconds."""
    return wall_ms() // 1000
