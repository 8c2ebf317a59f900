"""What an account's store in memory holds, kept aside: a test begins many times from the same."""

from aerogramme.store.memory import _Data, _Partition


def copied(data: _Data) -> _Data:
    """The same objects and rows; no watchers."""
    other = _Data()
    other.objects = dict(data.objects)
    for name, partition in data.partitions.items():
        other.partitions[name] = _Partition(dict(partition.rows), {}, list(partition.order))
    return other
