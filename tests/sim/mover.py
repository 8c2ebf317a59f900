"""An import at the same time: parcels, put down by who has the public key alone, for mailboxes in which
others are at work. What is not acknowledged comes again, with the same contents.
"""

from random import Random
from typing import TYPE_CHECKING

import trio

from aerogramme.errors import Unavailable
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import Content, Upload
from aerogramme.mailbox.incoming.incoming import LetterBox
from aerogramme.mailbox.incoming.landing import Landing
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from tests.sim.belief import mail
from tests.sim.chance import HERE, Machine
from tests.sim.servers import ACCOUNT

if TYPE_CHECKING:
    from tests.sim.world import World

MOVING = 8  # one schedule in so many has it
UIDVALIDITY = 77  # of its first mailbox, and one more for each


class Mover:
    """Brings some parcels for some mailboxes, each mailbox in the order of its UIDs."""

    def __init__(self, world: "World") -> None:
        self.world, self.random = world, Random(world.seed)
        self.machine = Machine("mover")
        self.moves = world.seed % MOVING == 5

    async def live(self) -> None:
        if not self.moves:
            return
        HERE.set(self.machine)
        world, random = self.world, self.random
        stores, _ = world.reach()
        async with trio.open_nursery() as nursery:
            boxes = LetterBoxes(stores, nursery)
            names = random.sample(["INBOX", "Work", "Old", "Archive"], random.choice([1, 2]))
            for validity, name in enumerate(names, UIDVALIDITY):
                uid, mailbox = random.choice([1, 5]), 0
                for _ in range(random.choice([1, 2, 3])):
                    await world.pause(world.pace)
                    uids = [uid + n for n in sorted(random.sample(range(6), random.choice([0, 1, 3])))]
                    uid += random.choice([6, 10])
                    numbers = [world.new_number() for _ in uids]
                    for number in numbers:
                        world.ledger.detailed.add(number)
                        world.ledger.sent[number] = 1
                    world.tell(f"mover: mails {numbers} for {name} at {uids}")
                    box = await self._patiently(lambda: boxes.open(ACCOUNT))
                    mailbox = mailbox or box.new_ids(1)[0]
                    said = {"uidvalidity": validity, "imported": uid, "mailbox": mailbox}
                    await self._move(box, await boxes.store(ACCOUNT), name, uids, numbers, said)
                    for number in numbers:
                        world.ledger.letters[number] = 1
                    world.tell(f"mover: mails {numbers}: done")
            await boxes.aclose()

    async def _move(self, box: LetterBox, store, name, uids, numbers, said) -> None:
        ids = box.new_ids(len(uids))
        contents: list[Content] = []
        for content, number in zip(ids, numbers, strict=True):
            upload = Upload(content, bytes.fromhex(ACCOUNT), store, 1 << 20, None)
            await upload.write(mail(number))
            made, sealed = await upload.finish()
            assert sealed is not None
            contents.append(made)
            await self._patiently(lambda c=content, body=sealed: store.put(body_name(c), body))
        landing = Landing.of(name, contents, uids, [0] * len(uids), [()] * len(uids), **said)
        await self._patiently(lambda: box.parcel(landing))

    async def _patiently(self, call):
        while True:
            try:
                return await call()
            except Unavailable:
                await trio.sleep(self.random.uniform(0, 3))
