"""Three Garage nodes, two servers, mail and clients at both, while nodes and a server are killed.

What is promised: reads and writes need two nodes of three. What was acknowledged is there at the end, once,
at both servers. Clients hear at most NO [UNAVAILABLE], senders 451, and go on: nothing is restarted but what
was killed. A server knows one node by its address; while that one is dead it can do nothing.
"""

import imaplib
import signal
import smtplib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.audit import audit_data
from tests.helpers.busy import Ledger, Sender, Writer
from tests.helpers.garage import Garage, garage
from tests.helpers.server import ADDRESS, Server, create_account
from tests.t6_full.conftest import Environment

BUSY = 10  # acknowledgements to each sender and client between two deaths


class Site:
    """A server, restarted when it was killed, and those who work with it until it is told to end."""

    def __init__(self, data: Path, store: str, name: str, ledger: Ledger) -> None:
        self.workers = [Sender(f"mta-{name}", ledger), Writer(f"client-{name}", ledger)]
        self.names = [worker.name for worker in self.workers]
        self.server = Server(data, store=store, name=name)
        self._start = lambda: Server(data, store=store, name=name)
        self._ledger = ledger
        self._ending = False
        self._again = threading.Condition()

    def kill(self) -> None:
        self.server.kill()

    def restart(self) -> None:
        server = self._start()
        with self._again:
            self.server = server
            self._again.notify_all()

    def end(self) -> None:
        """Those who work finish what they do."""
        with self._again:
            self._ending = True
            self._again.notify_all()

    def work(self, worker: Sender | Writer) -> None:
        try:
            while not self._ending:
                server = self.server
                try:
                    worker.run(server, lambda: not self._ending)
                except (OSError, EOFError, imaplib.IMAP4.abort, smtplib.SMTPServerDisconnected):
                    assert server.process.wait(120) == -signal.SIGKILL
                    with self._again:
                        self._again.wait_for(lambda s=server: self._ending or self.server is not s)
        except BaseException:
            self._ledger.fail()
            raise


@contextmanager
def at_work(sites: list[Site]) -> Iterator[None]:
    with ThreadPoolExecutor(sum(len(site.workers) for site in sites)) as pool:
        running: list[Future[None]] = []
        for site in sites:
            running += [pool.submit(site.work, worker) for worker in site.workers]
        try:
            yield
        finally:
            for site in sites:
                site.end()
            for each in running:
                each.result()  # whose error is the cause of what the block may have raised


@pytest.mark.garage
def test_nothing_acknowledged_is_lost(tmp_path: Path, environment: Environment) -> None:
    with garage(3) as cluster:
        environment(cluster.environment)
        data, ledger = tmp_path / "data", Ledger()
        create_account(data, store=cluster.store(node=2))
        one, other = (Site(data, cluster.store(node=n), f"{n}", ledger) for n in range(2))
        try:
            with at_work([one, other]):
                ledger.wait(ledger.done, *one.names, *other.names, more=BUSY)
                with killed(cluster, 2):  # no server's own
                    ledger.wait(ledger.done, *one.names, *other.names, more=BUSY)
                ledger.wait(ledger.done, *one.names, *other.names, more=BUSY)
                with reading(one.server) as client:
                    with killed(cluster, 0):
                        ledger.wait(ledger.done, *other.names, more=BUSY)
                        assert client.noop()[0] == "OK"  # what is in memory can be read
                        assert client.fetch("1:*", "(FLAGS ENVELOPE)")[0] == "OK"
                        kind, (why, *_) = client.select("INBOX")
                        assert kind == "NO" and why.startswith(b"[UNAVAILABLE]"), why
                        if not ledger.away["mta-0"]:
                            ledger.wait(ledger.away, "mta-0")
                    assert client.select("INBOX")[0] == "OK"
                ledger.wait(ledger.done, *one.names, *other.names, more=BUSY)
                other.kill()
                ledger.wait(ledger.done, *one.names, more=BUSY)
                other.restart()
                ledger.wait(ledger.done, *one.names, *other.names, more=BUSY)
            assert not any(ledger.away[name] for name in other.names)
            assert ledger.check(one.server) == ledger.check(other.server)
            assert one.server.stop() == 0
            assert other.server.stop() == 0
        finally:
            for site in (one, other):
                if site.server.process.poll() is None:
                    site.kill()
        assert audit_data(data, ADDRESS, store=cluster.store(node=2)) == []


@contextmanager
def reading(server: Server) -> Iterator[imaplib.IMAP4]:
    """A client that has opened INBOX."""
    client = server.imap()
    try:
        assert client.select("INBOX")[0] == "OK"
        yield client
    finally:
        client.shutdown()


@contextmanager
def killed(cluster: Garage, n: int) -> Iterator[None]:
    """A node is dead for the time of the block, and afterwards one of three again."""
    cluster.nodes[n].kill()
    yield
    cluster.revive(cluster.nodes[n])
