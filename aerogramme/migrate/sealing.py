"""Letters are sealed and rendered: here, or in processes beside, so that other cores have a share of it.

A process beside is this module, run as a program. It is given some letters at a time: eight octets of length,
so many of msgpack that say how long each letter is, and the letters. It gives back, in the same way, their
records and digests, and the sealed bodies. It holds no key of the account: every letter gets a key of its
own, which comes back with it.
"""

import fcntl
import gc
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from itertools import accumulate
from typing import Any, BinaryIO, Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
import trio

from aerogramme.errors import Unavailable
from aerogramme.mail.digest import Digest, render
from aerogramme.mailbox.contents import BodyRecord, Content, body_binding
from aerogramme.migrate.targets.arriving import Arrived
from aerogramme.seal.body import ContentKey, seal_body

WORTH_IT: Final = 300  # letters for which a process is started: that costs as much as some hundred
MOST: Final = 2  # processes: more have nothing to do, since letters are read and land in this one
_LENGTH: Final = 8
_PIPE: Final = 1 << 20  # octets that a pipe holds, as many as anybody may ask for: a group passes at once
_FIELDS: Final = tuple(each.name for each in fields(Digest))


def workers_of_this_machine() -> int:
    """How many processes beside this one are of use: it waits for disks, too, so two are with two cores."""
    cores = len(os.sched_getaffinity(0))
    return min(MOST, cores) if cores > 1 else 0


def seal(account: bytes, content: int, raw: bytes) -> tuple[BodyRecord, Digest, bytes]:
    """Of a letter that is held whole the record, the digest and the sealed body."""
    key = ContentKey.generate()
    sealed = seal_body(key, body_binding(account, content), raw)
    return BodyRecord(key, len(sealed), len(raw)), render(raw), sealed


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
                for pipe in process.stdin, process.stdout:
                    assert isinstance(pipe, trio.lowlevel.FdStream)
                    with suppress(OSError):  # this user has too many: it is only slower
                        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
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
                record, digest, sealed = seal(account, content, raw)
                done.append(Arrived(Content(content, record, digest), sealed))
                await trio.lowlevel.checkpoint()
            return done
        process = await self._idle.receive()
        try:
            told, bodies = await _ask(process, account, contents, raws)
        finally:  # one that has ended says so to the next, too
            self._free.send_nowait(process)
        return [
            Arrived(Content(content, BodyRecord(ContentKey.from_bytes(key), *sizes), Digest(*digest)), sealed)
            for content, ((key, *sizes), digest), sealed in zip(contents, told, bodies, strict=True)
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


async def _ask(process: trio.Process, account: bytes, contents: Sequence[int], raws: Sequence[bytes]) -> Any:
    """What a process says of letters, and their sealed bodies."""
    assert process.stdin is not None and process.stdout is not None
    packed = msgpack.packb([account, [*contents], [*map(len, raws)]])
    try:
        await process.stdin.send_all(len(packed).to_bytes(_LENGTH, "big") + packed)
        await process.stdin.send_all(b"".join(raws))
        length = int.from_bytes(await _received(process.stdout, _LENGTH), "big")
        told = msgpack.unpackb(await _received(process.stdout, length))
        sizes = [record[1] for record, _digest in told]
        return told, _cut(await _received(process.stdout, sum(sizes)), sizes)
    except trio.BrokenResourceError:
        raise Unavailable(
            "a process that seals letters has ended", hint="the same command again goes on"
        ) from None


async def _received(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    held: list[bytes] = []
    while size:
        data = await stream.receive_some(min(size, _PIPE))
        if not data:
            raise trio.BrokenResourceError
        held.append(bytes(data))
        size -= len(data)
    return b"".join(held)


def _cut(joined: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Values of these sizes, which came one after the other."""
    return [joined[stop - size : stop] for stop, size in zip(accumulate(sizes), sizes, strict=True)]


def main(given: BinaryIO, out: BinaryIO) -> None:
    """Until who has started this has no more letters, or is gone."""
    gc.freeze()  # what has been imported stays
    while len(head := given.read(_LENGTH)) == _LENGTH:
        account, contents, sizes = msgpack.unpackb(given.read(int.from_bytes(head, "big")))
        told, bodies = list[Any](), list[bytes]()
        for content, size in zip(contents, sizes, strict=True):
            record, digest, sealed = seal(account, content, given.read(size))
            fields = [getattr(digest, name) for name in _FIELDS]
            told.append([[record.key.to_bytes(), record.sealed_size, record.size], fields])
            bodies.append(sealed)
        packed = msgpack.packb(told)
        out.write(len(packed).to_bytes(_LENGTH, "big") + packed)
        for body in bodies:
            out.write(body)
        out.flush()


if __name__ == "__main__":
    try:
        main(sys.stdin.buffer, sys.stdout.buffer)
    except (KeyboardInterrupt, BrokenPipeError):  # who has started this is going
        sys.exit(1)
