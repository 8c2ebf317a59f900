"""What all commands of `import` that move mail have in common: whose mail, how, and what is said of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, Damaged
from aerogramme_cli import common, import_job, import_shown, many
from aerogramme_cli.asking import LONGEST, Asking, asking, read_file
from aerogramme_cli.import_accounts import Line, read_list
from aerogramme_cli.import_job import Job
from aerogramme_cli.import_many import Done, run_many
from aerogramme_cli.options import JsonLines, KeyOption, OptionalAddress, PasswordsFrom, Prompted, Where

if TYPE_CHECKING:
    from aerogramme.migrate.origin import Origin
    from aerogramme.migrate.passing import Options
    from aerogramme.seal import Secret

AccountsOption = Annotated[
    str | None,
    typer.Option(
        "--accounts",
        metavar="FILE",
        help="Instead of an address, a list of them (- for standard input): as `doveadm user '*'` "
        "prints them, or CSV.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, metavar="N", help="How many accounts at a time; by default one a processor."
    ),
]
SealedOption = Annotated[
    bool,
    typer.Option(
        "--sealed",
        help="Without the password of the account: its mail is sealed to its public key, and opens at the "
        "next login.",
    ),
]
DeleteOption = Annotated[
    bool,
    typer.Option("--delete", help="Remove what an earlier run has taken over, and the source has no more."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Then compare all messages with the source: size, octets, UID, flags, date. With --dry-run, "
        "only that.",
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mailbox", metavar="NAME", help="Only this mailbox, as it is called here; may be repeated."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Asked(Prompted, Where):
    """Whose mail is moved, and how."""

    address: OptionalAddress = None
    accounts: AccountsOption = None
    jobs: JobsOption = None
    sealed: SealedOption = False
    delete: DeleteOption = False
    dry_run: DryRunOption = False
    verify: VerifyOption = False
    only: OnlyOption = None
    passwords_from: PasswordsFrom = None
    key: KeyOption = None
    as_json: JsonLines = False

    def options(self) -> "Options":
        from aerogramme.migrate.passing import Options

        return Options(delete=self.delete, dry_run=self.dry_run, only=tuple(self.only or ()))


def move(asked: Asked, origin_of: "Callable[[Line, Asking], Origin]", *, logins: bool = False) -> None:
    """Moves the mail of one account, or many. `origin_of`: where that of an account is; `logins`: a list
    may have passwords for the source. Ends with Damaged if something is missing."""
    if (asked.address is None) == (asked.accounts is None):
        raise typer.BadParameter("give an address, or --accounts with a list of them")
    if asked.sealed and asked.verify:
        raise typer.BadParameter("what is sealed cannot be compared: --verify needs the password, or --key")
    if asked.sealed and asked.key is not None:
        raise typer.BadParameter("--sealed needs no --key")
    settings = asked.settings()
    if asked.address is not None:
        _one(settings, asked, asked.address, origin_of)
    else:
        _many(settings, asked, origin_of, logins=logins)


def _one(settings: Config, asked: Asked, address: str, origin_of: "Callable[[Line, Asking], Origin]") -> None:
    if asked.passwords_from is not None:
        raise typer.BadParameter("--passwords-from goes with --accounts")
    from aerogramme.migrate.sealing import workers_of_this_machine

    user = common.user_of(settings, address)
    prompts = asked.asking()
    origin = origin_of(Line(address), prompts)
    secret: Secret | None = None
    if asked.key is not None:
        secret = many.key_of(asked.key)(user.account)
    elif not asked.sealed:
        secret = prompts.password(f"Password of {user.address}")
    job = Job(address, origin, secret, asked.options(), asked.verify)
    with (
        common.interruptible("interrupted; the same command again goes on"),
        import_shown.bars(1) as shown,
    ):
        told = partial(shown, user.address)
        outcome = import_job.run(settings, job, told, workers_of_this_machine())
    plain = outcome.plain()
    if asked.as_json:
        import_shown.show_json([Done(address, plain)])
    else:
        import_shown.show_faults(plain)
        import_shown.show_one(plain, dry_run=asked.dry_run)
    if not outcome.whole:
        raise Damaged("not all mail of the source is here", hint="above it says what is missing, and why")


def _many(
    settings: Config, asked: Asked, origin_of: "Callable[[Line, Asking], Origin]", *, logins: bool
) -> None:
    if asked.password_stdin or asked.password_from:
        raise typer.BadParameter("--accounts takes --passwords-from, --key, or --sealed")
    assert asked.accounts is not None
    lines = read_list(asked.accounts, passwords=logins)
    secrets = {} if asked.passwords_from is None else many.passwords(settings, asked.passwords_from)
    by_key = None if asked.key is None else many.key_of(asked.key)
    jobs: list[Job] = []
    done: list[Done] = []
    prompts = asking(False, None)
    for line in lines:
        try:
            account = common.user_of(settings, line.address).account
            secret = secrets.get(account)
            if secret is None and by_key is not None:
                secret = by_key(account)
            if secret is None and not asked.sealed:
                raise Damaged("its password is not given", hint="--passwords-from, --key, or --sealed")
            if secret is not None and asked.sealed:
                secret = None
            jobs.append(Job(line.address, origin_of(line, prompts), secret, asked.options(), asked.verify))
        except AerogrammeError as error:
            done.append(Done(line.address, None, str(error), error.hint, error.exit_code))
    processes = asked.jobs or os.cpu_count() or 1
    with (
        common.interruptible("interrupted; the same command again goes on"),
        import_shown.bars(len(jobs)) as shown,
    ):
        done += common.run(run_many, asked, jobs, processes, shown)
    if asked.as_json:
        import_shown.show_json(done)
    else:
        for each in done:
            if each.plain is not None:
                import_shown.show_faults(each.plain)
        import_shown.show_many(done)
    if bad := sum(each.plain is None or not each.plain["whole"] for each in done):
        raise Damaged(
            f"of {bad:,} of {len(done):,} accounts not all mail is here",
            hint="above it says which, and why; the same command again goes on",
        )


def secret_of(source: str) -> "Secret":
    """The first line of a file that only its owner may read, or of a descriptor (fd:N). Raises
    BadParameter."""
    from aerogramme.seal import Secret

    if source.startswith("fd:"):
        return asking(False, source).password("the password")
    line = read_file(source, LONGEST, private=True).partition(b"\n")[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter(f"what {source} gives is not UTF-8") from None
    if not text:
        raise typer.BadParameter(f"the first line of {source} is no password")
    return Secret(text)
