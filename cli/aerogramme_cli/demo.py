"""`aerogramme demo`: a server to try, with an account in it."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from aerogramme.config import Config, TcpAddress
from aerogramme_cli import account, common, serve
from aerogramme_cli.options import StoreOption

ADDRESS = "demo@localhost"
# The same at every start, and no secret: it is printed, and the server listens on loopback only. A random one
# would have to be stored in plain to be printed the next time.
PASSWORD = "demo-demo-demo"  # noqa: S105


def demo(
    data: Annotated[Path, typer.Option("--data", help="The folder of the demo's data.")] = Path("demo-data"),
    store: StoreOption = None,
) -> None:
    """Serve a demo account, and print commands to try it with.

    On 127.0.0.1, IMAP at port 1143, LMTP at 1024.

    \b
    Example:
      aerogramme demo --data ./demo-data
    """
    settings = Config.for_data(data, store=store)
    if common.directory(settings).by_login(ADDRESS) is None:
        from aerogramme.seal import Secret

        common.run(account.create_account, settings, ADDRESS, Secret(PASSWORD))
    imap, lmtp = settings.imap_listen[0], settings.lmtp_listen[0]
    assert isinstance(imap, TcpAddress) and isinstance(lmtp, TcpAddress)
    typer.echo(f"The demo account is {ADDRESS}, its password {PASSWORD}\n")
    typer.echo("Send it a mail:\n")
    typer.echo(
        f"  python3 -c \"import smtplib; smtplib.LMTP('{lmtp.host}', {lmtp.port}).sendmail('me@localhost', "
        f"'{ADDRESS}', 'Subject: Hello\\n\\nThis is a letter.\\n')\"\n"
    )
    typer.echo("Read it:\n")
    typer.echo(f"  {_reader(imap)}\n")
    serve.run(settings)


def _reader(imap: TcpAddress) -> str:
    if shutil.which("curl"):
        return f"curl -sS -u {ADDRESS}:{PASSWORD} 'imap://{imap.host}:{imap.port}/INBOX;MAILINDEX=*'"
    return (
        f"python3 -c \"import imaplib; c = imaplib.IMAP4('{imap.host}', {imap.port}); "
        f"c.login('{ADDRESS}', '{PASSWORD}'); c.select(); print(c.fetch('*', '(RFC822)')[1][0][1].decode())\""
    )
