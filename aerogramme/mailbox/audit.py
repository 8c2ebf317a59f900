"""The audit: every invariant of an account as a check. It reads everything, changes nothing, and says what is
wrong.

For tests (at the end of each that wrote mail), for `aerogramme account check`, and for whoever doubts a disk.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from aerogramme.errors import AuthenticationFailed, Damaged, NoSuchUser, Refused
from aerogramme.log import verifying
from aerogramme.log.journal import Journal
from aerogramme.log.state import State
from aerogramme.log.table import Table
from aerogramme.mail.digest import render
from aerogramme.mailbox import incoming, keys, uses
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.contents import (
    GROUPS,
    BodyRecord,
    Content,
    body_binding,
    body_name,
    digest_field,
)
from aerogramme.mailbox.names import INBOX, check
from aerogramme.mailbox.packs import Trip
from aerogramme.seal import Binding, IncomingPublic, Keyring, Slot, open_body

BATCH = 200  # contents checked at a time: their bodies are in memory at once
COLUMNS = ("uids", "ids", "modseqs", "flags", "sizes", "dates", "contents")


async def audit(account: Account) -> list[str]:
    """What is wrong with an account, one line each; empty when all is well. Raises Unavailable.

    Lines name mailboxes, and nothing else of what is in the mail: they are for the account's owner.
    """
    await account.refresh()
    problems = [f"entry {key} cannot be read: {why}" for key, why in account.journal.damaged.items()]
    problems += _hierarchy(account.state)
    for name, mailbox in account.state.names.items():
        problems += [f"mailbox {name}: {what}" for what in _table(account.state.tables[mailbox])]
    problems += await _contents(account)
    problems += await _letters(account)
    problems += await _keys(account)
    problems += await _uses(account)
    problems += await verifying.unreadable(account.store, account.keyring, account.holding.renew)
    known = account.state.vector
    problems += await verifying.broken_chains(account.store, account.keyring, known, account.holding.renew)
    problems += await _replayed(account)
    return list(dict.fromkeys(problems))


def _hierarchy(state: State) -> Iterator[str]:
    if INBOX not in state.names:
        yield "there is no INBOX"
    for name in state.names:
        try:
            if check(name) != name:
                yield f"mailbox {name}: the name is not in its canonical form"
        except Refused as why:
            yield f"mailbox {name}: no mailbox can have this name: {why}"
    validities = [state.tables[mailbox].uidvalidity for mailbox in state.names.values()]
    if len(set(validities)) != len(validities):
        yield "two mailboxes have one UIDVALIDITY"
    if len(set(state.roles.values())) != len(state.roles):
        yield "two mailboxes have one special use"


def _table(table: Table) -> Iterator[str]:
    lengths = {name: len(getattr(table, name)) for name in COLUMNS}
    if len(set(lengths.values())) != 1:
        yield f"the columns differ in length: {lengths}"
        return
    if not 0 < table.uidvalidity < 1 << 32:
        yield f"UIDVALIDITY is {table.uidvalidity}, which is not 1 to 32 bits"
    if any(a >= b for a, b in pairwise(table.uids)):
        yield "the UIDs are not unique and ascending"
    if table.uids and table.uids[0] == 0:
        yield "a UID is 0"
    if table.uids and table.uidnext <= table.uids[-1]:
        yield f"UIDNEXT {table.uidnext} is not above the UID {table.uids[-1]}"
    if len(set(table.ids)) != len(table.ids):
        yield "a message is there twice"
    if any(not 0 < modseq <= table.highestmodseq for modseq in table.modseqs):
        yield "a MODSEQ is 0 or above HIGHESTMODSEQ"
    if table.highestmodseq >= 1 << 63:
        yield "HIGHESTMODSEQ has more than 63 bits"
    if any(number >= len(table.flagsets.sets) for number in table.flags):
        yield "a message has a flagset that does not exist"
    else:
        for number in set(table.flags):
            flags = table.flagsets.sets[number]
            if len({flag.casefold() for flag in flags}) != len(flags):
                yield f"a message has a flag twice: {flags}"
    gone = set(table.removed_since(table.forgotten))
    if gone.intersection(table.uids):
        yield "a UID is there and gone"
    if any(uid >= table.uidnext for uid in gone):
        yield "a UID that is gone is not below UIDNEXT"


async def _contents(account: Account) -> list[str]:
    """Every content has a place in a segment, the digest that its letter has, and a body of the size told."""
    problems: list[str] = []
    sizes: dict[int, set[int]] = {}
    for mailbox in account.state.names.values():
        table = account.state.tables[mailbox]
        for content, size in zip(table.contents, table.sizes, strict=True):
            sizes.setdefault(content, set()).add(size)
    # Contents that no message has any more are read too, as far as they are there: they can be put back.
    for segment in account.state.named_segments():
        for content in account.state.segments[segment].contents:
            sizes.setdefault(content, set())
    placed: list[tuple[int, int, int]] = []  # in the order of segments, so that each is loaded about once
    for content in sizes:
        place = account.state.contents.find(content)
        if place is None:
            problems.append(f"content {content:x} has no place in a segment")
        else:
            placed.append((*place, content))
    placed.sort()
    for start in range(0, len(placed), BATCH):
        some = placed[start : start + BATCH]
        digests = await _digests(account, some, problems)
        contents = [content for _, _, content in some]
        records = [_record(digest) for digest in digests]
        problems += _packs(account.state, some, records)
        singles = await account.store.get_many([body_name(content) for content in contents])
        packed = await _packed(account, contents, records)
        for n, (content, record, digest) in enumerate(zip(contents, records, digests, strict=True)):
            found: list[str] = []
            if isinstance(record, BodyRecord):
                check = partial(_content, account, content, sizes[content], digest, record)
                if n in packed and record.place is not None:
                    found += [f"in pack {record.place.pack}, {what}" for what in check(packed[n])]
                if n not in packed or singles[n] is not None:
                    found += check(singles[n])
            elif "record" in digest:  # else it is said already that the group cannot be read
                found.append(str(record))
            problems += [f"content {content:x}: {what}" for what in found]
    return problems


async def _packed(
    account: Account, contents: Sequence[int], records: Sequence[BodyRecord | Damaged]
) -> dict[int, bytes | None]:
    """The sealed bodies that lie in packs, by position; None for one that is not there."""
    at = [n for n, record in enumerate(records) if isinstance(record, BodyRecord) and record.place]
    if not at:
        return {}
    trip = Trip([(contents[n], records[n]) for n in at])
    got = await account.store.get_many(trip.wanted)
    return {n: trip.sealed(number, got) for number, n in enumerate(at)}


def _record(digest: Mapping[str, bytes]) -> BodyRecord | Damaged:
    try:
        return BodyRecord.from_bytes(digest.get("record", b""))
    except Damaged as damage:
        return damage


def _packs(
    state: State, some: Sequence[tuple[int, int, int]], records: Sequence[BodyRecord | Damaged]
) -> Iterator[str]:
    """Packs that a segment does not say it needs: they would be thrown away."""
    needed = {
        (segment, record.place.pack)
        for (segment, _, _), record in zip(some, records, strict=True)
        if isinstance(record, BodyRecord) and record.place is not None
    }
    for segment, pack in sorted(needed):
        if pack not in (state.segments[segment].packs or ()):
            yield f"segment {state.segments[segment].name} does not name pack {pack}"


async def _digests(
    account: Account, some: Sequence[tuple[int, int, int]], problems: list[str]
) -> list[dict[str, bytes]]:
    """All that can be read of the digests of contents, given with their places."""
    digests: list[dict[str, bytes]] = [{} for _ in some]
    for segment in dict.fromkeys(segment for segment, _, _ in some):
        name = account.state.segments[segment].name
        for group, fields in GROUPS.items():
            try:
                [columns] = await account.journal.segments.load([segment], group)
            except Damaged as why:
                problems.append(f"segment {name}, group {group}: {why}")
                continue
            problems += [f"segment {name} has no field {f}" for f in fields if f not in columns]
            for digest, (its_segment, at, _) in zip(digests, some, strict=True):
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
) -> Iterator[str]:
    if sealed is None:
        if sizes:
            yield "the body is missing"
        return
    try:
        plain = open_body(record.key, body_binding(account.keyring.account, content), sealed)
    except Damaged as why:
        yield f"the body does not open: {why}"
        return
    if len(sealed) != record.sealed_size:
        yield f"the sealed body has {len(sealed)} octets, its record says {record.sealed_size}"
    if len(plain) != record.size or (sizes and sizes != {record.size}):
        yield f"the body has {len(plain)} octets, its record says {record.size}, its messages {sorted(sizes)}"
    rendered = Content(content, record, render(plain))
    for field, value in digest.items():
        if digest_field(rendered, field) != value:
            yield f"field {field} of the digest is not that of the letter"


async def _letters(account: Account) -> list[str]:
    """The incoming partition is empty, or each letter in it can be read."""
    problems = []
    rows, _ = await account.store.read(incoming.PARTITION)
    for key, sealed in rows:
        try:
            plain = account.keyring.open_incoming(sealed, Binding(account.keyring.account, "letter", key))
            letter = incoming.decode_letter(key, plain)
            [body] = await account.store.get_many([body_name(letter.id)])
            if body is None:
                raise Damaged("its body is missing")
            open_body(letter.record.key, body_binding(account.keyring.account, letter.id), body)
        except Damaged as why:
            problems.append(f"letter {key} cannot be read: {why}")
    return problems


async def _keys(account: Account) -> list[str]:
    """The keyring is sealed to every slot it knows, each has its row, and letters are sealed to its key."""
    rows, _ = await account.store.read(keys.PARTITION)
    keyring = account.keyring
    problems = [f"row {key}: {why}" for key, value in rows for why in _key_row(account, key, value)]
    try:
        stored = await keys.StoredKeys.read(account.store)
    except NoSuchUser:
        return [*problems, "there is no keyring"]
    slots = {slot.public.fingerprint for slot in stored.slots.values()}
    known = {each.number for each in keyring.generations}
    if stored.version == keyring.version:  # else it was changed since
        problems += [
            f"row {key}: the public key for letters is not that of the keyring"
            for key in stored.public
            if int(key.removeprefix(keys.PUBLIC), 16) not in known
        ]
        problems += [
            f"the {member.kind} slot {member.fingerprint.hex()} of the keyring has no row"
            for member in keyring.members
            if member.fingerprint not in slots
        ]
    if not any(member.kind in ("recovery", "invitation") for member in keyring.members):
        problems.append("there is no recovery slot")
    if f"{keys.PUBLIC}{keyring.current:08x}" not in stored.public:
        problems.append("there is no public key for letters")
    return problems


def _key_row(account: Account, key: str, value: bytes) -> Iterator[str]:
    keyring = account.keyring
    if not keys.is_name(key):
        yield "nobody knows what this is"
        return
    try:
        if key.startswith(keys.SLOT):
            slot = Slot.from_bytes(value)
            if keys.SLOT + slot.public.fingerprint.hex() != key:
                yield "the slot has the name of another"
            for member in keyring.members:
                told = member.kind, member.read_only, member.created
                if member.public == slot.public.raw and told != (slot.kind, slot.read_only, slot.created):
                    yield "the slot is not what the keyring knows of it"
        elif key.startswith(keys.PUBLIC):
            number = IncomingPublic.from_bytes(value).generation
            if key != f"{keys.PUBLIC}{number:08x}":
                yield "the public key for letters has the name of another"
            known = any(each.number == number for each in keyring.generations)
            if known and value != keyring.incoming_public(number).to_bytes():
                yield "the public key for letters is not that of the keyring"
        elif key.startswith(keys.ROTATING):
            if value:
                yield "nobody knows what this is"
        elif key.startswith(keys.KEYRING):
            yield from _keyring_row(account, key, value)
    except Damaged as why:
        yield str(why)


def _keyring_row(account: Account, key: str, value: bytes) -> Iterator[str]:
    """Raises Damaged."""
    for slot in account.holding.slots.values():
        try:
            found = Keyring.unlock(value, slot, account.keyring.account)
        except AuthenticationFailed:
            continue
        if found.version != keys.version_of(key):
            yield "the keyring has the name of another version"
        return
    if keys.version_of(key) == account.keyring.version:  # a higher one may have revoked them meanwhile
        yield "the keyring is sealed to none of the slots that have opened the account"


async def _uses(account: Account) -> list[str]:
    """What is noted of the use of slots can be read."""
    problems = []
    for key, value in (await account.store.read(uses.PARTITION))[0]:
        try:
            account.keyring.open(uses.KIND, key, value)
        except Damaged as why:
            problems.append(f"row {key}: {why}")
    return problems


async def _replayed(account: Account) -> list[str]:
    """Whoever opens the account anew has the same account."""
    other = await Journal.open(
        account.store, account.keyring, account.keyring.account, renew=account.holding.renew
    )
    await account.refresh()
    await other.refresh()
    mine, theirs = account.state, other.state
    problems = [
        f"opened anew, the {what} differ"
        for what, a, b in (
            ("names", mine.names, theirs.names),
            ("special uses", mine.roles, theirs.roles),
            ("subscriptions", mine.subscribed, theirs.subscribed),
        )
        if a != b
    ]
    for name, mailbox in mine.names.items():
        if mailbox in theirs.tables:
            a, b = mine.tables[mailbox], theirs.tables[mailbox]
            problems += [f"mailbox {name}: opened anew, {what} differs" for what in _differences(a, b)]
    return problems


def _differences(a: Table, b: Table) -> Iterator[str]:
    for column in COLUMNS:
        if column != "flags" and getattr(a, column) != getattr(b, column):
            yield f"the column {column}"
    if _flags(a) != _flags(b):
        yield "the column flags"
    for number in ("uidvalidity", "highestmodseq"):
        if getattr(a, number) != getattr(b, number):
            yield number
    if b.uidnext > a.uidnext:
        yield "UIDNEXT"


def _flags(table: Table) -> Sequence[tuple[str, ...] | None]:
    sets = dict(enumerate(table.flagsets.sets))
    return [sets.get(number) for number in table.flags]
