"""`aerogramme serve`: the listeners, until a signal ends them."""

import logging
import sys
from typing import Annotated

import typer

from aerogramme.config import Config
from aerogramme_cli import common
from aerogramme_cli.options import Where, grouped

# Libraries that have a line for each request, and at debug all of it: signatures, tokens, names of objects.
OTHERS = ("boto3", "botocore", "httpcore", "httpx", "urllib3")


@grouped
def serve(
    where: Where,
    imap: Annotated[
        list[str] | None,
        typer.Option(
            "--imap", help="HOST:PORT to serve IMAP on; may be repeated. Then no LMTP but by --lmtp."
        ),
    ] = None,
    lmtp: Annotated[
        list[str] | None,
        typer.Option(
            "--lmtp",
            help="HOST:PORT or the path of a socket to take mail on; may be repeated. Then no IMAP but by "
            "--imap.",
        ),
    ] = None,
) -> None:
    """Serve IMAP and take mail by LMTP, until SIGINT or SIGTERM.

    \b
    Examples:
      aerogramme serve --config /etc/aerogramme/aerogramme.toml
      aerogramme serve --data ./mail --imap 127.0.0.1:1143 --lmtp 127.0.0.1:1024
      aerogramme serve --data ./mail --lmtp 127.0.0.1:1024    takes mail, and has no password of anybody
      aerogramme serve --data ./mail --store 's3:https://s3.example.org/mail?region=eu'

    --imap and --lmtp take the place of what the configuration says of both. Each listener is a line on
    standard output once it is open; the log goes to standard error.
    """
    settings = where.settings()
    if imap or lmtp:
        settings = settings.listening(imap or (), lmtp or ())
    run(settings)


def run(settings: Config) -> None:
    """Sets up the log and serves until a signal comes."""
    from aerogramme.daemon import serve as daemon

    set_up_log(settings.log_level)
    common.run(daemon, settings, _announce)


def set_up_log(level: str) -> None:
    """The log goes to standard error."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _announce(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()
