"""Keys of 10,000 messages rotated by the command, while a real server delivers and serves them."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import trio

from aerogramme.errors import Damaged
from aerogramme.log.resealing import OBJECTS
from aerogramme.mailbox.keys.rotation import PARTITIONS
from aerogramme.seal import Keyring
from aerogramme.store import open_stores
from tests.helpers.audit import audit_data
from tests.helpers.large_account import account_of, letter, make_large_account
from tests.helpers.server import ADDRESS, PASSWORD, Server, aerogramme, serving

MESSAGES = 10_000
STEP = 100  # messages fetched at a time


def reads(server: Server, begun: Callable[[], None], over: Event) -> int:
    """Reads through the mailbox again and again. Every answer is OK, and every letter what was put in."""
    client, fetched = server.imap(), 0
    assert client.select()[0] == "OK"
    start = 1
    while not over.is_set():
        kind, found = client.fetch(f"{start}:{start + STEP - 1}", "(UID ENVELOPE BODY.PEEK[])")
        bodies = [each[1] for each in found if isinstance(each, tuple)]
        assert kind == "OK" and bodies == [letter(n) for n in range(start - 1, start - 1 + STEP)]
        fetched += STEP
        start = (start + STEP - 1) % MESSAGES + 1
        assert client.noop()[0] == "OK"
        begun()
    client.logout()
    return fetched


def delivers(server: Server, begun: Callable[[], None], over: Event) -> int:
    """Letters, one after the other, each acknowledged; how many."""
    sent = 0
    with server.lmtp() as peer:
        while not over.is_set():
            assert peer.sendmail("a@example.org", [ADDRESS], letter(MESSAGES + sent)) == {}
            sent += 1
            begun()
    return sent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keyring]:
    """The account before any rotation, and what its password opens."""
    data = tmp_path_factory.mktemp("made") / "data"
    return data, make_large_account(data, MESSAGES).keyring


@pytest.mark.parametrize("options", [[], ["--bodies"]], ids=["metadata", "bodies"])
def test_a_rotation_under_way_refuses_and_loses_nothing(
    tmp_path: Path, made: tuple[Path, Keyring], options: list[str]
) -> None:
    data, old = tmp_path / "data", made[1]
    shutil.copytree(made[0], data)
    assert len(openable(data, old)) > 50
    where = [ADDRESS, "--data", str(data), "--password-stdin"]
    over, tasks = Event(), [reads, delivers]
    with serving(data) as server, ThreadPoolExecutor(len(tasks)) as pool:
        under_way = [Event() for _ in tasks]
        running = [
            pool.submit(task, server, begun.set, over) for task, begun in zip(tasks, under_way, strict=True)
        ]
        try:
            for begun in under_way:
                assert begun.wait(60)
            done = aerogramme("key", "rotate", *where, *options, stdin=PASSWORD)
        finally:
            over.set()
        fetched, sent = [each.result() for each in running]
        assert fetched >= STEP and sent >= 1
        assert b"generation 2 seals everything" in done.stdout
        assert openable(data, old) == []
        found = json.loads(aerogramme("key", "status", *where, "--json", stdin=PASSWORD).stdout)
        assert (found["left"], found["unfinished"], found["damaged"]) == (0, False, {})

        client = server.imap()
        assert client.select()[1] == [b"%d" % (MESSAGES + sent)]
        _, bodies = client.fetch(f"{MESSAGES + 1}:*", "(BODY.PEEK[TEXT])")
        texts = [letter(MESSAGES + n).partition(b"\r\n\r\n")[2] for n in range(sent)]
        assert sorted(each[1] for each in bodies if isinstance(each, tuple)) == sorted(texts)
        client.logout()
        assert server.stop() == 0
        assert "ERROR" not in server.log.read_text()
    assert audit_data(data, ADDRESS) == []


def openable(data: Path, keyring: Keyring) -> list[str]:
    """What in the store of the account a keyring opens, whatever its kind."""

    async def scan() -> list[str]:
        stores = open_stores(f"sqlite:{data}/accounts")
        store = await stores.open(account_of(data))
        found = []
        for prefix, kind in OBJECTS.items():
            for name in await store.list(prefix):
                found += _opens(keyring, kind, name, await store.get(name))
        for partition, kind in PARTITIONS.items():
            for key, value in (await store.read(partition))[0]:
                found += _opens(keyring, kind, key, value)
        await store.aclose()
        await stores.aclose()
        return found

    return trio.run(scan)


def _opens(keyring: Keyring, kind: str, name: str, sealed: bytes) -> list[str]:
    try:
        keyring.open(kind, name, sealed)
    except Damaged:
        return []
    return [name]
