"""Stores whose calls are counted and take their time: what a command costs where each call is a trip."""

from collections.abc import Callable
from typing import Any

import trio

from aerogramme.store import Store, Stores

# All but `watch`, which nobody waits for.
CALLS = {
    *("put", "get", "get_many", "delete", "list", "sizes"),
    *("append", "read", "page", "confirm", "delete_rows", "delete_range"),
}


class CountingStores:
    """Other stores, with every call to a store noted in `calls`, and taking `seconds` longer. `given` and
    `taken`: the octets of names and contents that the store was given to store, and has answered with."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.calls: list[str] = []
        self.seconds = 0.0
        self.given = self.taken = 0

    async def open(self, account: str, *, create: bool = False) -> "CountingStore":
        return CountingStore(await self._stores.open(account, create=create), self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stores, name)


class CountingStore:
    def __init__(self, store: Store, stores: CountingStores) -> None:
        self._store, self._stores = store, stores

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._counted(name, found) if name in CALLS else found

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            self._stores.calls.append(name)
            if self._stores.seconds:
                await trio.sleep(self._stores.seconds)
            if name in ("put", "append"):
                self._stores.given += octets([*args, *options.values()])
            answer = await real(*args, **options)
            self._stores.taken += octets(answer)
            return answer

        return call


def octets(value: Any) -> int:
    """Of all bytes and text in what a call is given, or answers."""
    if isinstance(value, bytes | str):
        return len(value)
    return sum(map(octets, value)) if isinstance(value, tuple | list) else 0
