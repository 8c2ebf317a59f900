"""The faults of a source, each once: who looks at a folder again finds the same ones."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Self

from aerogramme.migrate.sources.source import Fault

_MOST: Final = 1000  # of which the same was done: a mailbox of a million messages may have one for each
_MORE: Final = "; more like this are not told"
_NUMBER: Final = re.compile("[0-9]+")


class Faults(list[Fault]):
    """A list that passes over what is in it already, and of many that are alike has some. All that is lost is
    told."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[Fault] = set()
        self._alike: Counter[str] = Counter()

    def append(self, fault: Fault) -> None:
        if fault in self._known:
            return
        if not fault.lost:
            kind = _NUMBER.sub("", fault.done)
            self._alike[kind] += 1
            if self._alike[kind] > _MOST + 1:
                return
            if self._alike[kind] > _MOST:
                fault = replace(fault, what=fault.what.removesuffix(_MORE) + _MORE)
        self._known.add(fault)
        super().append(fault)

    def extend(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.append(fault)

    def __iadd__(self, faults: Iterable[Fault]) -> Self:  # type: ignore[override,misc]
        self.extend(faults)
        return self
