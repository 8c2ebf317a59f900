"""What is left of a content anywhere in the store: its digest, in whatever segment, and its body."""

import hashlib
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import trio

from aerogramme.errors import Damaged
from aerogramme.log import segment
from aerogramme.log.adopting import message_ops
from aerogramme.log.checkpoint import PREFIX as CHECKPOINTS
from aerogramme.log.entry import Add, SegmentRef
from aerogramme.log.manifest import read
from aerogramme.log.reading import entries
from aerogramme.log.segment import object_name, read_group
from aerogramme.log.suffix import base_of
from aerogramme.mail.digest import render
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.bodies import batches, in_packs
from aerogramme.mailbox.body_record import BodyRecord, body_binding, body_name, open_letter, pack_name
from aerogramme.mailbox.contents import GROUPS
from aerogramme.mailbox.history.survey import Survey
from aerogramme.seal import open_body
from aerogramme.store.port import Part

AT_ONCE = 8  # objects in memory: segments have some MB

Digest = dict[str, bytes]  # field -> value; of what can be read


async def own_digests(
    account: Account, contents: Collection[int], groups: Collection[str] = tuple(GROUPS)
) -> dict[int, Digest]:
    """What can be read of the digests of contents where they should be. Raises Unavailable."""
    state = account.state
    found: dict[int, Digest] = {content: {} for content in contents}
    by_segment: dict[int, list[tuple[int, int]]] = {}
    for content in contents:
        place = state.contents.find(content)
        if place is not None:
            by_segment.setdefault(place[0], []).append((content, place[1]))
    for index, placed in by_segment.items():
        for group in groups:
            try:
                [columns] = await account.journal.segments.load([index], group)
            except Damaged:
                continue
            for content, at in placed:
                known = {field: columns[field][at] for field in GROUPS[group] if field in columns}
                found[content].update(known)
    return found


async def other_digests(account: Account, contents: Collection[int]) -> dict[int, Digest]:
    """What can be read of the digests of contents in any segment of the store, whoever names it. Raises
    Unavailable."""
    found: dict[int, Digest] = {}

    def take(packed: bytes, group: str) -> None:
        try:
            of, columns = read_group(packed)
        except Damaged:
            return
        for at, content in enumerate(of):
            if content in contents:
                digest = found.setdefault(content, {})
                for field in GROUPS.get(group, ()):
                    if field in columns:
                        digest.setdefault(field, columns[field][at])

    async with aclosing(named_segments(account)) as refs:
        async for ref in refs:
            for group, packed in (ref.inline or {}).items():
                take(packed, group)
    after = "segment/"
    while names := await account.store.list("segment/", after, AT_ONCE):
        after = names[-1]
        for name, plain in zip(names, await account.journal.records.read(segment.KIND, names), strict=True):
            if not isinstance(plain, Damaged):
                take(plain, base_of(name).rpartition("/")[2])
    return found


async def named_segments(account: Account) -> AsyncGenerator[SegmentRef, None]:
    """The segments that any checkpoint or entry of the store names; some more than once. Raises
    Unavailable."""
    for name in await account.store.list(CHECKPOINTS):
        try:
            manifest = await read(account.journal.records, name)
        except Damaged:
            continue
        for ref in manifest.segments:
            yield ref
    async with aclosing(entries(account.journal.records)) as log:
        async for _, entry in log:
            for op in () if isinstance(entry, Damaged) else message_ops(entry):
                if isinstance(op, Add) and op.segment is not None:
                    yield op.segment


def record_of(digest: Mapping[str, bytes]) -> BodyRecord | None:
    """How its body is opened, if that can be read."""
    try:
        return BodyRecord.from_bytes(digest.get("record", b""))
    except Damaged:
        return None


async def find_letter(account: Account, content: int, records: Iterable[BodyRecord | None]) -> bytes | None:
    """The letter of a content, with any of these records, wherever its body is: alone or in a pack. None if
    nothing opens. Raises Unavailable."""
    for record in records:
        if record is None:
            continue
        asked: list[str | Part] = [body_name(content)]
        if record.place is not None:
            pack, at = record.place
            asked.append(Part(pack_name(pack), at, at + record.sealed_size))
        for sealed in await account.store.get_many(asked):
            if (letter := _opened(account, content, record, sealed)) is not None:
                return letter
    return None


