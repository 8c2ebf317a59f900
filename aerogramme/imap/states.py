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
    """Where a command is legal, and where that is written. `expunges`: its answer may hold EXPUNGE or
    VANISHED.

    RFC 3501 §7.4.1: no EXPUNGE while no command is in progress, nor in answer to FETCH, STORE or SEARCH;
    their UID forms may have it. IDLE is in progress until DONE.
    """

    states: frozenset[State]
    rfc: str
    expunges: bool = False


RULES: Final[Mapping[type[Command], Rule]] = {
    commands.Capability: Rule(ANY, "RFC 3501 §6.1.1", expunges=True),
    commands.Noop: Rule(ANY, "RFC 3501 §6.1.2", expunges=True),
    commands.Logout: Rule(ANY, "RFC 3501 §6.1.3"),
    commands.Id: Rule(ANY, "RFC 2971 §3.1", expunges=True),
    commands.StartTls: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.1"),
    commands.Authenticate: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.2"),
    commands.Login: Rule(NOT_AUTHENTICATED, "RFC 3501 §6.2.3"),
    # RFC 5161 §3.1: "only valid in the authenticated state", before a mailbox is selected.
    # quirk_enable_selected: some clients enable QRESYNC for a mailbox that they have open; nothing speaks
    # against it.
    commands.Enable: Rule(AUTHENTICATED, "RFC 5161 §3.1", expunges=True),
    commands.Select: Rule(AUTHENTICATED, "RFC 3501 §6.3.1, §6.3.2"),
    commands.Create: Rule(AUTHENTICATED, "RFC 3501 §6.3.3", expunges=True),
    commands.Delete: Rule(AUTHENTICATED, "RFC 3501 §6.3.4", expunges=True),
    commands.Rename: Rule(AUTHENTICATED, "RFC 3501 §6.3.5", expunges=True),
    commands.Subscribe: Rule(AUTHENTICATED, "RFC 3501 §6.3.6, §6.3.7", expunges=True),
    commands.List: Rule(AUTHENTICATED, "RFC 3501 §6.3.8", expunges=True),
    commands.Lsub: Rule(AUTHENTICATED, "RFC 3501 §6.3.9", expunges=True),
    commands.Namespace: Rule(AUTHENTICATED, "RFC 2342 §5", expunges=True),
    commands.Status: Rule(AUTHENTICATED, "RFC 3501 §6.3.10", expunges=True),
    commands.Append: Rule(AUTHENTICATED, "RFC 3501 §6.3.11", expunges=True),
    commands.Idle: Rule(AUTHENTICATED, "RFC 2177 §3", expunges=True),
    commands.Check: Rule(SELECTED, "RFC 3501 §6.4.1", expunges=True),
    commands.Close: Rule(SELECTED, "RFC 3501 §6.4.2"),
    commands.Unselect: Rule(SELECTED, "RFC 3691 §2"),
    commands.Expunge: Rule(SELECTED, "RFC 3501 §6.4.3, RFC 4315 §2.1", expunges=True),
    commands.Search: Rule(SELECTED, "RFC 3501 §6.4.4"),
    commands.Fetch: Rule(SELECTED, "RFC 3501 §6.4.5"),
    commands.Store: Rule(SELECTED, "RFC 3501 §6.4.6"),
    commands.Copy: Rule(SELECTED, "RFC 3501 §6.4.7", expunges=True),
    commands.Move: Rule(SELECTED, "RFC 6851 §3", expunges=True),
}
"""One line a command. `expunges` of FETCH, STORE and SEARCH is that of the plain forms."""


def legal(command: type[Command], state: State) -> bool:
    """Whether a client in this state may send the command."""
    return state in RULES[command].states


def may_expunge(command: Command) -> bool:
    """Whether EXPUNGE or VANISHED may be sent before the tagged answer (RFC 3501 §7.4.1)."""
    if isinstance(command, commands.Fetch | commands.Store | commands.Search):
        return command.uid
    return RULES[type(command)].expunges
