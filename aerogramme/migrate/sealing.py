"""Letters are sealed and rendered: here, or in processes beside, so that other cores have a share of it.

A process beside is this module, run as a program. It is given some letters at a time, and gives back what has
become of them; both as msgpack after eight octets of length. It holds no key of the account: every letter
gets a key of its own, which comes back with it.
"""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, BinaryIO, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
import trio

from aerogramme.errors import Unavailable
from aerogramme.mail.digest import Digest, render
from aerogramme.mailbox.contents import BodyRecord, Content, body_binding
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.seal.body import BodySealer, ContentKey

WORTH_IT: Final = 300  # letters for which a process is started: that costs as much as some hundred
MOST: Final = 2  # processes: more have nothing to do, since letters are read and land in this one
_LENGTH: Final = 8
_FIELDS: Final = tuple(each.name for each in fields(Digest))


def workers_of_this_machine() -> int:
    """How many processes beside this one are of use."""
    return min(MOST, (os.cpu_count() or 1) - 1)


def seal(account: bytes, content: int, raw: bytes) -> Arrived:
    """A letter that is held whole."""
    key = ContentKey.generate()
    sealer = BodySealer(key, body_binding(account, content))
    sealed = sealer.update(raw) + sealer.finish()
    record = BodyRecord(key, sealer.sealed_size, len(raw))
    return Arrived(Content(content, record, render(raw)), sealed)


class Sealing:
    """Seals groups of letters, some of them at the same time; `ahead` says how many.

    With no processes beside, it is done here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._processes: list[trio.Process] = []
        self._free, self._idle = trio.open_memory_channel[trio.Process](MOST)

    async def prepare(self, letters: int) -> None:
        """So many letters are to come: processes are started if that is worth it."""
        if letters >= WORTH_IT:
            while len(self._processes) < self._most:
                # -P: no module of the folder that the command happens to run in is taken for one of ours.
                command = [sys.executable, "-P", "-m", __spec__.name]
                process = await trio.lowlevel.open_process(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                self._processes.append(process)
                await self._free.send(process)

    @property
    def ahead(self) -> int:
        """How many groups may be under way besides the one that is waited for."""
        return len(self._processes)

    async def seal(self, account: bytes, contents: Sequence[int], raws: Sequence[bytes]) -> list[Arrived]:
        """What has become of the letters, in their order. Raises Unavailable when a process has ended."""
        if not self._processes:
            done = []
            for content, raw in zip(contents, raws, strict=True):
                done.append(seal(account, content, raw))
                await trio.lowlevel.checkpoint()
            return done
        process = await self._idle.receive()
        try:
            answer = await _ask(process, [account, list(contents), list(raws)])
        finally:  # one that has ended says so to the next, too
            self._free.send_nowait(process)
        return [
            Arrived(Content(content, BodyRecord(ContentKey.from_bytes(key), *sizes), Digest(*digest)), sealed)
            for content, (key, sizes, digest, sealed) in zip(contents, answer, strict=True)
        ]

    async def aclose(self) -> None:
        """The processes end, whatever they do."""
        for process in self._processes:
            await end(process)


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


async def _ask(process: trio.Process, question: Any) -> Any:
    assert process.stdin is not None and process.stdout is not None
    packed = msgpack.packb(question)
    held = bytearray()
    try:
        await process.stdin.send_all(len(packed).to_bytes(_LENGTH, "big") + packed)
        end = _LENGTH
        while len(held) < end:
            data = await process.stdout.receive_some(1 << 20)
            if not data:
                raise trio.BrokenResourceError
            held += data
            if end == _LENGTH <= len(held):
                end += int.from_bytes(held[:_LENGTH], "big")
    except trio.BrokenResourceError:
        raise Unavailable(
            "a process that seals letters has ended", hint="the same command again goes on"
        ) from None
    return msgpack.unpackb(memoryview(held)[_LENGTH:])


def main(given: BinaryIO, out: BinaryIO) -> None:
    """Until who has started this has no more letters, or is gone."""
    while len(head := given.read(_LENGTH)) == _LENGTH:
        account, contents, raws = msgpack.unpackb(given.read(int.from_bytes(head, "big")))
        answer = []
        for content, raw in zip(contents, raws, strict=True):
            arrived = seal(account, content, raw)
            record, digest = arrived.content.record, arrived.content.digest
            sizes = record.sealed_size, record.size
            told = [getattr(digest, name) for name in _FIELDS]
            answer.append([record.key.to_bytes(), sizes, told, arrived.sealed])
        packed = msgpack.packb(answer)
        out.write(len(packed).to_bytes(_LENGTH, "big") + packed)
        out.flush()


if __name__ == "__main__":
    try:
        main(sys.stdin.buffer, sys.stdout.buffer)
    except (KeyboardInterrupt, BrokenPipeError):  # who has started this is going
        sys.exit(1)
