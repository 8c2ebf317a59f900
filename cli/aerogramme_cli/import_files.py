"""`aerogramme import mbox`, `eml`: mail from the files that mail programs keep or save."""

from typing import Annotated

import typer

from aerogramme_cli.import_mail import PathArgument, move_files
from aerogramme_cli.import_naming import Named
from aerogramme_cli.import_running import Asked
from aerogramme_cli.options import grouped

UtcOption = Annotated[
    bool,
    typer.Option(
        "--utc", help="Times that name no zone are UTC. Without this, they are those of this machine."
    ),
]
IntoOption = Annotated[
    str,
    typer.Option(
        "--into", metavar="NAME", help="The mailbox for what is in no folder; else it is called as PATH is."
    ),
]


@grouped
def mbox(
    path: PathArgument, asked: Asked, named: Named, into: IntoOption = "", utc: UtcOption = False
) -> None:
    """Move mail in from mboxes: mutt, Thunderbird, Apple Mail, Gmail.

    Flags come along where the file says them, and UIDs and keywords where Dovecot, or an export from here,
    has written them. Other messages that are here already are found by date, size and Message-ID.

    \b
    Examples:
      aerogramme import mbox old.mbox alice@example.org --data ./mail --into Archive/2019
      aerogramme import mbox ~/Mail alice@example.org --data ./mail --under "Old mail"
    """
    move_files(asked, "mbox", path, named.said() | {"into": into, "utc": utc})


@grouped
def eml(path: PathArgument, asked: Asked, named: Named, into: IntoOption = "") -> None:
    """Move mail in from files with one letter each (.eml). One file, or a folder of them with folders in it.

    Folders become mailboxes. Letters get the date of their last Received, or of their Date.

    \b
    Examples:
      aerogramme import eml letter.eml alice@example.org --data ./mail --into INBOX
      aerogramme import eml ~/saved alice@example.org --data ./mail --under "Old mail"
    """
    move_files(asked, "eml", path, named.said() | {"into": into})
