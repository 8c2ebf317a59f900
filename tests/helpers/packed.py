"""Accounts whose bodies are packed: mail for them, and a store that counts."""

import os

from aerogramme.log import folding
from aerogramme.mailbox import packs
from aerogramme.store.port import Part

ID = "00" * 16


def small_packs(monkeypatch):
    """Packs and segments that are small, so that few messages make many."""
    monkeypatch.setattr(packs, "LEAST", 2)
    monkeypatch.setattr(packs, "PACK", 3000)
    monkeypatch.setattr(packs, "SMALL", 1000)
    monkeypatch.setattr(folding, "SEGMENT", 20)


def letters(first, count, size=40):
    return [
        b"Subject: %d\r\n\r\n%s\r\n" % (n, os.urandom(size).hex().encode())
        for n in range(first, first + count)
    ]


def objects_of(world, prefix=""):
    return {n: b for n, b in world.stores._accounts[ID].objects.items() if n.startswith(prefix)}


async def records_of(account, name="INBOX"):
    contents = account.find(name).contents
    return {content: await account.bodies.record(content) for content in contents}


async def bodies_of(account, name="INBOX"):
    return [body async for body in account.read_bodies(account.find(name).contents)]


class Counted:
    """A store that notes what was asked of it, and what it gave."""

    def __init__(self, store):
        self._store = store
        self.trips, self.largest, self.put_octets = [], 0, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def get_many(self, wanted):
        got = await self._store.get_many(wanted)
        self.trips.append(list(wanted))
        self.largest = max(self.largest, sum(len(body) for body in got if body))
        return got

    async def put(self, name, body):
        self.put_octets.append(len(body))
        await self._store.put(name, body)

    async def get(self, name, start=0, stop=None):
        self.trips.append([Part(name, start, stop)])
        return await self._store.get(name, start, stop)


class CountedStores:
    def __init__(self, stores):
        self._stores = stores

    async def open(self, account):
        return Counted(await self._stores.open(account))
