"""`aerogramme log show`: what happened to an account, entry by entry."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import Annotated, Any

import typer

from aerogramme.errors import NoSuchMailbox
from aerogramme_cli import common, times
from aerogramme_cli.common import Login
from aerogramme_cli.options import LocalOption, Opening, grouped

MAX_UID = (1 << 32) - 1  # RFC 3501 §9 nz-number; message ids are longer


class Kind(StrEnum):
    """What an operation of an entry is; or `damaged`, an entry that cannot be read."""

    ADD = "add"
    REMOVE = "remove"
    FLAGS = "flags"
    CLAIM = "claim"
    TOUCH = "touch"
    MAILBOX = "mailbox"
    SUBSCRIBE = "subscribe"
    AGAIN = "again"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries, and which of their operations, are shown. Times are unix seconds; None is no bound."""

    since: float | None = None
    until: float | None = None
    mailbox: str | None = None
    uid: int | None = None  # of `mailbox`
    message: int | None = None  # the id
    kinds: frozenset[Kind] = frozenset()
    replica: str = ""

    @property
    def operations(self) -> bool:
        """Whether operations are chosen, and not only entries."""
        return bool(self.mailbox is not None or self.message is not None or self.kinds)


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry that is shown, as JSON has it. `before`: mailbox id -> name before this entry, of those that
    it gives one; `beside`: adds and removes of the entry that were not chosen, which say that a chosen one is
    half of a move."""

    entry: dict[str, Any]
    before: Mapping[str, str]
    beside: Sequence[Mapping[str, Any]] = ()


@grouped
def show(
    asked: Opening,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"What happened since then, such as {times.FORMS}.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="What happened up to then.")] = None,
    mailbox: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What happened to a mailbox that has this name, or had it at the time."
        ),
    ] = None,
    message: Annotated[
        str | None,
        typer.Option(metavar="UID|ID", help="What happened to a message: a UID of --mailbox, or an id."),
    ] = None,
    kind: Annotated[
        list[Kind] | None, typer.Option(help="What kind of operations; may be repeated.", show_default=False)
    ] = None,
    replica: Annotated[
        str | None, typer.Option(metavar="HEX", help="Who wrote it; the first digits are enough.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    local: LocalOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one line an entry; times in UTC.")
    ] = False,
) -> None:
    """Show the decrypted entries of the log: when, by whom, what. Asks for the password.

    It changes nothing. UIDs of messages that are gone for long are not known any more.

    \b
    Examples:
      aerogramme log show alice@example.org --data ./mail --since yesterday
      aerogramme log show alice@example.org --data ./mail --since 2h --mailbox INBOX --kind remove
      aerogramme log show alice@example.org --data ./mail --mailbox INBOX --message 17 --local
      aerogramme log show alice@example.org --data ./mail --since now --follow
      aerogramme log show alice@example.org --data ./mail --json | jq 'select(.operations[].op == "remove")'
    """
    zone = None if local else UTC
    now = time.time()
    uid, message_id = _message(message, mailbox)
    wanted = Wanted(
        *times.parse_between(since, until, now, zone),
        mailbox,
        uid,
        message_id,
        frozenset(kind or ()),
        _replica(replica),
    )
    if follow and wanted.until is not None:
        raise typer.BadParameter("--follow goes on for ever: it has no --until")
    login = asked.login()

    def told(shown: Shown) -> None:
        for line in [json.dumps(shown.entry, ensure_ascii=False)] if as_json else _lines(shown, local):
            typer.echo(line)

    interrupted = False
    try:
        count = common.run(_show, login, wanted, follow, told)
    except* KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise typer.Exit(0 if follow else 1)
    if not count:
        typer.echo("nothing of that is in the log", err=True)


def _message(text: str | None, mailbox: str | None) -> tuple[int | None, int | None]:
    """The UID or the id that is asked for."""
    if text is None:
        return None, None
    if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and 0 < int(text) <= MAX_UID:
        if mailbox is None:
            raise typer.BadParameter("a UID is one of a mailbox: add --mailbox")
        return int(text), None
    if not re.fullmatch(r"(0x)?[0-9a-f]{1,16}", text, re.ASCII | re.IGNORECASE):
        raise typer.BadParameter(f"{text!r} is no UID, and no id of a message: that has up to 16 hex digits")
    return None, int(text, 16)


def _replica(text: str | None) -> str:
    if text is None:
        return ""
    if not re.fullmatch(r"[0-9a-f]{1,10}", text, re.ASCII | re.IGNORECASE):
        raise typer.BadParameter(f"{text!r} is not the beginning of a replica: that has up to 10 hex digits")
    return text.lower()


def _lines(shown: Shown, local: bool) -> Iterator[str]:
    """`2026-11-29 08:12:30 server a1b2c3: 3 messages added to INBOX`, one for each thing that was done."""
    from datetime import datetime

    from aerogramme_cli.log_words import SHORT, words

    entry = shown.entry
    if entry["time"] is None:
        yield f"entry {entry['key']}: {entry['damaged']}"
        return
    at = times.shown(datetime.fromisoformat(entry["time"]).timestamp(), None if local else UTC)
    if "damaged" in entry:
        said: Iterator[str] = iter([f"entry {entry['seq']} cannot be read: {entry['damaged']}"])
    else:
        said = words(entry["operations"], shown.before, shown.beside)
    for each in said:
        yield f"{at} server {entry['replica'][:SHORT]}: {each}"


# --- work


async def _show(login: Login, wanted: Wanted, follow: bool, told: Callable[[Shown], None]) -> int:
    """How many were shown. Raises NoSuchMailbox."""
    from aerogramme.log.clock import COUNTER_BITS, MAX_CLOCK
    from aerogramme.log.journal import Journal
    from aerogramme.log.reading import entries, following, names_at
    from aerogramme.mailbox.keys.holding import Holding
    from aerogramme.mailbox.keys.keys import StoredKeys
    from aerogramme_cli.log_choosing import Choosing

    settings, user, secret = login
    async with common.open_keys(settings, user) as store:
        unlocked = await common.unlocked(await StoredKeys.read(store), user, secret)
        holding = Holding(store, user.account, unlocked)
        keyring = holding.keyring
        # Read, and never settled: what is looked at is not to be written to.
        journal = await Journal.open(store, keyring, bytes.fromhex(user.account), renew=holding.renew)
        state = journal.state
        now = {mailbox: state.attribute(mailbox, "name") for mailbox in state.attributes}
        now |= {mailbox: name for name, mailbox in state.names.items()}
        first = 0 if wanted.since is None else max(0, int(wanted.since * 1000)) << COUNTER_BITS
        last = MAX_CLOCK
        if wanted.until is not None:
            last = (max(0, int(wanted.until * 1000)) + 1 << COUNTER_BITS) - 1
        names, after = await names_at(journal.records, min(first, MAX_CLOCK), now)
        reading = (following if follow else entries)(journal.records, after=after)
        choosing = Choosing(wanted, first, last, names, state)
        count = 0
        async with aclosing(choosing.shown(reading)) as found:
            async for each in found:
                count += 1
                told(each)
        if not count and wanted.mailbox is not None and not choosing.known:
            raise NoSuchMailbox(
                f"no mailbox has the name {wanted.mailbox}, or had it in that time",
                hint="`aerogramme account show` lists the mailboxes",
            )
        return count
