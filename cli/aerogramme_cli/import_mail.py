"""`aerogramme import dovecot`, `maildir`: mail from the files of another server or program."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aerogramme_cli import import_running
from aerogramme_cli.asking import Asking
from aerogramme_cli.import_accounts import Line
from aerogramme_cli.import_naming import EscapeOption, Named, PrefixOption, Utf8Option
from aerogramme_cli.import_running import Asked
from aerogramme_cli.options import grouped
from aerogramme_cli.variables import expanded

if TYPE_CHECKING:
    from aerogramme.migrate.origin import Kind, Origin


class Layout(Enum):
    """How a Maildir has its folders."""

    PLUSPLUS = "maildir++"
    FS = "fs"


PathArgument = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="Where the mail is. %u stands for the address, %n for what comes before its @, %d after; "
        "%Lu and so on in small letters.",
    ),
]
LayoutOption = Annotated[
    Layout | None, typer.Option("--layout", help="How folders lie in a Maildir; by default it is looked at.")
]
ControlOption = Annotated[
    str, typer.Option("--control", metavar="PATH", help="CONTROL= of mail_location, if it has one.")
]
IndexOption = Annotated[
    str, typer.Option("--index", metavar="PATH", help="INDEX= of mail_location, if it has one.")
]
InboxOption = Annotated[
    str, typer.Option("--inbox", metavar="PATH", help="INBOX= of mail_location, if it has one.")
]
AltOption = Annotated[
    str, typer.Option("--alt", metavar="PATH", help="ALT= of mail_location, if it has one.")
]
AttachmentsOption = Annotated[
    str, typer.Option("--attachments", metavar="PATH", help="Dovecot's mail_attachment_dir, if it has one.")
]
FinalOption = Annotated[
    bool,
    typer.Option(
        "--final",
        help="Dovecot does not run any more: mail to which it has given no UID yet gets one. Without this, "
        "such mail is left for the next run.",
    ),
]


@grouped
def dovecot(
    path: PathArgument,
    asked: Asked,
    named: Named,
    final: FinalOption = False,
    layout: LayoutOption = None,
    control: ControlOption = "",
    index: IndexOption = "",
    inbox: InboxOption = "",
    alt: AltOption = "",
    attachments: AttachmentsOption = "",
    prefix: PrefixOption = "",
    utf8: Utf8Option = False,
    escape: EscapeOption = "",
) -> None:
    """Move mail in from Dovecot's files: Maildir, sdbox, mdbox, mbox. PATH is that of its mail_location.

    UIDs, UIDVALIDITY, flags, keywords, dates and subscriptions stay, so that mail programs download nothing
    again. Dovecot may serve the mail meanwhile, and nothing of it is changed. The same command again moves
    what has changed since, and goes on where one was cut off.

    With --accounts FILE, a line of CSV is: address, path (instead of PATH). The passwords of the accounts
    come with --passwords-from, or are not needed: with --key before the first login, or with --sealed.

    Exit code 65: not all mail of the source is here.

    \b
    Examples:
      aerogramme import dovecot ~alice/Maildir alice@example.org --data ./mail
      doveadm user '*' | aerogramme import dovecot /var/vmail/%d/%n/mdbox --accounts - --sealed
      aerogramme import dovecot /var/vmail/%d/%n/mdbox --accounts users --key FILE --delete --final --verify
    """
    said = named.said() | {
        "layout": None if layout is None else layout.value,
        "control": control,
        "index": index,
        "inbox": inbox,
        "alt": alt,
        "attached": attachments,
        "final": final,
        "prefix": prefix,
        "utf8": utf8,
        "escape": escape,
    }
    move_files(asked, "dovecot", path, said)


@grouped
def maildir(
    path: PathArgument,
    asked: Asked,
    named: Named,
    layout: LayoutOption = None,
    utf8: Utf8Option = False,
) -> None:
    """Move mail in from a Maildir: mbsync, mutt, Courier, qmail.

    Messages that are here already are found by date, size and Message-ID, and not taken over twice.

    \b
    Examples:
      aerogramme import maildir ~/Mail alice@example.org --data ./mail
      aerogramme import maildir ~/Mail alice@example.org --data ./mail --layout fs --under "Old mail"
    """
    said = named.said() | {"layout": None if layout is None else layout.value, "utf8": utf8}
    move_files(asked, "maildir", path, said)


def move_files(asked: Asked, kind: "Kind", path: str, said: dict[str, Any]) -> None:
    """`said`: what else there is to say of the source; paths in it may have variables, too."""

    def origin_of(line: Line, _prompts: Asking) -> "Origin":
        from aerogramme.migrate.origin import Origin

        places = {
            name: _place(said[name], line.address)
            for name in ("control", "index", "inbox", "alt", "attached")
            if said.get(name)
        }
        return Origin(kind, line.source or _place(path, line.address), **said | places)

    import_running.move(asked, origin_of)


def _place(path: str, address: str) -> str:
    try:
        path = str(Path(path).expanduser().absolute())  # before an address is in it, which may begin with ~
    except RuntimeError as error:
        raise typer.BadParameter(f"{path}: {error}") from None
    return expanded(path, address)
