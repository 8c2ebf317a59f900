"""The audit of contents: each has a digest that is that of its letter, and a body that opens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from aerogramme.errors import Damaged
from aerogramme.log.state import State
from aerogramme.mail.digest import render
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.bodies import batches, in_packs
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name, pack_name
from aerogramme.mailbox.contents import GROUPS, Content, digest_field
from aerogramme.seal import open_body

BATCH = 200  # contents whose digests are in memory at once

Place = tuple[int, int, int]  # segment, position in it, content


async def contents(account: Account, told: Callable[[str], None] = lambda _: None) -> list[Fault]:
    """Every content has a place in a segment, the digest that its letter has, and a body of the size told.
    `told` hears how far it is."""
    faults: list[Fault] = []
    sizes: dict[int, set[int]] = {}
    for mailbox in account.state.names.values():
        table = account.state.tables[mailbox]
        for content, size in zip(table.contents, table.sizes, strict=True):
            sizes.setdefault(content, set()).add(size)
    # Contents that no message has any more are read too, as far as they are there: they can be put back.
    for segment in account.state.named_segments():
        for content in account.state.segments[segment].contents:
            sizes.setdefault(content, set())
    placed: list[Place] = []  # in the order of segments, so that each is loaded about once
    for content in sizes:
        place = account.state.contents.find(content)
        if place is None:
            what = f"content {content:x} has no place in a segment"
            faults.append(Fault(Kind.BODY, what, content=content))
        else:
            placed.append((*place, content))
    placed.sort()
    for start in range(0, len(placed), BATCH):
        told(f"looking at letters: {start:,} of {len(placed):,}")
        faults += await _some(account, placed[start : start + BATCH], sizes)
    return faults


async def _some(account: Account, placed: Sequence[Place], sizes: Mapping[int, set[int]]) -> list[Fault]:
    faults: list[Fault] = []
    digests = await _digests(account, placed, faults)
    records = [_record(digest) for digest in digests]
    faults += _packs(account.state, placed, records)
    bodies: list[tuple[int, BodyRecord]] = []
    by_content: dict[int, dict[str, bytes]] = {}
    for (_, _, content), record, digest in zip(placed, records, digests, strict=True):
        if isinstance(record, BodyRecord):
            bodies.append((content, record))
            by_content[content] = digest
        elif "record" in digest:  # else it is said already that the group cannot be read
            faults.append(Fault(Kind.DIGEST, f"content {content:x}: {record}", content=content))
    for some in batches(bodies):
        faults += await _bodies(account, some, by_content, sizes)
    return faults


async def _bodies(
    account: Account,
    bodies: Sequence[tuple[int, BodyRecord]],
    digests: Mapping[int, Mapping[str, bytes]],
    sizes: Mapping[int, set[int]],
) -> list[Fault]:
    faults: list[Fault] = []
    singles = await account.store.get_many([body_name(content) for content, _ in bodies])
    packed = await in_packs(account.store, bodies)
    for (content, record), single in zip(bodies, singles, strict=True):
        check = partial(_content, account, content, sizes[content], digests[content], record)
        if record.place is not None:
            for kind, why in check(packed[content]):
                kind = Kind.PACK if kind == Kind.BODY else kind
                what = f"content {content:x}: in pack {record.place.pack}, {why}"
                faults.append(Fault(kind, what, item=("", pack_name(record.place.pack)), content=content))
        if record.place is None or single is not None:
            for kind, why in check(single):
                item = None if single is None else ("", body_name(content))
                if record.place is not None:  # a copy that nothing reads as long as there is the pack
                    kind = Kind.OBJECT
                faults.append(Fault(kind, f"content {content:x}: {why}", item=item, content=content))
    return faults


def _record(digest: Mapping[str, bytes]) -> BodyRecord | Damaged:
    try:
        return BodyRecord.from_bytes(digest.get("record", b""))
    except Damaged as damage:
        return damage


def _packs(state: State, placed: Sequence[Place], records: Sequence[BodyRecord | Damaged]) -> Iterator[Fault]:
    """Packs that a segment does not say it needs: they would be thrown away."""
    needed = {
        (segment, record.place.pack)
        for (segment, _, _), record in zip(placed, records, strict=True)
        if isinstance(record, BodyRecord) and record.place is not None
    }
    for segment, pack in sorted(needed):
        name = state.segments[segment].name
        if pack not in (state.segments[segment].packs or ()):
            yield Fault(Kind.DIGEST, f"segment {name} does not name pack {pack}", segment=name)


async def _digests(account: Account, placed: Sequence[Place], faults: list[Fault]) -> list[dict[str, bytes]]:
    """All that can be read of the digests of contents, given with their places."""
    digests: list[dict[str, bytes]] = [{} for _ in placed]
    for segment in dict.fromkeys(segment for segment, _, _ in placed):
        name = account.state.segments[segment].name
        for group, fields in GROUPS.items():
            try:
                [columns] = await account.journal.segments.load([segment], group)
            except Damaged as why:
                faults.append(Fault(Kind.DIGEST, f"segment {name}, group {group}: {why}", segment=name))
                continue
            faults += [
                Fault(Kind.DIGEST, f"segment {name} has no field {field}", segment=name)
                for field in fields
                if field not in columns
            ]
            for digest, (its_segment, at, _) in zip(digests, placed, strict=True):
                if its_segment == segment:
                    digest.update((f, columns[f][at]) for f in fields if f in columns)
    return digests


def _content(
    account: Account,
    content: int,
    sizes: set[int],
    digest: Mapping[str, bytes],
    record: BodyRecord,
    sealed: bytes | None,
) -> Iterator[tuple[Kind, str]]:
    if sealed is None:
        if sizes:
            yield Kind.BODY, "the body is missing"
        return
    try:
        plain = open_body(record.key, body_binding(account.keyring.account, content), sealed)
    except Damaged as why:
        yield Kind.BODY, f"the body does not open: {why}"
        return
    if len(sealed) != record.sealed_size:
        what = f"the sealed body has {len(sealed)} octets, its record says {record.sealed_size}"
        yield Kind.DIGEST, what
    if len(plain) != record.size or (sizes and sizes != {record.size}):
        told = f"its record says {record.size}, its messages {sorted(sizes)}"
        kind = Kind.BODY if len(plain) == record.size else Kind.DIGEST
        yield kind, f"the body has {len(plain)} octets, {told}"
    rendered = Content(content, record, render(plain))
    for field, value in digest.items():
        if digest_field(rendered, field) != value:
            yield Kind.DIGEST, f"field {field} of the digest is not that of the letter"
