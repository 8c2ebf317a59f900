"""`aerogramme log`: what happened to an account, and whether all of it is there."""

import typer

from aerogramme_cli import log_at, log_show, log_stat, log_verify

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the log of an account.")


@app.callback()
def log() -> None:
    """Look at the log of an account."""


app.command("show")(log_show.show)
app.command("at")(log_at.at)
app.command("stat")(log_stat.stat)
app.command("verify")(log_verify.verify)
