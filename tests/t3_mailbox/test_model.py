"""An account against a plain dict: random commands from two processes on one store, letters, restarts
and folds between, with bodies in packs and without.

The model knows nothing of logs: a mailbox is a dict from UID to message. After the commands both processes
must have exactly it, the session that each had open must have been told it, and the audit must find nothing.
"""

from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import AlreadyExists, NoSuchMailbox, Refused
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from tests.helpers.packed import small_packs
from tests.t3_mailbox.conftest import World, put

NAMES = ["INBOX", "Archive", "Trash", "new", "new/sub", "other"]
FLAGS = ["\\Seen", "\\Deleted", "\\Flagged", "work", "$Junk"]


@dataclass
class Message:
    body: bytes
    flags: frozenset[str]
    date: int


@dataclass
class Mailbox:
    uidvalidity: int
    messages: dict[int, Message] = field(default_factory=dict)
    uidnext: int = 1

    def add(self, message: Message) -> int:
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[uid] = message
        return uid


name = st.sampled_from(NAMES)
uids = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)
flags = st.lists(st.sampled_from(FLAGS), max_size=3, unique=True)
command = st.one_of(
    st.tuples(st.just("append"), name, st.integers(1, 3), flags),
    st.tuples(st.just("copy"), name, uids, name),
    st.tuples(st.just("move"), name, uids, name),
    st.tuples(st.just("store"), name, uids, st.sampled_from("+-="), flags),
    st.tuples(st.just("expunge"), name, st.none() | uids),
    st.tuples(st.just("deliver"), st.none() | name | st.just("nowhere"), st.integers(1, 3)),
    st.tuples(st.just("create"), name),
    st.tuples(st.just("delete"), name),
    st.tuples(st.just("rename"), name, name),
    st.tuples(st.just("sync"), st.booleans()),
    st.tuples(st.just("restart")),
    st.tuples(st.just("fold")),
)
script = st.lists(st.tuples(st.integers(0, 1), command), max_size=20)


