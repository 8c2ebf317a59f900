"""Nothing happens by chance: what the program asks the machine for comes from the seed.

Times of day, random numbers, the order in which trio runs its tasks. Keys and nonces stay random: nothing
depends on them. There are no threads, which are not replayed; passwords cost nothing, and a key is read, and
what was sealed to it opened, once: what comes out is the same each time.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from random import Random
from typing import Any
from unittest.mock import patch

import trio

from aerogramme.lmtp import server as lmtp_server
from aerogramme.log import checkpoint, clock, folding, journal, segment
from aerogramme.mailbox import account, packs
from aerogramme.mailbox.history import letting_go
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.keys import changing, keys, reencrypting
from aerogramme.seal.hybrid import HybridPrivate, HybridPublic
from tests.helpers.clocks import run_here

START = 1_700_000_000.0  # unix seconds at which every schedule begins


class Machine:
    """A machine with its clock, which is off from the true time by `skew` seconds. `slept`: how long all of
    them did nothing, while time passed."""

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.name, self.skew, self.slept = name, skew, 0.0

    def now(self) -> float:
        return START + trio.current_time() + self.slept + self.skew


HERE: ContextVar[Machine] = ContextVar("the machine on which a task runs")


class _Time:
    """In place of the module `time`."""

    def time(self) -> float:
        return HERE.get().now()

    def time_ns(self) -> int:
        return int(HERE.get().now() * 1e9)


class _Secrets:
    """In place of the module `secrets`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def SystemRandom(self) -> Random:  # noqa: N802 - the name of the class
        return self._random

    def randbelow(self, stop: int) -> int:
        return self._random.randrange(stop)

    def token_hex(self, octets: int) -> str:
        return self._random.randbytes(octets).hex()


class _Os:
    """In place of the module `os`."""

    def __init__(self, random: Random) -> None:
        self.urandom = random.randbytes


class Complaints(logging.Handler):
    """What the program logs as an error: in no schedule is there a reason for one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


_stretched: dict[tuple[bytes, bytes], keys.SlotPrivate] = {}


async def _stretch(slot: keys.Slot, secret: keys.Secret) -> keys.SlotPrivate:
    """The first time costs what it costs."""
    known = slot.public.fingerprint, secret.reveal()
    if known not in _stretched:
        _stretched[known] = slot.unlock(secret)
    return _stretched[known]


_once = lru_cache(maxsize=4096)


def _read_once(kind: type) -> Callable[[Any, bytes], None]:
    """In place of the __init__ of keys."""
    read = kind.__init__

    @_once
    def known(raw: bytes) -> Any:
        key = object.__new__(kind)
        read(key, raw)
        return key

    def init(self: Any, raw: bytes) -> None:
        key = known(raw)
        for name in kind.__slots__:
            setattr(self, name, getattr(key, name))

    return init


_public, _private = _read_once(HybridPublic), _read_once(HybridPrivate)


@_once
def _opened(seed: bytes, sealed: bytes, info: bytes, opening=HybridPrivate.open) -> bytes:
    return opening(HybridPrivate(seed), sealed, info)


def _open(key: HybridPrivate, sealed: bytes, info: bytes) -> bytes:
    return _opened(key.seed, bytes(sealed), info)


@contextmanager
def seeded(seed: int, **constants: int) -> Iterator[Complaints]:
    """While this is open, trio and the program are as the seed says. `constants`: of folding."""
    run = trio._core._run
    complaints, logger = Complaints(), logging.getLogger("aerogramme")
    before = run._r.getstate(), logger.level, logger.propagate, gc.isenabled()
    secrets, time = _Secrets(Random(seed)), _Time()
    with ExitStack() as stack:
        for module in (journal, checkpoint, incoming, letting_go, changing, reencrypting):
            stack.enter_context(patch.object(module, "secrets", secrets))
        for module in (clock, account, incoming, lmtp_server):
            stack.enter_context(patch.object(module, "time", time))
        stack.enter_context(patch.object(segment, "os", _Os(Random(seed))))
        stack.enter_context(patch.object(incoming, "_ids", incoming._LetterIds()))
        stack.enter_context(patch.object(keys, "stretch", _stretch))
        stack.enter_context(patch.object(HybridPublic, "__init__", _public))
        stack.enter_context(patch.multiple(HybridPrivate, __init__=_private, open=_open))
        stack.enter_context(patch.object(trio.to_thread, "run_sync", run_here))
        stack.enter_context(patch.object(run, "_ALLOW_DETERMINISTIC_SCHEDULING", True))
        stack.enter_context(patch.object(packs, "LEAST", 2))  # of few mails some are packed
        for name, value in constants.items():
            stack.enter_context(patch.object(folding, name, value))
        run._r.seed(seed)
        logger.addHandler(complaints)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        gc.disable()  # what it finds, and when, depends on what ran before
        try:
            yield complaints
        finally:
            logger.removeHandler(complaints)
            run._r.setstate(before[0])
            logger.setLevel(before[1])
            logger.propagate = before[2]
            if before[3]:
                gc.enable()
