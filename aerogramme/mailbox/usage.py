"""How much mail an account holds, and whether there is room for more.

What counts is the size of every message in every mailbox, so a copy counts again: that is what mail programs
show, and what it takes to stay below does not depend on how the server stores it.
"""

from dataclasses import dataclass

from aerogramme.errors import OverQuota
from aerogramme.log.state import State
from aerogramme.units import shown_size


@dataclass(frozen=True, slots=True)
class Usage:
    """Of an account: `octets` and number of its `messages`."""

    octets: int = 0
    messages: int = 0


def usage(state: State) -> Usage:
    """What an account holds in this state. Costs a step for each mailbox, whatever they hold."""
    tables = state.mailboxes.values()
    return Usage(sum(table.octets for table in tables), sum(map(len, tables)))


def check_room(state: State, quota: int | None, octets: int) -> None:
    """Raises OverQuota if messages of so many octets are more than there is room for."""
    if quota is None:
        return
    used = usage(state).octets
    if used + octets > quota:
        raise OverQuota(
            f"The account is full: it holds {shown_size(used)} of {shown_size(quota)}, and this is "
            f"{shown_size(octets)}",
            hint="what is deleted and expunged makes room; `aerogramme account set` changes the quota",
        )
