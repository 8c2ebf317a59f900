"""A snapshot is put into a store, where its account must not be: never over one that somebody may use.

What is put there is older than what mail programs have seen. They would take new messages for others of the
same UID. So a row `restored-<hash of the snapshot>` among the keys tells whoever opens the account first to
give every mailbox a new UIDVALIDITY (mailbox/history/restored.py). It is there before the keys are.
"""

from collections.abc import Callable

import trio

from aerogramme.backup.reading import SnapshotStore, SnapshotStores
from aerogramme.backup.snapshot import Named
from aerogramme.errors import AlreadyExists
from aerogramme.mailbox.keys.keys import KEYRING, RESTORED
from aerogramme.mailbox.keys.keys import PARTITION as KEYS
from aerogramme.mailbox.partitions import PARTITIONS
from aerogramme.store.copying import Partition, Report, copy_account
from aerogramme.store.port import Row, Store, Stores


async def restore(
    snapshot: SnapshotStore,
    named: Named,
    target: Stores,
    report: Report,
    *,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Copies the account that the report is for, and fills in the report as `copy_account` does: what is
    damaged in the backup is `unreadable` there. One that was cut off goes on.

    Raises AlreadyExists when there is anything of the account that is not from this snapshot; Unavailable.
    """
    mark = Row(f"{RESTORED}{named.hash[:32]}", b"")
    store = await target.open(report.account, create=True)
    try:
        if mark not in (await store.read(KEYS))[0]:
            await _check_empty(store)
            await store.append(KEYS, [mark])
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()
    partitions = [Partition(name, noted=False) for name, _ in PARTITIONS]  # the two do not live side by side
    await copy_account(SnapshotStores(snapshot, report.account), target, report, partitions, told=told)
    report.unreadable += snapshot.damaged
    report.rows_own = max(report.rows_own - 1, 0)  # the mark


async def _check_empty(store: Store) -> None:
    keys, _ = await store.read(KEYS)
    if any(row.key.startswith(KEYRING) for row in keys):
        raise AlreadyExists(
            "the account is there, and a restore never writes over one",
            hint="give another --data, or `aerogramme account delete --now` first",
        )
    rows = [row for name, _ in PARTITIONS for row in await store.page(name, "", 1)]
    if rows or await store.list("", limit=1):
        # Perhaps newer mail whose keys were lost, and are in the backup: not to be mixed, and not to go.
        raise AlreadyExists(
            "something of the account is there, without its keys, and it is not from this snapshot",
            hint="restore into another --data, and look what is missing; "
            "what an interrupted restore has left goes on with the same --at",
        )
