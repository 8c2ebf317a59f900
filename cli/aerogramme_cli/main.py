"""`aerogramme`: the commands, and the one place where an error becomes a line and an exit code."""

import logging
import sys
from typing import Annotated

import typer

from aerogramme.errors import AerogrammeError
from aerogramme_cli import (
    account,
    backup,
    check,
    compact,
    deliver,
    demo,
    export,
    import_group,
    key,
    log,
    mount,
    restore,
    restore_backup,
    serve,
    store,
)

# Plain help: rich's costs more to import than all the rest, and a script reads the same text everywhere.
app = typer.Typer(
    name="aerogramme",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(account.app, name="account")
app.add_typer(key.app, name="key")
app.add_typer(log.app, name="log")
app.add_typer(store.app, name="store")
app.add_typer(backup.app, name="backup")
app.add_typer(import_group.app, name="import")
app.add_typer(export.app, name="export")
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("deliver")(deliver.deliver)
app.command("check")(check.check)
app.command("compact")(compact.compact)
app.command("restore")(restore.restore)
app.command("mount")(mount.mount)
app.command("unmount")(mount.unmount)
app.command("restore-backup")(restore_backup.restore_backup)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # with it comes a parser of mail: not at each start

        typer.echo(f"aerogramme {version('aerogramme')}")
        raise typer.Exit


@app.callback()
def aerogramme(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An encrypted mail store: LMTP in, IMAP out, every byte sealed to the user's key.

    \b
    Examples:
      aerogramme account create alice@example.org --data ./mail
      aerogramme serve --data ./mail
      aerogramme deliver alice@example.org --data ./mail < mail.eml

    Each command explains itself with --help. Exit codes are in docs/exit-codes.md.
    """
    del show_version


def main() -> None:
    """Runs the command of argv. A user's mistake is one line and a hint, never a stack."""
    try:
        app()
    except AerogrammeError as error:
        typer.echo(f"aerogramme: error: {error}", err=True)
        if error.hint:
            typer.echo(f"aerogramme: hint: {error.hint}", err=True)
        logging.getLogger(__name__).debug("where it happened", exc_info=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
