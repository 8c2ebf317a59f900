"""`aerogramme import`: moving in from another mail store."""

import typer

from aerogramme_cli import import_files, import_imap, import_mail, import_users

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Move in from another mail store: users, and their mail.",
)


@app.callback()
def import_() -> None:
    """Move in from another mail store: users, and their mail."""


app.command("users")(import_users.users)
app.command("dovecot")(import_mail.dovecot)
app.command("imap")(import_imap.imap)
app.command("maildir")(import_mail.maildir)
app.command("mbox")(import_files.mbox)
app.command("eml")(import_files.eml)
