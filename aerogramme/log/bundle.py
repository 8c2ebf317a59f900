"""Bundles: of which contents segments are, as far as these are long lists, of many segments in one object.

Where mails came one by one, the contents of a segment are a thousand numbers far from each other. A
checkpoint with all such lists in it would write them again for each flag that is changed; if each were an
object, who opens a large account would ask for hundreds. So a checkpoint names bundles of them. When more
than a few are in none, they go into a new one, together with what smaller bundles have: one after the other,
while each has no more than four times what is together already, and none that is full. So there are some full
ones, and one or two small ones; and a list, of two kilobytes, is written again some five times, beside the
megabytes of the segments that are the reason for it.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgpack  # type: ignore[import-untyped]  # it ships no types

from aerogramme.errors import Damaged
from aerogramme.log.entry import SegmentRef
from aerogramme.log.ids import Runs
from aerogramme.log.packing import compress, decompress

PREFIX = "bundle/"
KIND = "bundle"  # of the sealed record; its name is that of the object
VERSION = 1
LONG = 64  # runs of contents above which they may be in a bundle
FEW = 8  # such segments may be in none: they are in the checkpoint, as others are
FULL = 256  # segments with which a bundle is full
JOINED = 4  # a bundle joins a new one that has so many times fewer segments by then
LEVEL = 3  # of zstd
MAX_UNPACKED = 1 << 28  # some thousand times what is written

Bundled = Mapping[str, Sequence[str]]
"""Names of bundles, and of the segments of which they have the contents."""


def is_long(ref: SegmentRef) -> bool:
    """Whether the contents of a segment may stand in a bundle, and not with its name."""
    return ref.inline is None and Runs.of(ref.contents).run_count > LONG


def arrange(known: Bundled, segments: Iterable[str]) -> tuple[dict[str, Sequence[str]], list[str]]:
    """Which bundles have the contents of segments: those of the known ones that are good for that, and the
    segments that a new one is to have. What is left stays with the names."""
    left = dict.fromkeys(segments)
    of: dict[str, list[str]] = {}
    for name, listed in known.items():
        of[name] = [segment for segment in listed if segment in left]
        for segment in of[name]:
            del left[segment]
    stay: dict[str, Sequence[str]] = {}
    for name, needed in of.items():
        if needed and (2 * len(needed) >= len(known[name]) or len(left) >= FULL):
            stay[name] = known[name]
        else:  # most of it is waste
            left.update(dict.fromkeys(needed))
    if len(left) <= FEW:
        return stay, []
    new = list(left)
    for name in sorted(stay, key=lambda name: (len(of[name]), name)):
        if len(new) >= FULL or len(of[name]) >= FULL or len(of[name]) > JOINED * len(new):
            break
        new += of[name]
        del stay[name]
    return stay, new


def encode(refs: Iterable[SegmentRef]) -> bytes:
    """The stored form of a bundle, before it is sealed."""
    listed = [[bytes.fromhex(ref.name), Runs.of(ref.contents).wire()] for ref in refs]
    return compress(msgpack.packb([VERSION, listed]), LEVEL)


def decode(packed: bytes) -> dict[str, Runs]:
    """Names of segments, and their contents. Raises Damaged for anything that `encode` does not write."""
    try:
        version, listed = msgpack.unpackb(decompress(packed, MAX_UNPACKED), strict_map_key=True)
        if version != VERSION:
            raise Damaged("a bundle of an unknown version")
        # memoryview: of octets, and of nothing else.
        found = {memoryview(name).hex(): Runs.from_wire(runs).compact() for name, runs in listed}
    except (ValueError, TypeError, msgpack.UnpackException) as e:
        raise Damaged("a bundle does not decode") from e
    if not all(found.values()):
        raise Damaged("a segment is of nothing")
    return found
