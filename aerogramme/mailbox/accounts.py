"""The accounts that a server has open: one for all sessions of a user, logins, and what wrong passwords
cost.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from hmac import compare_digest

import trio
from trio import sleep

from aerogramme.errors import AuthenticationFailed, NoSuchUser, Outdated, Unavailable
from aerogramme.faults import stack
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.history.compaction import compact_from_time_to_time
from aerogramme.mailbox.keys import invitations, uses
from aerogramme.mailbox.keys.invitations import Acceptance
from aerogramme.mailbox.keys.keys import PARTITION, StoredKeys, Unlocked, waste_time
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.mailbox.persisting import persist
from aerogramme.mailbox.policy import Policy
from aerogramme.mailbox.throttle import Throttle
from aerogramme.seal.secrets import Secret
from aerogramme.seal.slots import SlotPrivate
from aerogramme.store.port import Cursor, Stores

log = logging.getLogger(__name__)

LINGER = 60.0  # seconds: mail programs that poll come back within that, and find the account open
# Seconds before a failed login is answered, if it does not take longer by itself: whether the store was read,
# and how many slots were tried, must not be told by the time it takes.
FAILURE_TIME = 0.25
SLOWEST_HASH = 5.0  # seconds: what checking another server's hash may add to that
MAX_REMEMBERED = 64  # passwords remembered for one account: more than anybody has apps

Unlock = Callable[[StoredKeys], Awaitable[Unlocked]]
PolicyOf = Callable[[str], Policy]
"""(account) -> its policy, as things are now."""
Chore = Callable[[Account], Awaitable[None]]
"""What runs for ever beside each open account; what goes wrong with it is logged, and it is begun again."""


@dataclass(eq=False, slots=True)
class _Open:
    """An account that is open, and the passwords that have opened it."""

    account: Account
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    nursery: trio.Nursery | None = None  # for what uses its store, and ends with it
    logins: set["Login"] = field(default_factory=set)
    leaves: int = 0  # counts how often the last user has gone: a linger that has been overtaken does nothing
    # keyed hash of a password -> (how far the keys were read when it was right, its slot)
    known: dict[bytes, tuple[Cursor, SlotPrivate]] = field(default_factory=dict, repr=False)
    used: dict[bytes, int] = field(default_factory=dict)  # slot -> day for which its use was noted


class Login:
    """A session's hold on its account. `release` it when the session ends; then the account may close.

    `when_lost` is called once if the account ends under the session (it was deleted, say), or its password is
    revoked: whatever comes after is of no use.
    """

    __slots__ = ("_release", "account", "lost", "read_only", "slot", "when_lost")

    def __init__(self, account: Account, slot: SlotPrivate, release: Callable[["Login"], None]) -> None:
        self.account = account
        self.slot = slot.public.fingerprint
        self.read_only = slot.read_only  # this password must not change anything
        self.lost = False
        self.when_lost: Callable[[], None] | None = None
        self._release: Callable[[Login], None] | None = release

    def lose(self) -> None:
        """It is of no use any more."""
        self.lost = True
        if self.when_lost is not None:
            self.when_lost()

    def release(self) -> None:
        """Lets go of the account. Doing it twice is fine."""
        if self._release is not None:
            release, self._release = self._release, None
            self.when_lost = None
            release(self)


class Accounts:
    """The pool. Start `run` in a nursery before the first login.

    A password that has opened an account is remembered while the account is open, as a hash with a key that
    this process made for itself: the next login with it costs microseconds and a look whether the keys have
    changed. A password that is not remembered costs the full Argon2id and is slowed down, by the address it
    comes from and by account.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        linger: float = LINGER,
        seen: Seen | None = None,
        policy_of: PolicyOf = lambda _: Policy(),
        chores: Sequence[Chore] = (),
    ) -> None:
        """`seen`: what this machine remembers of accounts; by default it remembers nothing."""
        self._stores = stores
        self._policy_of = policy_of
        self._chores = chores
        self._seen = seen or Seen(None)
        self._linger_time = linger
        self._open: dict[str, _Open] = {}
        self._opening: dict[str, trio.Lock] = {}
        self._hash_key = os.urandom(64)
        self._throttle = Throttle(trio.current_time)
        self._failure_time = FAILURE_TIME
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Holds the background tasks of the open accounts; when cancelled, closes all."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def login(
        self, account_id: str | None, secret: Secret, peer: str | None, *, name: str = ""
    ) -> Login:
        """Opens the account with a password, or joins those who have it open.

        `account_id` is None for a `name` that nobody has: that costs the same time and gives the same error.
        `peer` is the address of the client, None where all clients share one (a proxy on this machine).
        Raises AuthenticationFailed; Unavailable.
        """
        acceptance = Acceptance.parse(secret.reveal())

        async def unlock(keys: StoredKeys) -> Unlocked:
            assert account_id is not None, "of a name that nobody has there are no keys"
            if acceptance is not None:
                return await invitations.accept(account_id, acceptance, keys)
            began = trio.current_time()
            try:
                return await invitations.unlock(account_id, secret, keys)
            except AuthenticationFailed:
                if any(slot.hashed for slot in keys.slots.values()):
                    # From now on all who fail wait as long, so that it is not told who has not come yet.
                    took = min(trio.current_time() - began, SLOWEST_HASH)
                    self._failure_time = max(self._failure_time, FAILURE_TIME + took)
                raise

        return await self._log_in(account_id, unlock, peer, name, secret)

    async def login_with(
        self, account_id: str | None, unlock: Unlock, peer: str | None, *, name: str = ""
    ) -> Login:
        """As `login`, with what opens the keys in place of a password: a proof, say. `unlock` is asked for an
        account that exists only, and raises AuthenticationFailed if it opens none of its slots."""
        return await self._log_in(account_id, unlock, peer, name, None)

    async def _log_in(
        self, account_id: str | None, unlock: Unlock, peer: str | None, name: str, secret: Secret | None
    ) -> Login:
        """`secret`: the password, if it is one, by which the next login with it is recognized."""
        tried = [] if peer is None else [f"address {peer}"]
        await sleep(self._throttle.begin(tried))
        try:
            if secret is not None and account_id is not None and account_id in self._open:
                login = await self._recall(self._open[account_id], secret)
                if login is not None:
                    self._throttle.right(tried)
                    return login
            name = f"account {account_id}" if account_id is not None else f"name {name.casefold()}"
            tried.append(name)
            await sleep(self._throttle.begin([name]))
            began = trio.current_time()
            try:
                login = await self._unlock(account_id, unlock, secret)
            except AuthenticationFailed:
                await trio.sleep_until(began + self._failure_time)
                raise
        except Unavailable:
            # The store did not say whether it was right. Who came back again and again while it was away must
            # not have to wait when it is there.
            self._throttle.right(tried)
            raise
        self._throttle.right(tried)
        if login.lost:  # before anybody could be told
            login.release()
            raise Unavailable("The account was closed just now")
        return login

    # --- remembered passwords

    def _hash(self, account_id: str, secret: Secret) -> bytes:
        return blake2b(secret.reveal(), key=self._hash_key, salt=bytes.fromhex(account_id)).digest()

    async def _recall(self, opened: _Open, secret: Secret) -> Login | None:
        """A login with a remembered password, if nobody has changed the keys since it was right."""
        wanted = self._hash(opened.account.id, secret)
        for known, (cursor, slot) in list(opened.known.items()):
            if compare_digest(known, wanted):
                changed, cursor = await opened.account.store.read(PARTITION, cursor)
                if changed:
                    opened.known.pop(known, None)
                elif self._open.get(opened.account.id) is opened:
                    # Kept, so that the next look does not pass over all mail that has come meanwhile.
                    opened.known[known] = cursor, slot
                    return self._join(opened, slot)
        return None

    async def _unlock(self, account_id: str | None, unlock: Unlock, secret: Secret | None) -> Login:
        try:
            if account_id is None:
                raise NoSuchUser
            store = await self._stores.open(account_id)
        except NoSuchUser:
            # Also if it is in the directory, but nothing is stored: to a client no different from a wrong
            # password.
            if secret is not None:
                await waste_time(secret)
            raise AuthenticationFailed from None
        kept = False
        try:
            keys = await StoredKeys.read(store)
            await self._seen.check_keys(account_id, keys)
            unlocked = await unlock(keys)
            async with self._opening.setdefault(account_id, trio.Lock()):
                opened = self._open.get(account_id)
                if opened is None:
                    kept = True  # the account owns the store from here on
                    opened = await self._start(await self._seen.open(store, account_id, unlocked))
                if secret is not None:
                    if len(opened.known) >= MAX_REMEMBERED:
                        opened.known.clear()
                    opened.known[self._hash(account_id, secret)] = keys.cursor, unlocked.slot
                opened.account.keyring.adopt(unlocked.keyring)
                return self._join(opened, unlocked.slot)
        except NoSuchUser:
            raise AuthenticationFailed from None
        finally:
            if not kept:
                with trio.CancelScope(shield=True):  # closing waits for nobody
                    await store.aclose()

    # --- open accounts

    async def _start(self, account: Account) -> _Open:
        if self._nursery is None:
            raise Unavailable("the server is not running")
        opened = _Open(account)
        account.policy = self._policy_of(account.id)
        account.holding.when_revoked = partial(self._revoked, opened)
        self._open[account.id] = opened
        await self._nursery.start(self._host, opened)
        return opened

    async def _host(self, opened: _Open, task_status: trio.TaskStatus[None]) -> None:
        """Runs an account until nobody needs it. What is wrong with one account does not end the others: its
        error is logged, its sessions are told, and the next login opens it anew."""
        account = opened.account
        try:
            with opened.scope:
                async with trio.open_nursery() as nursery:
                    opened.nursery = nursery
                    nursery.start_soon(self._seen.keep, account)
                    if not account.past:
                        for chore in (compact_from_time_to_time, *self._chores):
                            nursery.start_soon(persist, account.id, partial(chore, account))
                    await account.run(task_status=task_status)
        except* AuthenticationFailed:  # the last secret that opened it was revoked
            log.info("account %s is closed: all that has opened it is revoked", account.id)
        except* Outdated:  # this machine was asleep, or the store away, for half a day
            log.info("account %s is closed: what is known of it is too old", account.id)
        except* Exception as error:  # the top of an account: a fault in one must not end the others
            log.error("account %s is closed: %s", account.id, stack(error))
        finally:
            if self._open.get(account.id) is opened:
                del self._open[account.id]
            for login in list(opened.logins):
                login.lose()
            with trio.CancelScope(shield=True):
                await self._seen.note(account)
                await account.aclose()

    def _join(self, opened: _Open, slot: SlotPrivate) -> Login:
        opened.account.policy = self._policy_of(opened.account.id)
        opened.account.holding.add(slot)
        login = Login(opened.account, slot, partial(self._leave, opened))
        opened.logins.add(login)
        if slot.kind == "app" and opened.nursery is not None:
            opened.nursery.start_soon(self._note_use, opened, login.slot)
        return login

    async def _note_use(self, opened: _Open, slot: bytes) -> None:
        """For `account app-password list`; a login does not wait for it."""
        today = int(time.time()) // uses.DAY
        if opened.used.get(slot) == today:
            return
        try:
            await uses.note(opened.account.store, opened.account.keyring, slot)
        except (Unavailable, NoSuchUser) as error:
            log.warning("account %s: the use of an app password is not noted: %s", opened.account.id, error)
        else:
            opened.used[slot] = today

    def _revoked(self, opened: _Open, slot: bytes) -> None:
        """A slot that has opened the account opens it no more: its sessions end, others go on."""
        for known, (_, its) in list(opened.known.items()):
            if its.public.fingerprint == slot:
                del opened.known[known]
        for login in list(opened.logins):
            if login.slot == slot:
                login.lose()

    def _leave(self, opened: _Open, login: Login) -> None:
        opened.logins.remove(login)
        opened.leaves += 1
        if not opened.logins and self._nursery is not None and self._open.get(opened.account.id) is opened:
            self._nursery.start_soon(self._linger, opened, opened.leaves)

    async def _linger(self, opened: _Open, leaves: int) -> None:
        await trio.sleep(self._linger_time)
        if not opened.logins and opened.leaves == leaves:
            if self._open.get(opened.account.id) is opened:
                del self._open[opened.account.id]  # at once: a login that comes now opens it anew
            opened.scope.cancel()

    def opened(self) -> set[str]:
        """The accounts that are open now."""
        return set(self._open)

    def renew_policies(self) -> None:
        """The users file may have changed: what holds for the accounts that are open is looked up again."""
        for account_id, opened in self._open.items():
            opened.account.policy = self._policy_of(account_id)

    def end(self, account_id: str) -> None:
        """Closes an account under its sessions, which are told so; one that is not open is fine."""
        if opened := self._open.pop(account_id, None):  # at once: a login that comes now opens it anew
            opened.scope.cancel()
