"""A real server in a process of its own, for the tests that do what users do."""

import contextlib
import imaplib
import os
import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ADDRESS = "alice@example.org"
PROGRAM = str(Path(sys.executable).with_name("aerogramme"))
GLANCE = 0.001  # seconds from one look at a process to the next: it needs the time more than who looks
PASSWORD = "a long enough passphrase"  # of a test account, known to everybody


def aerogramme(*args: str, stdin: str | bytes = "", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Runs the command line; its whole output as bytes."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([PROGRAM, *args], input=data, capture_output=True, timeout=120)
    if check and done.returncode:
        raise AssertionError(f"aerogramme {' '.join(args)}: {done.returncode}\n{done.stderr.decode()}")
    return done


def create_account(
    data: Path, address: str = ADDRESS, password: str = PASSWORD, *, store: str | None = None
) -> None:
    where = ["--data", str(data), *(["--store", store] if store else [])]
    aerogramme("account", "create", address, *where, "--password-stdin", stdin=password + "\n")


class Server:
    """`aerogramme serve` on free ports. Its log is the file `log`.

    Servers of one data folder have different names, and each a cache of its own, as if they were far apart.
    With a `certificate`, whose key is in the file `.key` beside it, STARTTLS and a port for TLS are there.
    """

    def __init__(
        self,
        data: Path,
        *,
        store: str | None = None,
        name: str = "server",
        log_level: str = "info",
        certificate: Path | None = None,
    ) -> None:
        self.data, self.log = data, data.parent / f"{data.name}-{name}.log"
        config = data.parent / f"{data.name}-{name}.toml"
        config.write_text(
            f'data = "{data}"\nlog_level = "{log_level}"\n'
            + (f'[store]\nurl = "{store}"\ncache = "{data}/cache-{name}"\n' if store else "")
            + '[imap]\nlisten = ["127.0.0.1:0"]\n'
            + ('tls_listen = ["127.0.0.1:0"]\n' if certificate else "")
            + '[lmtp]\nlisten = ["127.0.0.1:0"]\n'
            + (
                f'[tls]\ncertificate = "{certificate}"\nkey = "{certificate.with_suffix(".key")}"\n'
                if certificate
                else ""
            )
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--config", str(config)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        assert self.process.stdout is not None
        ports: dict[str, int] = {}
        while len(ports) < (3 if certificate else 2):
            line = self.process.stdout.readline().decode()
            if not line:
                raise AssertionError(f"the server ended: {self.log.read_text()}")
            if found := re.match(r"(IMAPS?|LMTP) on 127\.0\.0\.1:(\d+)", line):
                ports[found[1]] = int(found[2])
        self.imap_port, self.lmtp_port = ports["IMAP"], ports["LMTP"]
        self.tls_port = ports.get("IMAPS", 0)

    def imap(self, address: str = ADDRESS, password: str = PASSWORD) -> imaplib.IMAP4:
        """A connection that is logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=120)
        try:
            client.login(address, password)
        except BaseException:
            client.shutdown()
            raise
        return client

    def lmtp(self) -> smtplib.LMTP:
        return smtplib.LMTP("127.0.0.1", self.lmtp_port, timeout=120)

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self._ended()

    def _ended(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(120)


@contextlib.contextmanager
def serving(
    data: Path,
    *,
    store: str | None = None,
    name: str = "server",
    log_level: str = "info",
    certificate: Path | None = None,
) -> Iterator[Server]:
    server = Server(data, store=store, name=name, log_level=log_level, certificate=certificate)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def wait_until_it_has_open(pid: int, file: Path) -> None:
    give_up = time.monotonic() + 120
    opened: set[str] = set()
    while str(file) not in opened:
        assert time.monotonic() < give_up, "it never came so far"
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed just now
                opened.add(os.readlink(fd))
        time.sleep(GLANCE)
