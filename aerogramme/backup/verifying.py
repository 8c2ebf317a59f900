"""Whether the backup of an account is whole: every snapshot, every volume, every item. No key is needed.

What this finds are accidents: a disk that forgets, a copy that was cut. Somebody who can write to the backup
can write all hashes anew as well; what he changes does not open after a restore, because it is all sealed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aerogramme.backup.folder import Backup
from aerogramme.backup.snapshot import Named, Snapshot
from aerogramme.backup.volume import Item
from aerogramme.errors import Damaged, NotStored

NAMES_SHOWN = 10  # of items that are damaged, for each snapshot


@dataclass(slots=True)
class Verified:
    """How far it is, and what came out. `problems`: one a line, in words."""

    account: str
    snapshots: int = 0
    newest: Snapshot | None = None
    newest_named: Named | None = None
    volumes: int = 0
    volumes_done: int = 0
    octets: int = 0  # read
    problems: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # in the newest: damaged in the store already


def verify(backup: Backup, report: Verified, told: Callable[[], None] = lambda: None) -> None:
    """Reads everything and changes nothing; waits for a disk. Another snapshot may be taken meanwhile. Raises
    Unavailable."""
    with backup.read():
        _verify(backup, report, told)


def _verify(backup: Backup, report: Verified, told: Callable[[], None]) -> None:
    snapshots: list[tuple[Named, Snapshot]] = []
    before: Named | None = None
    found = backup.snapshots.all()
    if not found:
        report.problems.append("no backup of it was ever finished")
    for named in found:
        report.snapshots += 1
        try:
            snapshot = backup.snapshots.load(named)
        except (Damaged, NotStored) as error:
            report.problems.append(str(error))
        else:
            snapshots.append((named, snapshot))
            # The first one that is kept names one that is gone; that is no problem.
            if before is not None and snapshot.previous != before.hash:
                report.problems.append(
                    f"snapshot {named.number} does not follow snapshot {before.number}: there was another"
                )
        before = named
    if snapshots:
        report.newest_named, report.newest = snapshots[-1]
        report.unreadable = list(report.newest.unreadable)
    volumes = {volume for _, snapshot in snapshots for volume in snapshot.volumes}
    report.volumes = len(volumes)
    told()
    counts, damaged = _volumes(backup, report, volumes, told)
    for named, snapshot in snapshots:
        report.problems += _missing(named, snapshot, counts, damaged)


def _volumes(
    backup: Backup, report: Verified, named: set[str], told: Callable[[], None]
) -> tuple[dict[str, int], dict[str, dict[int, Item]]]:
    """How many items those volumes have whose index can be read, and which of them are sound nowhere."""
    counts: dict[str, int] = {}
    damaged: dict[str, dict[int, Item]] = {}
    for volume_id in sorted({*named, *backup.volumes.ids()}):
        try:
            volume = backup.volumes.load(volume_id)
        except (Damaged, NotStored) as error:
            if volume_id in named:
                report.problems.append(f"volume {volume_id}: {error}")
            continue
        counts[volume_id] = len(volume.items)
        for n, item in enumerate(volume.items):
            if not backup.volumes.sound(volume, n):
                damaged.setdefault(volume_id, {})[n] = item
            report.octets += item.octets
            told()
        report.volumes_done += volume_id in named
        told()
    # What is damaged in one volume may be there in another.
    lost = {item for items in damaged.values() for item in items.values()}
    for volume_id in counts if lost else ():
        volume = backup.volumes.load(volume_id)
        bad = damaged.get(volume_id, {})
        lost.difference_update(item for n, item in enumerate(volume.items) if n not in bad)
    return counts, {
        volume_id: {n: item for n, item in items.items() if item in lost}
        for volume_id, items in damaged.items()
    }


def _missing(
    named: Named, snapshot: Snapshot, counts: dict[str, int], damaged: dict[str, dict[int, Item]]
) -> Iterator[str]:
    """What of a snapshot cannot be restored."""
    unknown, lost = 0, []
    for volume_id, runs in snapshot.volumes.items():
        if volume_id not in counts:
            unknown += sum(count for _, count in runs)
            continue
        try:
            numbers = snapshot.items_of(volume_id, counts[volume_id])
        except Damaged as error:
            yield str(error)
            continue
        if items := damaged.get(volume_id):
            lost += [items[n].name for n in numbers if n in items]
    if unknown:
        yield f"snapshot {named.number}: {unknown} items are lost with the index of their volume"
    if lost:
        names = [*(name[2:] for name in sorted(lost)[:NAMES_SHOWN]), *["…"] * (len(lost) > NAMES_SHOWN)]
        yield f"snapshot {named.number}: {len(lost)} items are damaged or missing: {', '.join(names)}"
