"""The store's promise: two primitives, objects and rows, for one account.

    objects   written once, never changed; found by listing
    rows      small, in partitions, written once; a partition can be read from where one was, and watched

Nothing is overwritten and nothing depends on compare-and-swap. Every call may be repeated. A call that raised
`Unavailable` may have happened, and may happen later; a call that returned is durable and seen by every later read,
from any process.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NewType, Protocol

Cursor = NewType("Cursor", Any)  # type: ignore[valid-newtype]  # opaque: each store has its own kind
Body = bytes | AsyncIterable[bytes]