def _opened(account: Account, content: int, record: BodyRecord, sealed: bytes | None) -> bytes | None:
    """The letter of a sealed body, of whatever size; None if that does not open."""
    if sealed is None:
        return None
    try:
        return open_body(record.key, body_binding(bytes.fromhex(account.id), content), sealed)
    except Damaged:
        return None


def opens(account: Account, content: int, record: BodyRecord, sealed: bytes) -> bool:
    """Whether a sealed body is that of a content, as its record says."""
    try:
        open_letter(bytes.fromhex(account.id), content, record, sealed)
    except Damaged:
        return False
    return True


@dataclass(frozen=True, slots=True)
class LostMail:
    """Contents that no message has, and the account never had, of one segment: with their digests.

    `again`: those of which a message has the same letter. The write of the one was cut off, and done again.
    """

    name: str
    digests: dict[int, Digest]
    again: frozenset[int]
    segment: SegmentRef

    @property
    def needless(self) -> bool:
        """Whether messages have all of it."""
        return self.digests.keys() == self.again

    def names(self) -> list[str]:
        """The objects that it is made of; base names."""
        groups = [object_name(self.name, group) for group in self.segment.groups]
        return [*groups, *map(body_name, self.digests)]


async def lost_mail(account: Account, found: Survey) -> list[LostMail]:
    """What is in segments that nothing names, and nowhere else, as a survey has found it: an entry that is
    lost has brought it. Only what has a body. Raises Unavailable."""
    mail: list[LostMail] = []
    known: set[bytes] | None = None
    for path, unknown in sorted(found.lost.items()):
        name = path.rpartition("/")[2]
        groups = tuple(group for group in GROUPS if object_name(name, group) in map(base_of, found.stored))
        [packed] = await account.journal.records.read(segment.KIND, [object_name(name, "digest")])
        if isinstance(packed, Damaged):
            continue
        contents, columns = read_group(packed)
        digests: dict[int, Digest] = {
            content: {field: column[at] for field, column in columns.items()}
            for at, content in enumerate(contents)
            if content in unknown
        }
        there = await with_bodies(account, digests)
        if there:
            known = await _letters(account) if known is None else known
            await _with_headers(account, name, there)
            letters = {content: _identity(digest) for content, digest in there.items()}
            again = frozenset(content for content, letter in letters.items() if letter in known)
            known.update(letter for letter in letters.values() if letter)
            mail.append(LostMail(name, there, again, SegmentRef(name, contents, groups)))
    return mail


def _identity(digest: Mapping[str, bytes]) -> bytes:
    """By which a letter is known again: its header block and its size. Empty if that cannot be read."""
    record, header = record_of(digest), digest.get("header", b"")
    if record is None or not header:
        return b""
    return hashlib.blake2b(b"%d " % record.size + header, digest_size=16).digest()


async def _letters(account: Account) -> set[bytes]:
    """By what the letters of all messages are known again."""
    state = account.state
    live = {content for table in state.tables.values() for content in table.contents}
    found: set[bytes] = set()
    for index in sorted(state.named_segments()):
        contents = live.intersection(state.segments[index].contents)
        digests = await own_digests(account, contents, ("digest", "header"))
        found.update(map(_identity, digests.values()))
        await trio.lowlevel.checkpoint()
    return found - {b""}


async def _with_headers(account: Account, name: str, digests: Mapping[int, Digest]) -> None:
    """Adds the header blocks to what is known of some contents of a segment; out of the letters, where the
    write was cut off before the group of headers."""
    [packed] = await account.journal.records.read(segment.KIND, [object_name(name, "header")])
    if not isinstance(packed, Damaged):
        contents, columns = read_group(packed)
        for at, content in enumerate(contents):
            if content in digests and "header" in columns:
                digests[content]["header"] = columns["header"][at]
    for content, digest in digests.items():
        if "header" not in digest:
            letter = await find_letter(account, content, [record_of(digest)])
            digest["header"] = b"" if letter is None else render(letter).header


async def with_bodies(account: Account, digests: Mapping[int, Digest]) -> dict[int, Digest]:
    """Those of the contents whose body opens, alone or in a pack. Raises Unavailable."""
    records = [(c, record) for c, digest in digests.items() if (record := record_of(digest)) is not None]
    found = {}
    for some in batches(records):
        singles = await account.store.get_many([body_name(content) for content, _ in some])
        packed = await in_packs(account.store, some)
        for (content, record), single in zip(some, singles, strict=True):
            there = single, packed.get(content)
            if any(_opened(account, content, record, sealed) is not None for sealed in there):
                found[content] = digests[content]
    return found
