"""Letters are sealed and rendered: here, or in processes beside, so that other cores have a share of it.

A process beside is sealer.py, run as a program. It is given some letters at a time, in memory that it
shares with this one: a head, and the letters. It puts there, in the same way, their records and digests, and
the sealed bodies. How long the head is, which is msgpack, they tell each other by pipes, as eight octets. It
holds no key of the account: every letter gets a key of its own, which comes back with it.
"""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
import trio

from aerogramme.errors import Unavailable
from aerogramme.mail.digest import Digest
from aerogramme.mailbox.body_record import BodyRecord
from aerogramme.mailbox.contents import Content
from aerogramme.migrate import sealer
from aerogramme.migrate.sealer import LENGTH, Unsealed, seal
from aerogramme.migrate.shared import Shared
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.seal.body import ContentKey

WORTH_IT: Final = 300  # letters for which a process is started: that costs as much as some hundred
MOST: Final = 2  # processes: more have nothing to do, since letters are read and land in this one


def workers_of_this_machine() -> int:
    """How many processes beside this one are of use: it waits for disks, too, so two are with two cores."""
    cores = len(os.sched_getaffinity(0))
    return min(MOST, cores) if cores > 1 else 0


@dataclass(frozen=True, slots=True)
class _Beside:
    """A process, and the memory that it shares with this one."""

    process: trio.Process
    shared: Shared

    @classmethod
    async def start(cls) -> "_Beside":
        shared = Shared.new()
        # -P: no module of the folder that the command happens to run in is taken for one of ours.
        command = [sys.executable, "-P", "-m", sealer.__name__, str(shared.descriptor)]
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[shared.descriptor],
            process_group=0,  # Ctrl-C in a terminal is for this process, which ends the other one
        )
        return cls(process, shared)

    async def seal(self, account: bytes, letters: list[Unsealed]) -> tuple[list[Any], list[bytes]]:
        """What it says of letters, and their sealed bodies. The letters are taken out of the list."""
        assert self.process.stdin is not None and self.process.stdout is not None
        length = self._hand_over(account, letters)
        letters.clear()
        try:
            await self.process.stdin.send_all(length.to_bytes(LENGTH, "big"))
            answer = b""
            while len(answer) < LENGTH:
                data = await self.process.stdout.receive_some(LENGTH - len(answer))
                if not data:
                    raise trio.BrokenResourceError
                answer += data
        except trio.BrokenResourceError:
            raise Unavailable(
                "a process that seals letters has ended", hint="the same command again goes on"
            ) from None
        length = int.from_bytes(answer, "big")
        told: list[Any] = self.shared.unpacked(length)
        bodies = self.shared.read([record[1] for record, _digest in told], length)
        self.shared.shrink()
        return told, bodies

    def _hand_over(self, account: bytes, letters: Sequence[Unsealed]) -> int:
        """Puts letters into the shared memory. The length of the head."""
        contents, raws, lines = zip(*letters, strict=True)
        head: bytes = msgpack.packb([account, contents, [*map(len, raws)], lines])
        self.shared.write([head, *raws])
        return len(head)

    async def aclose(self) -> None:
        await end(self.process)
        self.shared.close()


class Sealing:
    """Seals groups of letters, some of them at the same time; `ahead` says how many.

    With no processes beside, it is done here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._beside: list[_Beside] = []
        self._free, self._idle = trio.open_memory_channel[_Beside](MOST)

    async def prepare(self, letters: int) -> None:
        """So many letters are to come: processes are started if that is worth it."""
        if letters >= WORTH_IT:
            while len(self._beside) < self._most:
                beside = await _Beside.start()
                self._beside.append(beside)
                await self._free.send(beside)

    @property
    def ahead(self) -> int:
        """How many groups may be under way besides the one that is waited for."""
        return len(self._beside)

    async def seal(self, account: bytes, letters: list[Unsealed]) -> list[Arrived]:
        """The letters, in their order, sealed and rendered. They are taken out of the list, for nothing is to
        hold them any longer. Raises Unavailable when a process has ended."""
        done = []
        if not self._beside:
            for letter in letters:
                record, digest, sealed = seal(account, letter)
                done.append(Arrived(Content(letter.content, record, digest), sealed))
                await trio.lowlevel.checkpoint()
            return done
        contents = [letter.content for letter in letters]
        beside = await self._idle.receive()
        try:
            told, bodies = await beside.seal(account, letters)
        finally:  # one that has ended says so to the next, too
            self._free.send_nowait(beside)
        for content, ((key, *sizes), digest), sealed in zip(contents, told, bodies, strict=True):
            record = BodyRecord(ContentKey.from_bytes(key), *sizes)
            done.append(Arrived(Content(content, record, Digest(*digest)), sealed))
        return done

    async def aclose(self) -> None:
        """The processes end, whatever they do."""
        for beside in self._beside:
            await beside.aclose()


async def end(process: trio.Process) -> None:
    """A process with pipes ends at once."""
    with trio.CancelScope(shield=True):
        process.kill()
        assert process.stdin is not None and process.stdout is not None
        await process.stdin.aclose()
        await process.stdout.aclose()
        await process.wait()


@asynccontextmanager
async def sealing(most: int) -> AsyncGenerator[Sealing, None]:
    """With up to so many processes beside this one, as long as it is needed."""
    found = Sealing(most)
    try:
        yield found
    finally:
        await found.aclose()
