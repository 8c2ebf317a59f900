"""Segments and packs that are damaged: what can be read of them goes into new ones.

A segment is made again with all that is legible of it, what other segments say of the same contents, and what
the letters themselves say. No message changes by that: the next checkpoint names the new segment. Contents of
which nothing is left have no place in it; their messages are the business of bodies.py.

What can be read of a pack is stored one by one, under the names that the bodies had before they were packed:
each is bound to that name in any case.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import replace

from aerogramme.log.entry import SegmentRef
from aerogramme.mail.digest import render
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.elsewhere import (
    Digest,
    find_letter,
    opens,
    other_digests,
    own_digests,
    record_of,
)
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.setting_aside import set_aside
from aerogramme.mailbox.body_record import BodyRecord, body_name, pack_name
from aerogramme.mailbox.contents import GROUPS, Content, digest_field
from aerogramme.store.port import Part

FIELDS = tuple(field for fields in GROUPS.values() for field in fields)


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    state = account.state
    packs = {f.item[1].partition("/")[2] for f in faults if f.kind == Kind.PACK and f.item is not None}
    names = {fault.segment for fault in faults if fault.kind == Kind.DIGEST and fault.segment}
    doubtful = {f.content for f in faults if f.kind == Kind.DIGEST and f.content is not None}
    indices = []
    for index in sorted(state.named_segments()):
        ref = state.segments[index]
        if ref.name in names or packs & (ref.packs or {}).keys() or not doubtful.isdisjoint(ref.contents):
            indices.append(index)
    if not indices:
        return
    made: dict[int, SegmentRef | None] = {}
    for n, index in enumerate(indices):
        yield f"digests: segment {n + 1} of {len(indices)}"
        ref = state.segments[index]
        made[index] = await _made_again(account, ref, doubtful, packs)
    # Nothing awaits from here to the fold but the fold itself, which goes on from the newest checkpoint.
    refs = [made.get(index, state.segments[index]) for index in sorted(state.named_segments())]
    state.set_segments([ref for ref in refs if ref is not None])
    yield "writing a checkpoint"
    await account.journal.fold(force=True)
    items = {fault.item for fault in faults if fault.kind in (Kind.PACK, Kind.DIGEST) and fault.item}
    for item in sorted(items):
        if not item[1].startswith("body/"):
            yield f"setting {item[1]} aside"
            await set_aside(account.store, item)


async def _made_again(
    account: Account,
    ref: SegmentRef,
    doubtful: Collection[int | None],
    packs: Collection[str],
) -> SegmentRef | None:
    """A segment in place of another, stored; None if nothing is left. `doubtful`: contents whose digest is
    made again, as those are of which something is missing; `packs`: those that are not to be named."""
    contents = list(ref.contents)
    digests = await own_digests(account, contents)
    poor = {content for content in contents if set(FIELDS) - digests[content].keys()}
    others = await other_digests(account, poor) if poor else {}
    kept: dict[int, Digest] = {}
    for content in contents:
        mine, other = digests[content], others.get(content, {})
        record = record_of(mine) or record_of(other)
        if record is None:
            continue
        if content in poor or content in doubtful:
            letter = await find_letter(account, content, [record_of(mine), record_of(other)])
            if letter is not None:
                record = await _measured(account, content, record, letter)
                made = Content(content, record, render(letter))
                mine = {field: digest_field(made, field) for field in FIELDS}
            else:
                mine = other | mine
        if record.place is not None and record.place.pack in packs:
            await _unpack(account, content, record)
            record = record._replace(place=None)
        if not set(FIELDS) - mine.keys():
            kept[content] = mine | {"record": record.to_bytes()}
    if not kept:
        return None
    groups = {
        group: {field: [digest[field] for digest in kept.values()] for field in fields}
        for group, fields in GROUPS.items()
    }
    segment = account.journal.segments.pack(kept, groups)
    for name, sealed in segment.objects:
        await account.store.put(name, sealed)
    return _with_packs(segment.ref, kept, ref)


async def _measured(account: Account, content: int, record: BodyRecord, letter: bytes) -> BodyRecord:
    """The record with the sizes that the body has."""
    record = record._replace(size=len(letter))
    [sealed] = await account.store.get_many([body_name(content)])
    if sealed is not None and opens(account, content, record, sealed):
        return record._replace(sealed_size=len(sealed), place=None)
    return record


async def _unpack(account: Account, content: int, record: BodyRecord) -> None:
    """Stores a body of a pack alone, if it can be read there and is not alone already."""
    [single] = await account.store.get_many([body_name(content)])
    if single is not None and opens(account, content, record, single):
        return
    assert record.place is not None
    start = record.place.offset
    [part] = await account.store.get_many(
        [Part(pack_name(record.place.pack), start, start + record.sealed_size)]
    )
    if part is None or not opens(account, content, record, part):
        return
    if single is not None:
        await set_aside(account.store, ("", body_name(content)))
    await account.store.put(body_name(content), part)


def _with_packs(made: SegmentRef, digests: Mapping[int, Digest], before: SegmentRef) -> SegmentRef:
    """The segment with the packs that its digests name."""
    records = {content: BodyRecord.from_bytes(digest["record"]) for content, digest in digests.items()}
    places = {content: record.place for content, record in records.items()}
    used = {place.pack for place in places.values() if place is not None}
    if before.packs is None and not used:
        return made
    octets = before.packs or {}
    known = {
        pack: octets.get(
            pack,
            max(
                record.place.offset + record.sealed_size
                for record in records.values()
                if record.place is not None and record.place.pack == pack
            ),
        )
        for pack in sorted(used)
    }
    return replace(made, packs=known, loose=[content for content, place in places.items() if place is None])
