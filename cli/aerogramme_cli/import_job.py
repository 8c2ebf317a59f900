"""One account's import, in this process: what `import` runs, or its worker processes do."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aerogramme.config import Config
from aerogramme.heap import one_heap
from aerogramme_cli import common
from aerogramme_cli.options import Where

if TYPE_CHECKING:
    from aerogramme.migrate.moving import Outcome, Told
    from aerogramme.migrate.origin import Origin
    from aerogramme.migrate.passing import Options
    from aerogramme.seal import Secret

PERIOD = 0.2  # seconds between two words on how far an import has come

Far = dict[str, Any]
"""How far an import has come, for a bar: `part` of 1, and `words`."""

Shown = Callable[[str, Far | None], None]
"""Takes an address, and how far its import has come; None: it has ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """An account, and where its mail comes from. `secret`: its password; None to send parcels."""

    address: str
    origin: "Origin"
    secret: "Secret | None"
    options: "Options"
    verifying: bool

    def to_json(self, where: Where) -> str:
        """A line for a worker, with passwords in it."""
        from aerogramme.seal.secrets import KeySecret

        return json.dumps(
            {
                "where": [
                    None if part is None else str(part) for part in (where.config, where.data, where.store)
                ],
                "address": self.address,
                "origin": self.origin.to_json(),
                "secret": None if self.secret is None else self.secret.reveal().hex(),
                "by_key": isinstance(self.secret, KeySecret),
                "options": asdict(self.options),
                "verifying": self.verifying,
            }
        )

    @classmethod
    def from_json(cls, line: str) -> "tuple[Job, Where]":
        from aerogramme.migrate.origin import Origin
        from aerogramme.migrate.passing import Options
        from aerogramme.seal.secrets import KeySecret, Secret

        said = json.loads(line)
        config, data, store = said["where"]
        where = Where(config=config and Path(config), data=data and Path(data), store=store)
        options = Options(**said["options"] | {"only": tuple(said["options"]["only"])})
        kind = KeySecret if said["by_key"] else Secret
        secret = None if said["secret"] is None else kind(bytes.fromhex(said["secret"]))
        return cls(
            said["address"], Origin.from_json(said["origin"]), secret, options, said["verifying"]
        ), where


def run(settings: Config, job: Job, told: Callable[[Far], None], workers: int = 0) -> "Outcome":
    """Moves the mail of one account; so many other processes may have a share of the work. `told` is given
    how far it has come, a few times a second. Raises whatever cannot be a fault of a mailbox or message."""
    last = 0.0

    def tell(outcome: "Outcome") -> None:
        nonlocal last
        if (now := time.monotonic()) - last > PERIOD:
            last = now
            told(_far(outcome))

    one_heap()
    return common.run(_run, settings, job, tell, workers)


async def _run(settings: Config, job: Job, told: "Told", workers: int) -> "Outcome":
    from aerogramme.mailbox.contents import MAX_MESSAGE
    from aerogramme.migrate import moving
    from aerogramme.migrate.moving import Outcome
    from aerogramme.migrate.report import Report

    user = common.user_of(settings, job.address)
    outcome = Outcome(Report(user.address))
    limit = max(settings.max_message_size, MAX_MESSAGE)
    options = replace(job.options, origin=job.origin.name)
    with moving.one_at_a_time(settings.data, user.account) as remembered:
        async with moving.closed_after(job.origin.open()) as source:
            move = moving.Move(source, remembered, options, outcome, told, limit)
            if job.secret is None:
                async with common.open_keys(settings, user) as store:
                    await move.into_parcels(store, user.account, user.pins)
            else:
                async with common.open_account(settings, user, job.secret) as account:
                    await move.into_account(account, verifying=job.verifying, workers=workers)
    return outcome


def _far(outcome: "Outcome") -> Far:
    from aerogramme.units import shown_size

    report, compared = outcome.report, outcome.compared
    mailboxes = report.mailboxes if compared is None else compared.mailboxes
    folders = report.folders if compared is None else compared.folders
    part = sum(each.done / each.messages if each.messages else 1.0 for each in mailboxes)
    part /= max(folders, len(mailboxes), 1)
    words = f"{report.total('landed'):,} messages, {shown_size(report.total('octets'))}"
    return {"part": part, "words": words if compared is None else f"comparing; {words}"}
