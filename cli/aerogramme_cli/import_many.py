"""Many accounts at a time: a few processes, each of which does one account after another."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aerogramme_cli.import_job import Job, Shown
from aerogramme_cli.options import Where

if TYPE_CHECKING:
    import trio

READ = 1 << 16
FAILED = 70  # exit code of an account whose process has died


@dataclass(slots=True)
class Done:
    """What has become of an account: `plain` is its Outcome, None if it failed altogether."""

    address: str
    plain: dict[str, Any] | None = None
    error: str = ""
    hint: str = ""
    code: int = 0


@dataclass(slots=True)
class _Work:
    """What is left to do, and what was done."""

    where: Where
    jobs: list[Job]
    shown: Shown
    done: list[Done] = field(default_factory=list)


async def run_many(where: Where, jobs: Sequence[Job], processes: int, shown: Shown) -> list[Done]:
    """Does all jobs, so many at a time. The outcomes, in the order of the jobs; none is left out."""
    import trio

    work = _Work(where, list(reversed(jobs)), shown)
    async with trio.open_nursery() as nursery:
        for _ in range(min(processes, len(jobs))):
            nursery.start_soon(_worker, work)
    place = {job.address: at for at, job in enumerate(jobs)}
    return sorted(work.done, key=lambda done: place[done.address])


async def _worker(work: _Work) -> None:
    """Does jobs as long as there are any; a process that dies is replaced by another."""
    from aerogramme.migrate.sealing import end

    while work.jobs:
        async with AsyncExitStack() as stack:
            process = await _start()
            stack.push_async_callback(end, process)  # at Ctrl-C, too: it may be killed at any moment
            lines = _Lines(process)
            while work.jobs:
                job = work.jobs.pop()
                done = await _do(process, lines, job, work)
                work.done.append(done)
                if done.code == FAILED and process.poll() is not None:
                    break


async def _start() -> "trio.Process":
    import trio

    # -P: no module of the folder that the command happens to run in is taken for one of ours.
    command = [sys.executable, "-P", "-m", "aerogramme_cli.import_worker"]
    return await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def _do(process: "trio.Process", lines: "_Lines", job: Job, work: _Work) -> Done:
    work.shown(job.address, {"part": 0.0, "words": ""})
    try:
        return await _ask(process, lines, job, work)
    finally:
        work.shown(job.address, None)


async def _ask(process: "trio.Process", lines: "_Lines", job: Job, work: _Work) -> Done:
    import trio

    assert process.stdin is not None
    with suppress(trio.BrokenResourceError):
        await process.stdin.send_all(job.to_json(work.where).encode() + b"\n")
        while (line := await lines.next()) is not None:
            match json.loads(line):
                case {"progress": dict(progress)}:
                    work.shown(job.address, progress)
                case {"done": dict(plain)}:
                    return Done(job.address, plain)
                case {"error": str(error), "hint": str(hint), "code": int(code)}:
                    return Done(job.address, None, error, hint, code)
    status = await process.wait()
    return Done(
        job.address, None, f"its process has ended ({status})", "the same command again goes on", FAILED
    )


class _Lines:
    """The lines that a process prints."""

    def __init__(self, process: "trio.Process") -> None:
        assert process.stdout is not None
        self._stream = process.stdout
        self._held = bytearray()

    async def next(self) -> bytes | None:
        """The next line; None at the end."""
        searched = 0
        while (end := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            data = await self._stream.receive_some(READ)
            if not data:
                return None
            self._held += data
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line
