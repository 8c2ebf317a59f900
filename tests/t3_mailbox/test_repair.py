"""Repair: every kind of fault is made, found, mended, and found no more; nothing else is changed by it."""

import pytest
import trio

from aerogramme.mailbox.audit import examine
from aerogramme.mailbox.faults import BY_HAND, REMEDIES, Fault, Kind
from aerogramme.mailbox.repair import Outcome, repair
from aerogramme.store.memory import MemoryStores
from tests.helpers.breaking import BREAKERS, Breaker, opened
from tests.helpers.tampering import DAMAGED, HOUR, Whole, build, earlier, items, serve, small


@pytest.fixture(scope="module", params=[True, False], ids=["serial", "listing"])
def whole(request) -> Whole:
    async def make() -> Whole:
        return await build(serial=request.param)

    return trio.run(make)


async def faults_of(stores: MemoryStores) -> list[Fault]:
    async with opened(stores) as account:
        return await examine(account)


async def mend(stores: MemoryStores) -> Outcome:
    return await repair(lambda: opened(stores))


def test_every_kind_has_a_breaker_and_a_remedy() -> None:
    assert REMEDIES.keys().isdisjoint(BY_HAND) and REMEDIES.keys() | BY_HAND.keys() == set(Kind)
    made = {breaker.kind for breaker in BREAKERS}
    # What is opened anew differs from what is held when somebody changes the store meanwhile: test_audit.
    assert made == set(Kind) - {Kind.REOPENED}


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda breaker: breaker.name)
def test_break_find_repair_find_nothing(whole: Whole, breaker: Breaker) -> None:
    if breaker.serial not in (None, whole.stores.serial):
        pytest.skip("it is a fault of the other kind of store")

    async def run() -> None:
        stores = whole.copy()
        with small():
            with earlier(HOUR // 2):  # what misses what is older is not waited for
                await breaker.act(stores)
            found = await faults_of(stores)
            assert breaker.kind in {fault.kind for fault in found}, found
            before = items(stores)
            outcome = await mend(stores)
            left = await faults_of(stores)
            assert [fault.what for fault in outcome.left] == [fault.what for fault in left]
            if breaker.kind == Kind.NEWER:
                assert items(stores) == before and left == found, "nothing is touched"
                return
            assert {fault.kind for fault in left} == set(breaker.left), left
            assert breaker.kind in {fault.kind for fault in outcome.mended} | set(breaker.left)
            await check_served(whole, await serve(stores))

    trio.run(run)


async def check_served(whole: Whole, served) -> None:
    """Every message is there that was, as far as its entry is, and shows something."""
    for message, now in served.items():
        assert DAMAGED not in (now[3], *now[2]), message
    assert not whole.served.keys() - served.keys()
