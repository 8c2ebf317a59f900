"""Which command is legal in which state of a connection: the one table that session, tests and docs read."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aerogramme.imap import commands
from aerogramme.imap.commands import Command


class State(Enum):
    """RFC 3501 §3: where a connection stands."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()
    LOGOUT = auto()


NOT_AUTHENTICATED: Final = frozenset({State.NOT_AUTHENTICATED})
AUTHENTICATED: Final = frozenset({State.AUTHENTICATED, State.SELECTED})
SELECTED: Final = frozenset({State.SELECTED})
ANY: Final = frozenset({State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED})


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a command is legal, and where that is written."""

    states: frozenset[State]
    rfc: str


RULES: Final[Mapping[type[Command], Rule]] = {
    commands.Capability: Rule(ANY, "RFC 3501 §6.1.1"),
    commands.Noop: Rule(ANY, "RFC 3501 §6.1.2"),
    commands.Logout: Rule(ANY, "RFC 3501 §6.1.3"),
    commands.Id: Rule(ANY, "RFC 2971 §3.1"),
    commands.StartTls: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.1"),
    commands.Authenticate: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.2"),
    commands.Login: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.3"),
    # RFC 5161 §3.1: "only valid in the authenticated state", before a mailbox is selected.
    # quirk_enable_selected: some clients enable QRESYNC for a mailbox that they have open; nothing speaks
    # against it.
    commands.Enable: Rule(AUTHENTICATED, "RFC 5161 §3.1"),
    commands.Select: Rule(AUTHENTICATED, "RFC 3501 §6.3.1, §6.3.2"),
    commands.Create: Rule(AUTHENTICATED, "RFC 3501 §6.3.3"),
    commands.Delete: Rule(AUTHENTICATED, "RFC 3501 §6.3.4"),
    commands.Rename: Rule(AUTHENTICATED, "RFC 3501 §6.3.5"),
    commands.Subscribe: Rule(AUTHENTICATED, "RFC 3501 §6.3.6, §6.3.7"),
    commands.List: Rule(AUTHENTICATED, "RFC 3501 §6.3.8"),
    commands.Lsub: Rule(AUTHENTICATED, "RFC 3501 §6.3.9"),
    commands.Namespace: Rule(AUTHENTICATED, "RFC 2342 §5"),
    commands.Status: Rule(AUTHENTICATED, "RFC 3501 §6.3.10"),
    commands.GetQuota: Rule(AUTHENTICATED, "RFC 9208 §4.1.1"),
    commands.GetQuotaRoot: Rule(AUTHENTICATED, "RFC 9208 §4.1.2"),
    commands.Append: Rule(AUTHENTICATED, "RFC 3501 §6.3.11"),
    commands.Idle: Rule(AUTHENTICATED, "RFC 2177 §3"),
    commands.Check: Rule(SELECTED, "RFC 3501 §6.4.1"),
    commands.Close: Rule(SELECTED, "RFC 3501 §6.4.2"),
    commands.Unselect: Rule(SELECTED, "RFC 3691 §2"),
    commands.Expunge: Rule(SELECTED, "RFC 3501 §6.4.3, RFC 4315 §2.1"),
    commands.Search: Rule(SELECTED, "RFC 3501 §6.4.4"),
    commands.Fetch: Rule(SELECTED, "RFC 3501 §6.4.5"),
    commands.Store: Rule(SELECTED, "RFC 3501 §6.4.6"),
    commands.Copy: Rule(SELECTED, "RFC 3501 §6.4.7"),
    commands.Move: Rule(SELECTED, "RFC 6851 §3"),
}


def refusal(command: type[Command], state: State) -> str | None:
    """Why a client in this state may not send the command (BAD, RFC 3501 §3); None if it may."""
    states = RULES[command].states
    if state in states:
        return None
    if state is State.NOT_AUTHENTICATED:
        return "Log in first"
    return "Select a mailbox first" if states is SELECTED else "You are logged in already"
