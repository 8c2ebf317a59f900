"""SIGKILL at random moments under deliveries, APPENDs, STOREs and MOVEs: what was acknowledged is there."""

import imaplib
import random
import signal
import smtplib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.busy import Ledger, Sender, Writer
from tests.helpers.server import ADDRESS, Server, create_account, serving

ROUNDS = 50


class Fatal(Ledger):
    """At a certain acknowledgement the server is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.server: Server
        self.left = 0  # how many acknowledgements until then

    def note(self, worker: str, what: set[str], token: str) -> None:
        super().note(worker, what, token)
        with self._changed:
            self.left -= 1
            if self.left == 0:
                self.server.kill()


def until_death(worker: Sender | Writer, server: Server) -> None:
    """Runs until the server is gone: what this round is about. Any other error fails the test."""
    try:
        worker.run(server, lambda: True)
    except (OSError, EOFError, imaplib.IMAP4.abort, smtplib.SMTPServerDisconnected):
        assert server.process.wait(120) == -signal.SIGKILL
    except BaseException:
        server.kill()  # so that the others end too
        raise


@pytest.mark.parametrize("seed", [1])
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = tmp_path / "data"
    create_account(data)
    ledger = Fatal()
    workers = [Sender("one", ledger), Sender("other", ledger), Writer("client", ledger)]
    for round_ in range(ROUNDS):
        server = ledger.server = Server(data)
        ledger.left = rng.randrange(1, 120)
        with ThreadPoolExecutor(len(workers)) as pool:
            for ended in [pool.submit(until_death, worker, server) for worker in workers]:
                ended.result()
        if round_ % 10 == 9:
            with serving(data) as server:
                ledger.check(server)
                assert server.stop() == 0
            assert audit_data(data, ADDRESS) == []
    assert not ledger.away and not ledger.renumbered
