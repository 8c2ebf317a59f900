"""Where a backup has what an account has: some octets an item beside its key, as there may be millions."""

from array import array
from collections.abc import Collection, Iterable

from aerogramme.backup.volume import Item, row_of


class Places:
    """Items by their keys; each gets an index, for good, and the columns say where it is."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._ids: list[str] = []  # of volumes; the column has positions in it
        self._volume, self._number, self._octets = array("L"), array("L"), array("Q")

    def get(self, key: str) -> int | None:
        """The index of an item that the backup has, or has been told to `expect`."""
        return self._index.get(key)

    def expect(self, item: Item) -> int:
        """It is written, and gets an index; `put` tells later where it is."""
        index = self._index.setdefault(key_of(item), len(self._octets))
        if index == len(self._octets):
            self._volume.append(0)
            self._number.append(0)
            self._octets.append(item.octets)
        return index

    def put(self, volume_id: str, items: Iterable[tuple[int, Item]]) -> None:
        """So a volume has them, by their numbers in it; it takes the place of one that had them before."""
        volume = len(self._ids)
        self._ids.append(volume_id)
        for n, item in items:
            index = self.expect(item)
            self._volume[index], self._number[index] = volume, n

    def octets(self, indices: Iterable[int]) -> int:
        """Of all of them together."""
        return sum(self._octets[index] for index in indices)

    def octets_in(self, indices: Iterable[int]) -> dict[str, int]:
        """How many octets of them each volume has; one that has none is not named."""
        found: dict[str, int] = {}
        for index in indices:
            volume_id = self._ids[self._volume[index]]
            found[volume_id] = found.get(volume_id, 0) + self._octets[index]
        return found

    def numbers(self, indices: Iterable[int]) -> dict[str, list[int]]:
        """Which items those are, by volume; sorted."""
        found: dict[str, array[int]] = {}
        for index in indices:
            found.setdefault(self._ids[self._volume[index]], array("L")).append(self._number[index])
        return {volume_id: sorted(numbers) for volume_id, numbers in found.items()}

    def give_up(self, volumes: Collection[str]) -> dict[str, int]:
        """What is in these volumes counts as not there. Returns it, key to index, for `recall`."""
        dropped = {n for n, volume_id in enumerate(self._ids) if volume_id in volumes}
        gone = {key: index for key, index in self._index.items() if self._volume[index] in dropped}
        for key in gone:
            del self._index[key]
        return gone

    def recall(self, key: str, index: int) -> None:
        """It was given up, and is needed after all."""
        self._index[key] = index


def key_of(item: Item) -> str:
    """An object is never changed, so its name says all; of a row the hash counts, too."""
    return item.name if row_of(item.name) is None else f"{item.name} {item.hash}"
