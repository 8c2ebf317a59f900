"""Random commands from several sessions on one account: each believes only untagged lines, and all agree at
the end."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.believer import Believer, Message
from tests.helpers.imap_world import World, imap_world, letter

FLAGS = [b"\\Seen", b"\\Flagged", b"\\Deleted", b"$Forwarded"]
STEPS = 60


class Actor:
    """One session and the dice that rule it."""

    def __init__(self, world: World, dice: random.Random, *, qresync: bool) -> None:
        self.world = world
        self.dice = dice
        self.qresync = qresync
        self.idling = False
        self.believer: Believer

    async def start(self) -> None:
        self.believer = Believer(await self.world.client())
        if self.qresync:
            assert (await self.believer.do(b"ENABLE QRESYNC")).kind == "OK"
        await self.believer.select(b"INBOX")

    async def step(self) -> None:
        if self.idling:
            self.idling = False
            assert (await self.believer.done()).kind == "OK"
        elif self.believer.command:
            answer = await self.believer.end()
            # What a message set names may be gone: that is no error. Nothing here is.
            assert answer.kind == "OK" or b"no message" in answer.text, answer
        elif self.dice.random() < 0.05:
            self.idling = True
            await self.believer.idle()
        elif self.qresync and self.dice.random() < 0.1:
            await self.come_back()
        else:
            await self.believer.begin(self.command())

    def command(self) -> bytes:
        dice, messages = self.dice, self.believer.messages
        known = [message.uid for message in messages if message.uid is not None]
        uid = b"UID " if known and dice.random() < 0.5 else b""
        numbers = sorted(dice.sample(known, dice.randint(1, len(known)))) if uid else []
        if not uid and messages:
            numbers = sorted(dice.sample(range(1, len(messages) + 1), dice.randint(1, len(messages))))
        if not numbers:
            mail = letter(dice.randint(100, 999))
            return b"APPEND INBOX (%b) {%d+}\r\n%b" % (dice.choice(FLAGS), len(mail), mail)
        span = b",".join(b"%d" % number for number in numbers)
        one = b"%d" % dice.choice(numbers)
        flags = b" ".join(dice.sample(FLAGS, dice.randint(1, 2)))
        mail = letter(dice.randint(100, 999))
        return dice.choices(
            [
                b"NOOP",
                b"%bSTORE %b %bFLAGS%b (%b)"
                % (uid, span, dice.choice([b"+", b"-", b""]), dice.choice([b"", b".SILENT"]), flags),
                b"%bFETCH %b (FLAGS UID)" % (uid, span),
                b"%bFETCH %b (UID BODY[TEXT])" % (uid, one),
                b"%bSEARCH ALL" % uid,
                b"EXPUNGE",
                b"UID EXPUNGE %b" % one if uid else b"CHECK",
                b"%bCOPY %b INBOX" % (uid, one),
                b"%bMOVE %b Archive" % (uid, one),
                b"APPEND INBOX (%b) {%d+}\r\n%b" % (flags, len(mail), mail),
            ],
            [3, 6, 4, 2, 2, 1, 1, 1, 1, 4],
        )[0]

    async def come_back(self) -> None:
        """RFC 7162 §3.2.5: the connection is lost; QRESYNC brings the client's cache up to date."""
        before = self.believer
        cache = {message.uid: message.flags for message in before.messages if message.uid is not None}
        complete = all(message.uid is not None and message.flags is not None for message in before.messages)
        await before.client.stream.aclose()
        if not complete:
            await self.start()
            return
        self.believer = now = Believer(await self.world.client(), uidvalidity=before.uidvalidity)
        await now.do(b"ENABLE QRESYNC")
        known = b",".join(b"%d" % uid for uid in sorted(cache)) or b"1"
        await now.select(b"INBOX (QRESYNC (%d %d %b))" % (before.uidvalidity, before.modseq, known))
        assert set(now.vanished) <= set(cache) | {1}
        left = sorted(set(cache) - set(now.vanished))
        # What it was not told about stands as it was; sequence numbers follow from the order of UIDs.
        assert len(left) <= len(now.messages)
        for message, uid in zip(now.messages, left, strict=False):
            assert message.uid in (None, uid)
            message.uid = uid
            if message.flags is None:
                message.flags = cache[uid]

    async def settle(self) -> None:
        if self.idling or self.believer.command:
            await self.step()
        assert (await self.believer.do(b"NOOP")).kind == "OK"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), _=st.random_module())
async def test_sessions_agree(seed: int, _: object) -> None:
    dice = random.Random(seed)
    async with imap_world() as world:
        await world.mail("INBOX", 4)
        actors = [Actor(world, dice, qresync=n == 2) for n in range(3)]
        for actor in actors:
            await actor.start()
        for _step in range(STEPS):
            await dice.choice(actors).step()
        for actor in actors:
            await actor.settle()
        for actor in actors:  # those who settled first have not heard of the last changes
            await actor.settle()
        async with world.account() as account:
            table = account.find("INBOX")
            truth = [
                Message(uid, frozenset(flag.encode() for flag in account.flags_of(number)))
                for uid, number in zip(table.uids, table.flags, strict=True)
            ]
        for actor in actors:
            believed = actor.believer.messages
            assert len(believed) == len(truth)
            for one, true in zip(believed, truth, strict=True):
                assert one.uid in (None, true.uid)
                assert one.flags in (None, true.flags)
            await actor.believer.do(b"UID SEARCH ALL")
            assert actor.believer.found == [message.uid for message in truth]
            await actor.believer.do(b"FETCH 1:* (UID FLAGS)")
            assert actor.believer.messages == truth
