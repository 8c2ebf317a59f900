"""The faults of a source, each once: who looks at a folder again finds the same ones."""

from collections.abc import Iterable
from typing import Self

from aerogramme.migrate.sources.source import Fault


class Faults(list[Fault]):
    """A list that passes over what is in it already."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[Fault] = set()

    def append(self, fault: Fault) -> None:
        if fault not in self._known:
            self._known.add(fault)
            super().append(fault)

    def extend(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.append(fault)

    def __iadd__(self, faults: Iterable[Fault]) -> Self:  # type: ignore[override,misc]
        self.extend(faults)
        return self
