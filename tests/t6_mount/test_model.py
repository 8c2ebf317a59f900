"""The mount beside a server on the same account: programs at the mount, IMAP and LMTP change the same mail at
the same time, and the mount is killed. Nothing is lost, and all see the same in the end."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.mount_model import (
    AtTheMount,
    ByImap,
    Ledger,
    Person,
    Sender,
    Shown,
    seen_by_imap,
    seen_by_mount,
)
from tests.helpers.mounted import PATIENCE, Mounts
from tests.helpers.server import ADDRESS, Server, serving

SEEDS = range(int(os.environ.get("MOUNT_SEEDS", "2")))
STEPS = 80  # of each person


@pytest.fixture
def server(data: Path) -> Iterator[Server]:
    with serving(data) as server:
        yield server


@pytest.mark.parametrize("seed", SEEDS)
def test_programs_imap_and_lmtp_at_the_same_time(seed: int, mounted: Mounts, server: Server) -> None:
    root, ledger = mounted("--rw").path, Ledger()
    with ExitStack() as stack:
        client = stack.enter_context(server.imap())
        lmtp = stack.enter_context(server.lmtp())
        at_mount = AtTheMount(ledger, Random(f"{seed} mount"), root)
        by_imap = ByImap(ledger, Random(f"{seed} imap"), client)
        together([at_mount, by_imap], STEPS, [Sender(ledger, Random(f"{seed} lmtp"), lmtp)])
        ledger.check(agreed(root, lambda: seen_by_imap(client)))
    assert server.stop() == 0
    assert audit_data(mounted.data, ADDRESS) == []


def together(people: list[Person], steps: int, slower: list[Person]) -> None:
    """All do so much, each in a thread; the slower ones a quarter of that."""
    failed: list[BaseException] = []

    def live(person: Person, steps: int) -> None:
        try:
            while person.counts.total() < steps and not failed:
                person.step()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=live, args=(person, steps)) for person in people]
    threads += [threading.Thread(target=live, args=(person, steps // 4)) for person in slower]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def agreed(root: Path, by_imap: Callable[[], list[Shown]]) -> list[Shown]:
    """What both views show, as soon as they show the same."""
    give_up = time.monotonic() + PATIENCE
    while True:
        expected = by_imap()
        with suppress(FileNotFoundError):  # it hears of a change just now
            shown = seen_by_mount(root)
            if shown == expected:
                return shown
        assert time.monotonic() < give_up, (shown, expected)
