"""A repair, from the first look to the last.

It goes in rounds. Each opens the account, looks at all of it, mends what it finds, a step for each kind of
fault, and closes it again; the last one finds nothing that a repair could do something about. So whatever
cuts it short, the next run begins where the store is. Each step makes what is new durable before what is old
goes; what goes is set aside (setting_aside.py).
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from functools import partial

from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.account import examine
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.repair import bodies, digests, found, keyring, letters, names, parts

ROUNDS = 6  # one finds what another has laid bare: a lost entry, mail without a message, a body that is gone

Reopen = Callable[[], AbstractAsyncContextManager[Account]]
"""Opens the account anew, from what is stored."""

Step = Callable[[Account, list[Fault]], AsyncGenerator[str, None]]
"""Mends the faults of its kinds, and says what it does as it does it. Raises Unavailable."""


@dataclass(slots=True)
class Outcome:
    """What came out of a repair: the faults that are there no more, and those that are."""

    mended: list[Fault] = field(default_factory=list)
    left: list[Fault] = field(default_factory=list)


def _steps(lag: float | None) -> Sequence[Step]:
    return (
        keyring.mend,
        letters.mend,
        found.mend_missing,
        parts.mend,
        digests.mend,
        bodies.mend,
        names.mend,
        partial(found.mend, lag=lag),
    )


async def repair(
    reopen: Reopen, told: Callable[[str], None] = lambda _: None, *, lag: float | None = None
) -> Outcome:
    """Mends an account. `told` is called with what is being done, in plain words; `lag`: seconds that a write
    of others may take, for tests. Raises Unavailable: run it again then."""
    seen: dict[str, Fault] = {}
    outcome = Outcome()
    before: set[str] = set()
    for number in range(ROUNDS + 1):
        async with reopen() as account:
            faults = await examine(account, told=told)
            there = {fault.what for fault in faults}
            seen |= {fault.what: fault for fault in faults}
            todo = [fault for fault in faults if fault.repairable]
            over = not todo or there == before or number == ROUNDS
            if over or any(fault.kind == Kind.NEWER for fault in faults):
                break
            before = there
            if any(fault.kind == Kind.TABLE for fault in todo):
                told("looking for a checkpoint that makes sense")
                if await parts.set_wrong_aside(account):
                    continue
            for step in _steps(lag):
                async with aclosing(step(account, todo)) as doing:
                    async for words in doing:
                        told(words)
    outcome.left = faults
    outcome.mended = [fault for what, fault in seen.items() if what not in there]
    return outcome
