"""How much room is left in accounts with a quota, as far as a server without their keys knows (see tally.py).

It asks the store once a minute and account at most, adds what it has delivered itself meanwhile, and writes
that down for other servers, and for itself after a restart.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from aerogramme.errors import AerogrammeError, NoSuchUser
from aerogramme.mailbox.incoming import tally
from aerogramme.mailbox.incoming.tally import Tally
from aerogramme.mailbox.usage import Usage
from aerogramme.store.port import Store

log = logging.getLogger(__name__)

FRESH = 60.0  # seconds for which what the store said is taken to be so
FRESH_IF_FULL = 5.0  # and before mail is refused: somebody may just have made room
PATIENCE = 2.0  # seconds to wait for the store at RCPT, where one recipient is asked for after another
AWAY = 10.0  # seconds after which a store that did not answer is asked again
WRITE = 30.0  # seconds from one round of writing down to the next
LAST_WRITE = 5.0  # seconds that writing down may take at the end
MANY = 1000  # deliveries that are remembered one by one


@dataclass(slots=True)
class _Account:
    """What is known of an account."""

    tally: Tally = field(default_factory=Tally)
    read_at: float = float("-inf")  # time of trio
    ask_at: float = float("-inf")  # not before then
    own: list[tuple[int, Usage]] = field(default_factory=list)  # delivered here: when (ms), and what
    unwritten: bool = False


class Rooms:
    """`open_store` gives the store of an account, which stays its giver's (LetterBoxes.store)."""

    def __init__(self, open_store: Callable[[str], Awaitable[Store]]) -> None:
        self._open_store = open_store
        self._writer = tally.new_writer()
        self._accounts: dict[str, _Account] = {}

    async def left(self, account_id: str, quota: int, wanted: int) -> int:
        """The octets that there is room for; asks the store again if that is less than `wanted`, and what is
        known is not of just now. While the store does not answer, what was known last is good."""
        account = self._accounts.setdefault(account_id, _Account())
        now = trio.current_time()
        full = self._left(account, quota) < wanted
        if now >= account.read_at + (FRESH_IF_FULL if full else FRESH):
            await self._ask(account_id, account)
        return self._left(account, quota)

    def delivered(self, account_id: str, octets: int, began: float) -> None:
        """A letter of so many octets was put down for an account that has a quota; that began at a unix time
        in seconds."""
        account = self._accounts.setdefault(account_id, _Account())
        account.own.append((int(began * 1000), Usage(octets, 1)))
        account.unwritten = True
        if len(account.own) > MANY:
            older = account.own[: MANY // 2]
            account.own[: MANY // 2] = [(max(when for when, _ in older), _sum(older))]

    async def run(self) -> None:
        """Writes down what was delivered, now and then; until it is cancelled. Then `aclose`."""
        while True:
            await trio.sleep(WRITE)
            await self.write()

    async def aclose(self) -> None:
        """Writes down what was delivered, if the store takes it soon."""
        with trio.move_on_after(LAST_WRITE):
            await self.write()

    async def write(self) -> None:
        """Writes down what was delivered since the last time. What cannot be written now is written later."""
        for account_id, account in list(self._accounts.items()):
            if not account.unwritten:
                continue
            try:
                store = await self._open_store(account_id)
                await self._read(store, account)
                account.unwritten = False
                if account.own:
                    until = max(when for when, _ in account.own)
                    await tally.deliver(store, self._writer, _sum(account.own), until)
            except NoSuchUser:
                del self._accounts[account_id]
            except AerogrammeError as error:
                account.unwritten = True
                log.debug("account %s: what was delivered is not written down: %s", account_id, error)

    async def _ask(self, account_id: str, account: _Account) -> None:
        """Reads what the store says, if it answers soon."""
        if trio.current_time() < account.ask_at:
            return
        account.ask_at = trio.current_time() + AWAY
        with trio.move_on_after(PATIENCE):
            try:
                await self._read(await self._open_store(account_id), account)
            except AerogrammeError as error:  # the delivery finds the same, and says so
                log.debug("account %s: how full it is is not known: %s", account_id, error)
            else:
                account.ask_at = float("-inf")

    async def _read(self, store: Store, account: _Account) -> None:
        began = trio.current_time()
        account.tally = await tally.read(store)
        account.read_at = began
        # What is noted by now is no longer to be told; and if it was written down together with what is, then
        # that is to be written anew.
        own = [each for each in account.own if each[0] > account.tally.until]
        account.unwritten |= 0 < len(own) < len(account.own)
        account.own = own

    def _left(self, account: _Account, quota: int) -> int:
        return quota - account.tally.total(without=self._writer).octets - _sum(account.own).octets


def _sum(own: list[tuple[int, Usage]]) -> Usage:
    return Usage(sum(usage.octets for _, usage in own), sum(usage.messages for _, usage in own))
