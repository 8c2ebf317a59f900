"""An account that was put back from a backup is older than what mail programs have seen of it.

A new message would get a UID that some program has another message for, and what was there in between would
stay in its cache for ever. So whoever first opens the account, told by a row `restored-…` among the keys,
gives every mailbox a new UIDVALIDITY (RFC 3501 §2.3.1.1): programs then forget what they knew of it.
"""

from collections.abc import Sequence

from aerogramme.log.entry import MailboxOp
from aerogramme.log.journal import Draft
from aerogramme.log.state import State
from aerogramme.mailbox.keys.keys import PARTITION


def renumbered(state: State, marks: Sequence[str], now: int) -> Draft:
    """The entry that does so at the unix second `now`, and takes the marks (row keys) away. Done twice, by a
    crash before they are gone, or by two servers at once, it does no harm."""
    # Above all that this state knows; and what the account had after the backup, it had before now.
    first = max(now, state.last_uidvalidity + 1)
    ops = [
        MailboxOp(mailbox, uidvalidity=first + n) for n, mailbox in enumerate(sorted(state.names.values()))
    ]
    return Draft(ops, delete=[(PARTITION, mark) for mark in marks])
