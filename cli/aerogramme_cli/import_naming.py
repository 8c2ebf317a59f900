"""Options of `import` that say what mailboxes are called, and which are for drafts, sent mail and the
like."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

PrefixOption = Annotated[
    str,
    typer.Option("--prefix", metavar="PREFIX", help="Left away from names: that of the namespace, as INBOX."),
]
UnderOption = Annotated[
    str, typer.Option("--under", metavar="NAME", help="A mailbox below which all goes, such as Old mail.")
]
RoleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="NAME=USE",
        help="What a mailbox is for: Drafts, Sent, Archive, Junk, Trash, or nothing; may be repeated. Else "
        "the source says so, or its name.",
    ),
]
NoGuessOption = Annotated[
    bool, typer.Option("--no-guess", help="Names alone do not say what mailboxes are for.")
]
Utf8Option = Annotated[
    bool,
    typer.Option("--utf8", help="Names are in UTF-8 (UTF-8 in Dovecot's mail_location)."),
]
EscapeOption = Annotated[
    str, typer.Option("--escape", metavar="CHAR", help="What Dovecot's listescape plugin escapes names with.")
]


@dataclass(frozen=True, kw_only=True)
class Named:
    """What mailboxes are called here, and what they are for."""

    under: UnderOption = ""
    role: RoleOption = None
    no_guess: NoGuessOption = False

    def said(self) -> dict[str, Any]:
        """For an Origin."""
        return {"under": self.under, "roles": tuple(self.role or ()), "guess": not self.no_guess}
