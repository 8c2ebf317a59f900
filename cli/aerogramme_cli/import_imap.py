"""`aerogramme import imap`: mail from any IMAP server."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme_cli import import_running
from aerogramme_cli.asking import Asking
from aerogramme_cli.import_accounts import Line
from aerogramme_cli.import_naming import Named, PrefixOption
from aerogramme_cli.import_running import Asked
from aerogramme_cli.options import grouped
from aerogramme_cli.variables import expanded

if TYPE_CHECKING:
    from aerogramme.migrate.origin import Origin
    from aerogramme.seal import Secret


class Security(Enum):
    """What protects the connection."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@grouped
def imap(
    host: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="The other server.")],
    asked: Asked,
    named: Named,
    login: Annotated[
        str,
        typer.Option(
            "--login",
            metavar="NAME",
            help="The login name there, by default the address; %u, %n and %d as in paths.",
        ),
    ] = "%u",
    login_password: Annotated[
        str | None,
        typer.Option(
            "--login-password",
            metavar="FILE|fd:N",
            help="Where the password there is, in the first line. By default it is asked for.",
        ),
    ] = None,
    master: Annotated[
        str | None,
        typer.Option(
            "--master",
            metavar="NAME",
            help="A master user, who may read the mail of --login; the password is his.",
        ),
    ] = None,
    token: Annotated[
        bool, typer.Option("--token", help="The password is a token of OAuth 2 (Gmail, Microsoft 365).")
    ] = False,
    security: Annotated[
        Security, typer.Option("--security", help="What protects the connection; none only to this machine.")
    ] = Security.TLS,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Certificates (PEM) to trust instead of the system's."),
    ] = None,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=16, metavar="N", help="At most so many at a time.")
    ] = 4,
    views: Annotated[
        bool,
        typer.Option(
            "--views", help="Also mailboxes that only show messages of others again (All Mail, Starred)."
        ),
    ] = False,
    prefix: PrefixOption = "",
) -> None:
    """Move mail in from an IMAP server. Nothing is changed there, and nothing is marked as read.

    UIDs and UIDVALIDITY stay where the mailbox here is new or empty, so that mail programs download nothing
    again; flags, keywords, dates and subscriptions stay in any case. The same command again moves what has
    changed since, and goes on where one was cut off.

    First the password there is asked for, then that of the account. With --accounts FILE, a line of CSV is:
    address, login name, password there; or --master and --login-password are good for all.

    Exit code 65: not all mail of the source is here; 75: the server cannot be reached; 77: it lets nobody in.

    \b
    Examples:
      aerogramme import imap imap.example.com alice@example.org --data ./mail
      aerogramme import imap localhost:143 alice@example.org --security starttls --login alice
      aerogramme import imap old.example.org --accounts users.csv --sealed --master admin --login-password
      FILE
    """
    name, port = _host(host)
    known: Secret | None = None if login_password is None else import_running.secret_of(login_password)

    def origin_of(line: Line, prompts: Asking) -> "Origin":
        from aerogramme.migrate.origin import Origin

        user = line.source or expanded(login, line.address)
        secret = known.reveal().decode() if known is not None else line.password
        if not secret:
            secret = prompts.password(f"Password of {master or user} at {name}").reveal().decode()
        return Origin(
            "imap",
            name,
            port=port,
            login=master or user,
            owner=user if master else "",
            password=secret,
            token=token,
            security=security.value,
            ca="" if ca is None else str(ca.absolute()),
            connections=connections,
            views=views,
            prefix=prefix,
            **named.said(),
        )

    import_running.move(asked, origin_of, logins=True)


def _host(text: str) -> tuple[str, int]:
    """A name or address, and a port; 0 for the usual one. Raises BadParameter."""
    name, colon, port = text.rpartition(":")
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise typer.BadParameter(f"{text} is no host: [ADDRESS]:PORT")
        colon, port = rest[:1], rest[1:]
    elif not colon or ":" in name:  # no port, or an address of IPv6
        name, port = text, ""
    if not port:
        return name, 0
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise typer.BadParameter(f"{port} is no port")
    return name, int(port)
