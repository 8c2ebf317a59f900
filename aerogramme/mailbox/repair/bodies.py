"""Messages whose body is missing or does not open: they become messages that say so.

The message keeps its UID, and gets another, greater content, as in reencrypting.py. By RFC 3501 §2.3.1.1 what
a UID names never changes, and here it does, on purpose: a client that has the original has what nobody else
has any more. Under a new UID the old one would be expunged, and the client would throw its copy away.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.elsewhere import Digest, find_letter, other_digests, own_digests, record_of
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.setting_aside import set_aside
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import Content, Upload, segment_columns
from aerogramme.mailbox.keys.reencrypting import added_again, greater_ids
from aerogramme.mailbox.repair.placeholder import placeholder

BATCH, BATCH_OCTETS = 100, 8 * 1024 * 1024  # contents, and octets of letters, that one entry is about
MAX_LETTER = 1 << 30  # what was taken in once is not measured again


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    about = [fault for fault in faults if fault.kind == Kind.BODY and fault.content is not None]
    dates = _dates(account.state)
    contents = sorted({fault.content for fault in about if fault.content is not None} & dates.keys())
    lost: set[int] = set()
    for start in range(0, len(contents), BATCH):
        yield f"messages: {start:,} of {len(contents):,}"
        some = contents[start : start + BATCH]
        lost |= await _some(account, some, dates)
    for fault in about:
        if fault.item is not None and (fault.content in lost or fault.content not in dates):
            yield f"setting aside: {fault.what}"
            await set_aside(account.store, fault.item)


async def _some(account: Account, contents: Sequence[int], dates: Mapping[int, int]) -> set[int]:
    """Gives the messages of these contents others. Those of which the letter is lost."""
    digests = await own_digests(account, contents)
    poor = {content for content in contents if {"record", "header"} - digests[content].keys()}
    others = await other_digests(account, poor) if poor else {}
    renamed = greater_ids(account.state, contents)
    letters: dict[int, bytes] = {}
    lost: set[int] = set()
    octets = 0
    for content in contents:
        if content not in renamed:
            continue
        mine, other = digests[content], others.get(content, {})
        letter = await find_letter(account, content, [record_of(mine), record_of(other)])
        if letter is None:
            lost.add(content)
            letter = placeholder(known_of(mine, other), dates[content])
        letters[content] = letter
        octets += len(letter)
        if octets > BATCH_OCTETS:
            await replace_letters(account, letters, renamed)
            letters, octets = {}, 0
    if letters:
        await replace_letters(account, letters, renamed)
    return lost


def known_of(mine: Digest, other: Digest) -> Digest:
    """All that is known of a content."""
    return other | {field: value for field, value in mine.items() if value}


async def replace_letters(account: Account, letters: Mapping[int, bytes], renamed: Mapping[int, int]) -> None:
    """The messages with these contents have other letters from now on, under these contents. One entry.
    Raises Unavailable."""
    made: dict[int, Content] = {}
    objects: list[tuple[str, bytes]] = []
    for content, letter in letters.items():
        upload = Upload(renamed[content], bytes.fromhex(account.id), account.store, MAX_LETTER, None)
        await upload.write(letter)
        made[content], sealed = await upload.finish()
        assert sealed is not None  # nothing is written ahead without a nursery
        await account.store.put(body_name(renamed[content]), sealed)
    again = {content: new.id for content, new in made.items()}
    sizes = {new.id: new.record.size for new in made.values()}
    segment = account.journal.segments.pack(again.values(), segment_columns(list(made.values())))
    objects += segment.objects

    def build(state: State) -> Draft | None:
        ops = added_again(state, again, sizes)
        if not ops:
            return None
        ops[0] = replace(ops[0], segment=segment.ref)
        return Draft(ops, objects=objects)

    if await account.journal.commit(build) is None:  # the messages have gone meanwhile
        await account.store.delete([body_name(new) for new in again.values()])


def _dates(state: State) -> dict[int, int]:
    """The contents that messages have, with the INTERNALDATE of one of them."""
    dates: dict[int, int] = {}
    for table in state.tables.values():
        dates.update(zip(table.contents, table.dates, strict=True))
    return dates
