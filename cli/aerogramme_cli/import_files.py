"""`aerogramme import mbox`, `eml`: mail from the files that mail programs keep or save."""

from typing import Annotated

import typer

from aerogramme_cli.asking import PasswordFrom, PasswordStdin
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption
from aerogramme_cli.import_job import Where
from aerogramme_cli.import_mail import PathArgument, move_files
from aerogramme_cli.import_naming import NoGuessOption, RoleOption, UnderOption
from aerogramme_cli.import_running import (
    AccountsOption,
    Asked,
    DeleteOption,
    DryRunOption,
    JobsOption,
    JsonOption,
    OnlyOption,
    SealedOption,
    VerifyOption,
)
from aerogramme_cli.many import KeyOption, OptionalAddress, PasswordsFrom

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


def mbox(
    path: PathArgument,
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    accounts: AccountsOption = None,
    jobs: JobsOption = None,
    sealed: SealedOption = False,
    delete: DeleteOption = False,
    dry_run: DryRunOption = False,
    verify: VerifyOption = False,
    only: OnlyOption = None,
    into: IntoOption = "",
    utc: UtcOption = False,
    under: UnderOption = "",
    role: RoleOption = None,
    no_guess: NoGuessOption = False,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move mail in from mbox files, one or a folder of them: those of mutt, Thunderbird, Apple Mail, Gmail.

    Flags come along where the file says them, and UIDs and keywords where Dovecot, or an export from here,
    has written them. Other messages that are here already are found by date, size and Message-ID.

    \b
    Examples:
      aerogramme import mbox old.mbox alice@example.org --data ./mail --into Archive/2019
      aerogramme import mbox ~/Mail alice@example.org --data ./mail --under "Old mail"
    """
    asked = Asked(
        Where(config, data, store), address, accounts, jobs, sealed, delete, dry_run, verify, only,
        password_stdin, password_from, passwords_from, key, as_json,
    )  # fmt: skip
    roles = tuple(role or ())
    said = {"into": into, "utc": utc, "under": under, "roles": roles, "guess": not no_guess}
    move_files(asked, "mbox", path, said)


def eml(
    path: PathArgument,
    address: OptionalAddress = None,
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    accounts: AccountsOption = None,
    jobs: JobsOption = None,
    sealed: SealedOption = False,
    delete: DeleteOption = False,
    dry_run: DryRunOption = False,
    verify: VerifyOption = False,
    only: OnlyOption = None,
    into: IntoOption = "",
    under: UnderOption = "",
    role: RoleOption = None,
    no_guess: NoGuessOption = False,
    password_stdin: PasswordStdin = False,
    password_from: PasswordFrom = None,
    passwords_from: PasswordsFrom = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move mail in from files with one letter each: one .eml file, or a folder of them with folders in it.

    Folders become mailboxes. Letters get the date of their last Received, or of their Date.

    \b
    Examples:
      aerogramme import eml letter.eml alice@example.org --data ./mail --into INBOX
      aerogramme import eml ~/saved alice@example.org --data ./mail --under "Old mail"
    """
    asked = Asked(
        Where(config, data, store), address, accounts, jobs, sealed, delete, dry_run, verify, only,
        password_stdin, password_from, passwords_from, key, as_json,
    )  # fmt: skip
    said = {"into": into, "under": under, "roles": tuple(role or ()), "guess": not no_guess}
    move_files(asked, "eml", path, said)
