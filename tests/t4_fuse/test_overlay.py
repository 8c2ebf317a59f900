"""Files that are no mail: as on a disk, but for how much there is room for."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from aerogramme_fuse import overlay as module
from aerogramme_fuse.overlay import Full, Overlay, Scratch

ROOM = 100
places = st.tuples(st.integers(1, 2), st.sampled_from("abc"))


class Machine(RuleBasedStateMachine):
    """Against a dict of names and bytearrays."""

    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.overlay, self.now = Overlay(), 0
        self.names: dict[tuple[int, str], Scratch] = {}
        self.data: dict[Scratch, bytearray] = {}
        self.opened: list[Scratch] = []

    def used(self) -> int:
        return sum(map(len, self.data.values()))

    def drop(self) -> None:
        alive = {*self.names.values(), *self.opened}
        self.data = {file: data for file, data in self.data.items() if file in alive}

    @rule(place=places)
    def create(self, place: tuple[int, str]) -> None:
        if place not in self.names:
            self.now += 1
            file = self.names[place] = self.overlay.create(*place, self.now)
            self.data[file] = bytearray()

    @rule(place=places)
    def open(self, place: tuple[int, str]) -> None:
        if file := self.overlay.find(*place):
            file.opened += 1
            self.opened.append(file)

    @rule(at=st.integers(0, 5))
    def close(self, at: int) -> None:
        if at < len(self.opened):
            file = self.opened.pop(at)
            file.opened -= 1
            self.overlay.forget(file)
            self.drop()

    @rule(choice=st.integers(0, 5), at=st.integers(0, 60), data=st.binary(max_size=60))
    def write(self, choice: int, at: int, data: bytes) -> None:
        if choice >= len(self.opened):
            return
        file = self.opened[choice]
        expected = self.data[file]
        self.now += 1
        more = max(0, at + len(data) - len(expected))
        if self.used() + more > ROOM:
            with pytest.raises(Full):
                self.overlay.write(file, at, data, self.now)
            return
        self.overlay.write(file, at, data, self.now)
        expected.extend(bytes(more))
        expected[at : at + len(data)] = data
        assert file.mtime == self.now

    @rule(choice=st.integers(0, 5), size=st.integers(0, 120))
    def truncate(self, choice: int, size: int) -> None:
        if choice >= len(self.opened):
            return
        file = self.opened[choice]
        expected = self.data[file]
        if self.used() + size - len(expected) > ROOM and size > len(expected):
            with pytest.raises(Full):
                self.overlay.truncate(file, size, self.now)
            return
        self.overlay.truncate(file, size, self.now)
        self.data[file] = bytearray(bytes(expected[:size]).ljust(size, b"\0"))

    @rule(place=places, to=places)
    def move(self, place: tuple[int, str], to: tuple[int, str]) -> None:
        file = self.names.get(place)
        if file is None or self.names.get(to) is file:  # the kernel does that itself
            return
        self.overlay.move(*place, *to)
        del self.names[place]
        self.names[to] = file
        self.drop()

    @rule(place=places, to=places)
    def link(self, place: tuple[int, str], to: tuple[int, str]) -> None:
        if place in self.names and to not in self.names:
            self.overlay.link(self.names[place], *to)
            self.names[to] = self.names[place]

    @rule(place=places)
    def remove(self, place: tuple[int, str]) -> None:
        assert self.overlay.remove(*place) == (place in self.names)
        self.names.pop(place, None)
        self.drop()

    @invariant()
    def as_it_should_be(self) -> None:
        for folder in (1, 2):
            expected = {name: file.inode for (where, name), file in self.names.items() if where == folder}
            assert dict(self.overlay.entries(folder)) == expected
        for file, data in self.data.items():
            assert file.data == data and self.overlay.by_inode(file.inode) is file
            assert file.links == list(self.names.values()).count(file)
        assert self.overlay._octets == self.used()
        assert len(self.overlay._by_inode) == len(self.data)  # nothing is kept that nobody can reach


@pytest.fixture(autouse=True, scope="module")
def little_room():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_OCTETS", ROOM)
        yield


TestOverlay = Machine.TestCase