class Driver:
    """Does each command to an account and to the model, and compares what they say."""

    def __init__(self, world: World, boxes: LetterBoxes) -> None:
        self.world, self.boxes = world, boxes
        self.model: dict[str, Mailbox] = {}
        self.count = 0

    async def start(self) -> None:
        self.accounts = [await self.world.open(), await self.world.open()]
        self.views = [await a.open_mailbox("INBOX") for a in self.accounts]
        self.told = [list(v.uids) for v in self.views]
        for info in self.accounts[0].mailboxes():
            self.model[info.name] = Mailbox(self.accounts[0].find(info.name).uidvalidity)

    def new_message(self, flags=(), date=1_000_000_000) -> Message:
        self.count += 1
        body = b"Subject: number %d\r\n\r\ntext\r\n" % self.count
        return Message(body, frozenset(flags), date)

    async def do(self, who: int, what: str, *arguments) -> None:
        account = self.accounts[who]
        await getattr(self, what)(account, who, *arguments)

    async def append(self, account, _, name, count, flags) -> None:
        messages = [self.new_message(flags) for _ in range(count)]
        act = put(account, name, *(m.body for m in messages), flags=flags, date=messages[0].date)
        if name not in self.model:
            with pytest.raises(NoSuchMailbox):
                await act
            return
        box = self.model[name]
        placed = await act
        assert list(placed.uids) == [box.add(m) for m in messages]
        assert placed.uidvalidity == box.uidvalidity

    async def copy(self, account, _, name, uids, target, move=False) -> None:
        await account.refresh()
        if name not in self.model:
            return
        table = account.find(name)
        act = (account.move if move else account.copy)(table, uids, target)
        if target not in self.model:
            with pytest.raises(NoSuchMailbox):
                await act
            return
        placed = await act
        source, box = self.model[name], self.model[target]
        there = [uid for uid in sorted(uids) if uid in source.messages]
        assert list(placed.sources) == there
        copies = [Message(m.body, m.flags, m.date) for m in map(source.messages.get, there)]
        assert list(placed.uids) == [box.add(m) for m in copies]
        assert placed.uidvalidity == box.uidvalidity
        if move:
            for uid in there:
                del source.messages[uid]

    async def move(self, account, who, name, uids, target) -> None:
        await self.copy(account, who, name, uids, target, move=True)

    async def store(self, account, _, name, uids, mode, flags) -> None:
        await account.refresh()
        if name not in self.model:
            return
        result = await account.store_flags(account.find(name), uids, mode, flags)
        changed = []
        for uid, message in sorted(self.model[name].messages.items()):
            if uid in uids:
                given = frozenset(flags)
                new = {"+": message.flags | given, "-": message.flags - given, "=": given}[mode]
                if new != message.flags:
                    changed.append(uid)
                    message.flags = new
        assert list(result.changed) == changed
        assert bool(result.modseq) == bool(changed)

    async def expunge(self, account, _, name, uids) -> None:
        await account.refresh()
        if name not in self.model:
            return
        gone = await account.expunge(account.find(name), uids)
        messages = self.model[name].messages
        expected = [
            uid for uid, m in messages.items() if "\\Deleted" in m.flags and (uids is None or uid in uids)
        ]
        assert gone == sorted(expected)
        for uid in gone:
            del messages[uid]

    async def deliver(self, account, _, detail, count) -> None:
        box = await self.boxes.open(account.id)
        target = self.model.get(detail, self.model["INBOX"])
        for _ in range(count):
            message = self.new_message(date=1_234_567_890 + self.count)
            letter = box.letter("s@example.org", "r@example.org", detail, message.date + 0.5)
            await letter.write(message.body)
            await letter.send()
            target.add(message)
        assert await account.drain.all_waiting() == count

    async def create(self, account, _, name) -> None:
        if name in self.model:
            with pytest.raises(AlreadyExists):
                await account.create_mailbox(name)
            return
        await account.create_mailbox(name)
        self.learn(account, name)

    def learn(self, account, name) -> None:
        """New mailboxes, with the levels above."""
        for above in [name.partition("/")[0], name]:
            if above not in self.model:
                table = account.find(above)
                assert table.uidvalidity not in {box.uidvalidity for box in self.model.values()}
                self.model[above] = Mailbox(table.uidvalidity)

    async def delete(self, account, _, name) -> None:
        inner = any(other.startswith(name + "/") for other in self.model)
        if name == "INBOX" or (name not in self.model and inner):
            with pytest.raises(Refused):
                await account.delete_mailbox(name)
        elif name not in self.model:
            with pytest.raises(NoSuchMailbox):
                await account.delete_mailbox(name)
        else:
            await account.delete_mailbox(name)
            del self.model[name]

    async def rename(self, account, _, name, new) -> None:
        moved = {old for old in self.model if old == name or old.startswith(name + "/")}
        try:
            await account.rename_mailbox(name, new)
        except NoSuchMailbox:
            assert not moved
            return
        except AlreadyExists:
            assert moved
            assert new in self.model or any(new + old[len(name) :] in self.model for old in moved)
            return
        except Refused:
            assert new.startswith(name + "/")
            return
        if name == "INBOX":
            inbox = self.model["INBOX"]
            self.learn(account, new)
            for _, message in sorted(inbox.messages.items()):
                self.model[new].add(message)
            inbox.messages = {}
            return
        renamed = {new + old[len(name) :]: self.model.pop(old) for old in sorted(moved)}
        self.model |= renamed
        self.learn(account, new)

    async def sync(self, account, who, allow_expunge) -> None:
        changes = self.views[who].sync(allow_expunge)
        told = self.told[who]
        for seq in changes.expunged:
            del told[seq - 1]
        if changes.exists is not None:
            told += self.views[who].uids[len(told) : changes.exists]
        assert told == list(self.views[who].uids)

    async def restart(self, _, who) -> None:
        self.accounts[who] = await self.world.open()
        self.views[who] = await self.accounts[who].open_mailbox("INBOX")
        self.told[who] = list(self.views[who].uids)

    async def fold(self, account, _) -> None:
        await account.fold(force=True)

    async def compare(self) -> None:
        for who, account in enumerate(self.accounts):
            await account.refresh()
            assert {i.name for i in account.mailboxes() if i.selectable} == set(self.model)
            for name, box in self.model.items():
                table = account.find(name)
                bodies = [body async for body in account.read_bodies(table.contents)]
                rows = zip(table.uids, bodies, table.flags, table.dates, strict=True)
                real = {u: Message(b, frozenset(account.flags_of(f)), d) for u, b, f, d in rows}
                assert real == box.messages
                assert (table.uidnext, table.uidvalidity) == (box.uidnext, box.uidvalidity)
            await self.sync(account, who, True)
            assert self.told[who] == sorted(self.model["INBOX"].messages)


@settings(max_examples=60, deadline=None)
@given(script, st.booleans())
async def test_an_account_is_a_dict_of_mailboxes(commands, packed) -> None:
    world = World()
    world.stores.object_costs_request = packed
    with pytest.MonkeyPatch.context() as patch:
        small_packs(patch)
        await _run(world, commands)


async def _run(world, commands) -> None:
    async with trio.open_nursery() as nursery:
        boxes = LetterBoxes(world.stores, nursery)
        driver = Driver(world, boxes)
        await driver.start()
        for who, (what, *arguments) in commands:
            await driver.do(who, what, *arguments)
        await driver.compare()
        assert await world.audit() == []
        await boxes.aclose()
