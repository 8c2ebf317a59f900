"""Mail servers that bring letters by LMTP: what is not acknowledged comes again."""

from typing import TYPE_CHECKING

import trio

from tests.sim.belief import mail

if TYPE_CHECKING:
    from tests.sim.world import World

LOST = (EOFError, trio.BrokenResourceError, trio.ClosedResourceError)


class Sender:
    """Brings some letters, one after the other, and each until it is taken."""

    def __init__(self, world: "World", name: str, count: int) -> None:
        self.world, self.name = world, name
        self._count = count

    async def live(self) -> None:
        world, random = self.world, self.world.random
        for _ in range(self._count):
            await world.pause(world.pace)
            details = random.choice([[""], [""], [""], ["+Archive"], ["+work"], ["", "+archive"]])
            await self.deliver(world.new_number(), details)

    async def deliver(self, number: int, details: list[str]) -> None:
        world, pause = self.world, 1.0
        if "+work" in details:
            world.ledger.detailed.add(number)
        while details:
            try:
                details = await self._attempt(number, details)
            except LOST:
                world.tell(f"{self.name}: letter {number}: the connection is lost")
            if details:
                await trio.sleep(world.random.uniform(0, pause))
                pause = min(2 * pause, 30.0)

    async def _attempt(self, number: int, details: list[str]) -> list[str]:
        """One connection. Which recipients are left."""
        world = self.world
        process = world.random.choice(world.servers).process
        if process is None:
            return details
        talk = _Talk(process.lmtp())
        try:
            await talk.replies(b"", 1)
            await talk.replies(b"LHLO mta.example\r\n", 1)
            await talk.replies(b"MAIL FROM:<bob@example.org>\r\n", 1)
            for detail in details:
                [reply] = await talk.replies(b"RCPT TO:<alice%b@example.org>\r\n" % detail.encode(), 1)
                assert reply.startswith(b"250"), reply
            await talk.replies(b"DATA\r\n", 1)
            world.ledger.sent[number] += len(details)
            world.tell(f"{self.name}: letter {number} to {process.machine.name} for {details}")
            replies = await talk.replies(mail(number) + b".\r\n", len(details))
            left = []
            for detail, reply in zip(details, replies, strict=True):
                world.tell(f"{self.name}: letter {number} {detail}: {reply[:3].decode()}")
                if reply.startswith(b"250"):
                    world.ledger.letters[number] = world.ledger.letters.get(number, 0) + 1
                else:
                    assert reply.startswith(b"4"), reply
                    left.append(detail)
            return left
        finally:
            await trio.aclose_forcefully(talk.stream)


class _Talk:
    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._heard = b""

    async def replies(self, said: bytes, count: int) -> list[bytes]:
        """Says something and hears the last lines of that many replies."""
        if said:
            await self.stream.send_all(said)
        found: list[bytes] = []
        while len(found) < count:
            line, end, rest = self._heard.partition(b"\r\n")
            if end:
                self._heard = rest
                if line[3:4] != b"-":
                    found.append(line)
                continue
            more = await self.stream.receive_some()
            if not more:
                raise EOFError
            self._heard += more
        return found
