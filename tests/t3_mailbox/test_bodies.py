"""What reading contents costs."""

from array import array

from aerogramme.log.segment import Column
from aerogramme.mailbox.bodies import _matches
from tests.helpers.packed import CountedStores, letters, objects_of
from tests.t3_mailbox.conftest import World, put


class Counting(bytes):
    """Bytes that count how often they are looked through."""

    finds = 0

    def find(self, *asked: object) -> int:
        self.finds += 1
        return super().find(*asked)  # type: ignore[call-overload]  # as asked


def test_a_value_is_looked_through_once_though_matches_begin_everywhere_in_it() -> None:
    joined = Counting(b"a" * 10_000)
    assert not any(_matches(Column(joined, array("I", [10] * 1000)), 0, 1000, b"a" * 50))
    assert joined.finds <= 1001


async def test_segments_that_cannot_be_read_cost_no_trip_of_their_own(world: World) -> None:
    account = await world.open()
    for n in range(6):
        await put(account, "INBOX", *letters(n * 5, 5, size=20_000))
    objects = world.stores._accounts[account.id].objects
    names = [name for name in objects_of(world, "segment/") if name.endswith("/digest")]
    assert len(names) == 6
    for name in names[2:4]:
        del objects[name]
    account = await world.open(stores=CountedStores(world.stores))  # type: ignore[arg-type]  # as they are
    store = account.store
    contents = list(account.find("INBOX").contents)
    store.trips.clear()  # type: ignore[attr-defined]
    [subjects] = await account.digests(contents, ["subject"])
    there = [b"%d" % n for n in range(30)]
    assert sum(subject == b"[this message is damaged]" for subject in subjects) == 10
    assert sum(subject in there for subject in subjects) == 20
    assert len(store.trips) <= 2  # type: ignore[attr-defined]  # and what is missing under newer names
    world.expected = await world.audit()
