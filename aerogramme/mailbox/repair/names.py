"""Mailboxes without a name, or with one that none can have."""

import time
import unicodedata
from collections.abc import AsyncGenerator

from aerogramme.errors import Refused
from aerogramme.log.entry import MailboxOp
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.audit.faults import Fault, Kind
from aerogramme.mailbox.names import DELIMITER, MAX_DEPTH, MAX_PART, check

RECOVERED = "Recovered"


async def mend(account: Account, faults: list[Fault]) -> AsyncGenerator[str, None]:
    # A missing INBOX is made by whoever opens the account.
    for fault in faults:
        if fault.mailbox is None or fault.kind not in (Kind.NAME, Kind.NAMELESS):
            continue
        yield f"naming a mailbox: {fault.what}"
        mailbox = fault.mailbox
        names = {each: name for name, each in account.state.names.items()}
        name = nearest(names[mailbox]) if mailbox in names else RECOVERED

        def build(state: State, mailbox: int = mailbox, name: str = name) -> Draft:
            number = state.attribute(mailbox, "uidvalidity")
            new = None if number else max(int(time.time()), state.last_uidvalidity + 1)
            return Draft([MailboxOp(mailbox, name=name, deleted=False, uidvalidity=new)])

        await account.journal.commit(build)


def nearest(name: str) -> str:
    """The nearest name that a mailbox can have."""
    parts = [_part(part) for part in name.split(DELIMITER)]
    for found in (DELIMITER.join([part for part in parts if part][:MAX_DEPTH]), RECOVERED):
        try:
            return check(found)
        except Refused:
            continue
    raise AssertionError("a mailbox can be called Recovered")


def _part(part: str) -> str:
    """One level, without what no name may have."""
    kept = "".join(c for c in part if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp"))
    kept = "" if kept in (".", "..") else kept
    return kept.encode("utf-8", "ignore")[:MAX_PART].decode("utf-8", "ignore")
