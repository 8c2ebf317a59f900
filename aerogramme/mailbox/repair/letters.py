"""Letters that came in and cannot be read: they are set aside as they are, and a message in INBOX says so.

The message has the name that the letter would have had (its id), so that it is there once, whoever repairs,
and however often.
"""

import hashlib
import time
from collections.abc import AsyncGenerator

from aerogramme.errors import Damaged
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox import changes
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.audit.setting_aside import copy_aside, set_aside
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.contents import Upload, segment_columns
from aerogramme.mailbox.incoming import incoming
from aerogramme.mailbox.names import INBOX
from aerogramme.mailbox.repair.placeholder import notice
from aerogramme.seal import Binding

MAX_NOTICE = 1 << 20


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    for fault in faults:
        if fault.kind == Kind.LETTER and fault.item is not None:
            yield f"setting aside: {fault.what}"
            await _one(account, fault.item[1])


async def _one(account: Account, key: str) -> None:
    rows, _ = await account.store.read(incoming.PARTITION)
    sealed = dict(rows).get(key)
    if sealed is None:
        return  # somebody else has done it
    await copy_aside(account.store, (incoming.PARTITION, key))
    message, millis, sender = _known(account, key, sealed)
    [content] = account.journal.new_ids(1)
    upload = Upload(content, bytes.fromhex(account.id), account.store, MAX_NOTICE, None)
    await upload.write(notice(f"unreadable/{incoming.PARTITION}/{key}", millis // 1000, sender))
    made, body = await upload.finish()
    assert body is not None  # nothing is written ahead without a nursery
    segment = account.journal.segments.pack([content], segment_columns([made]))
    row = [(incoming.PARTITION, key)]

    def build(state: State) -> Draft:
        if any(table.modseq_of(message) for table in state.tables.values()):  # it is there, or was
            return Draft([], delete=row)
        inbox = state.tables[state.names[INBOX]]
        op = changes.add(inbox, [message], [made], [millis // 1000], [()], segment.ref)
        return Draft([op], objects=[(body_name(content), body), *segment.objects], delete=row)

    await account.journal.commit(build)
    await account.refresh()
    if message not in account.state.contents:  # else somebody could read it, and it is a message's
        await set_aside(account.store, ("", body_name(message)))


def _known(account: Account, key: str, sealed: bytes) -> tuple[int, int, str | None]:
    """The id of a letter, when it came (milliseconds since 1970), and who sent it, if that can be told."""
    try:
        binding = Binding(bytes.fromhex(account.id), "letter", key)
        letter = incoming.decode_letter(key, account.keyring.open_incoming(sealed, binding))
    except Damaged:
        millis, _, number = key.partition("-")
        try:
            return int(number, 16), int(millis, 16), None
        except ValueError:
            # Whatever it is called, it is the same the next time.
            return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()), _now(), None
    return letter.id, letter.millis, letter.sender


def _now() -> int:
    return int(time.time() * 1000)
