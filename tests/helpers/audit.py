"""The audit of an account as it lies in its store, with the password."""

from pathlib import Path

import trio

from aerogramme.config import Config
from aerogramme.mailbox.audit.account import audit
from aerogramme.seal import Secret
from aerogramme_cli import common
from tests.helpers.server import PASSWORD


def audit_data(data: Path, address: str, password: str = PASSWORD, *, store: str | None = None) -> list[str]:
    """Every invariant that does not hold, in words; [] is sound."""

    async def run() -> list[str]:
        config = Config.for_data(data, store=store)
        async with common.open_account(config, common.user_of(config, address), Secret(password)) as account:
            await account.drain.all_waiting()
            return list(await audit(account))

    return trio.run(run)
