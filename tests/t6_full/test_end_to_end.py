"""docs/end-to-end.md, run as it is written: three machines with a home each, a store that all of them reach,
and a search for every secret in what the server has.
"""

import contextlib
import imaplib
import os
import re
import shutil
import smtplib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import trio

from aerogramme.config import Config
from aerogramme.mailbox.keys import keys
from aerogramme.seal import Secret
from aerogramme.users.static import StaticDirectory
from aerogramme_cli import common
from tests.helpers.garage import garage
from tests.helpers.memory import found_in
from tests.helpers.ports import free_ports
from tests.helpers.seaweed import seaweed
from tests.helpers.server import ADDRESS, PROGRAM, aerogramme, create_account
from tests.helpers.terminal import on_a_terminal
from tests.t6_full.conftest import Environment

GUIDE = (Path(__file__).parents[2] / "docs" / "end-to-end.md").read_text(encoding="utf-8")
STORE = "garage:https://s3.example.org/mail?k2v=https://k2v.example.org"
PASSPHRASE = "eleven blue herons over the weir"
QUESTION = re.compile("(New password|Once more|Password|Enter host password for user '.*'):$")


class Machine:
    """A home, an environment and nothing else."""

    def __init__(self, name: str, folder: Path, store: str, credentials: Mapping[str, str]) -> None:
        self.name, self.home, self._store = name, folder / name, store
        self.imap, self.lmtp = free_ports(2)
        self.password = PASSPHRASE
        self._serving: subprocess.Popen[bytes] | None = None
        self._serves = ""
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{Path(PROGRAM).parent}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        (self.home / ".aws").mkdir(mode=0o700, parents=True)
        lines = [f"{name.lower()} = {value}" for name, value in credentials.items()]
        (self.home / ".aws" / "credentials").write_text("\n".join(["[default]", *lines, ""]))

    def here(self, text: str) -> str:
        """The text with the addresses and folders that this machine really has."""
        for written, real in (
            (STORE, self._store),
            ("/etc/aerogramme", f"{self.home}/etc"),
            ("/var/lib/aerogramme", f"{self.home}/var"),
            ("127.0.0.1:1143", f"127.0.0.1:{self.imap}"),
            ("127.0.0.1:1024", f"127.0.0.1:{self.lmtp}"),
        ):
            text = text.replace(written, real)
        return text

    def run(self, command: str, shown: list[str]) -> str:
        """Runs a command with the answers to the questions that are shown; what is shown besides must come,
        in that order. Gives what was on the screen."""
        if command.startswith("aerogramme serve"):
            return self.serve(command)
        # Until the blank after the colon is there, what is typed is thrown away; curl has none.
        blank = "" if command.startswith("curl") else " "
        typed = [((line + blank).encode(), self.password.encode()) for line in shown if QUESTION.match(line)]
        code, screen = on_a_terminal(["bash", "-c", self.here(command)], typed, self.environment)
        text = screen.decode().replace("\r\n", "\n")
        assert code == 0, f"{self.name}$ {command}: {code}\n{text}"
        at = 0
        for line in (self.here(line) for line in shown if not QUESTION.match(line)):
            found = re.compile(re.escape(line).replace("…", ".*")).search(text, at)
            assert found, f"{self.name}$ {command}: there is no line {line!r} in\n{text}"
            at = found.end()
        return text

    def serve(self, command: str) -> str:
        """Runs until the end of the test or `off`. Gives the first line."""
        assert self._serving is None
        self._serves = command
        with self.log.open("ab") as log:
            self._serving = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(command)}"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
            )
        assert self._serving.stdout is not None
        line = self._serving.stdout.readline().decode()
        assert line, self.log.read_text()
        return line

    @property
    def log(self) -> Path:
        return self.home / "serve.log"

    @property
    def pid(self) -> int:
        assert self._serving is not None and self._serving.poll() is None, self.log.read_text()
        return self._serving.pid

    def off(self) -> None:
        if self._serving is not None:
            assert self._serving.stdout is not None
            self._serving.kill()
            self._serving.stdout.close()
            self._serving.wait(120)
            self._serving = None

    def on(self) -> None:
        self.serve(self._serves)

    @contextlib.contextmanager
    def mailbox(self) -> Iterator[imaplib.IMAP4]:
        client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=120)
        try:
            client.login(ADDRESS, self.password)
            yield client
        finally:
            client.shutdown()

    def subjects(self) -> list[str]:
        with self.mailbox() as client:
            client.select("INBOX", readonly=True)
            _, answer = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            return [part[1].decode().strip() for part in answer if isinstance(part, tuple)]


class Walk:
    """The guide on three machines."""

    def __init__(self, folder: Path, store: str, key: Callable[[], Mapping[str, str]]) -> None:
        self.machines = {name: Machine(name, folder, store, key()) for name in ("mail", "desk", "laptop")}
        self.mail, self.desk, self.laptop = self.machines.values()
        self.recovery_code = self.app_password = self.fingerprint = ""
        self.commands = 0

    def section(self, number: int) -> None:
        """Does what a section says."""
        text = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[number]
        assert text.startswith(f"{number}. ")
        if number == 4:
            (config,) = re.findall("^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            (self.mail.home / "etc").mkdir()
            (self.mail.home / "etc" / "aerogramme.toml").write_text(self.mail.here(config))
        for block in re.findall("^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for step in re.split(r"^(?=\w+\$ )", block, flags=re.MULTILINE)[1:]:
                first, *shown = step.splitlines()
                name, command = first.split("$ ", 1)
                self._step(self.machines[name], command, [line.rstrip() for line in shown])

    def _step(self, machine: Machine, command: str, shown: list[str]) -> None:
        self.commands += 1
        if copied := re.fullmatch(r"scp ~/(\S+) (\w+)\.example\.org:(\S+)", command):
            shutil.copy(machine.home / copied[1], self.machines[copied[2]].home / copied[3])
            return
        named = [line.replace("FINGERPRINT", self.fingerprint) for line in (command, *shown)]
        screen = machine.run(named[0], named[1:])
        if command.startswith("aerogramme account enroll alice"):
            self.recovery_code = re.findall(r"^[0-9A-Z]{5}(?:-[0-9A-Z]+)+$", screen, re.MULTILINE)[0]
        if "app-password create" in command:
            self.app_password = self.laptop.password = screen.strip().splitlines()[-1]
        if "key list" in command:
            self.fingerprint = re.findall("[0-9a-f]{32}", screen)[-1]

    def send(self, subject: str) -> None:
        """As the MTA does."""
        with smtplib.LMTP("127.0.0.1", self.mail.lmtp, timeout=120) as lmtp:
            assert lmtp.sendmail("bob@example.net", [ADDRESS], f"Subject: {subject}\r\n\r\nhi\r\n") == {}

    def secrets(self) -> dict[str, bytes]:
        """All that opens something, as it would be in memory or in a file."""
        config = Config.load(self.desk.home / "mail" / "aerogramme.toml")
        user = StaticDirectory(config.users_file).by_login(ADDRESS)
        assert user is not None

        async def unlock() -> keys.Unlocked:
            async with common.open_store(config, user) as store:
                return await keys.unlock(store, user.account, Secret(PASSPHRASE))

        unlocked = trio.run(unlock)
        found = {
            "password": PASSPHRASE.encode(),
            "recovery code": self.recovery_code.encode(),
            "app password": self.app_password.encode(),
            "slot": unlocked.slot.key.seed,
        }
        for each in unlocked.keyring.generations:
            found[f"generation {unlocked.keyring.ordinal(each.number)}"] = each.secret
        assert all(len(secret) >= 16 for secret in found.values())
        return found


def walk_through(folder: Path, store: str, key: Callable[[], Mapping[str, str]], last: int) -> None:
    """The guide up to this section, and what it says of the server. `key` makes one for the store."""
    walk = Walk(folder, store, key)
    try:
        for section in range(3, last + 1):
            walk.section(section)
        assert walk.commands >= 12

        secrets = walk.secrets()
        walk.send("under way")
        with walk.desk.mailbox() as client:
            client.select("INBOX")
            assert found_in(walk.desk.pid, secrets) >= {"slot", "generation 1"}, "the search finds nothing"
        assert found_in(os.getpid(), secrets) == secrets.keys()
        assert found_in(walk.mail.pid, secrets) == set()
        files = [file for file in walk.mail.home.rglob("*") if file.is_file()]
        assert {"users.toml", "serve.log", "alice.toml"} <= {file.name for file in files}
        for file in files:
            held = {what for what, secret in secrets.items() if secret in file.read_bytes()}
            assert held == set(), file
        assert not (walk.mail.home / "var" / "scram.key").exists()

        walk.desk.off()
        walk.laptop.off()
        walk.send("while all was off")
        walk.desk.on()
        subjects = walk.desk.subjects()
        assert subjects == ["Subject: hello", "Subject: under way", "Subject: while all was off"]
        walk.laptop.on()
        assert walk.laptop.subjects() == subjects
    finally:
        for machine in walk.machines.values():
            machine.off()


@pytest.fixture
def curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")


@pytest.mark.clients
@pytest.mark.usefixtures("curl")
def test_the_guide_on_an_s3(tmp_path: Path, environment: Environment) -> None:
    """Up to the second device: new keys take minutes in a distant store."""
    with seaweed() as server:
        environment(server.environment)
        walk_through(tmp_path, server.store(), lambda: server.environment, 6)


@pytest.mark.clients
@pytest.mark.garage
@pytest.mark.usefixtures("curl")
def test_the_whole_guide_on_garage(tmp_path: Path, environment: Environment) -> None:
    with garage() as cluster:
        environment(cluster.environment)
        walk_through(tmp_path, cluster.store(), partial(cluster.key, read=True, write=True), 7)


@pytest.mark.garage
def test_what_the_key_of_the_server_must_be_allowed(tmp_path: Path, environment: Environment) -> None:
    with garage() as cluster:
        environment(cluster.key(read=True, write=True))
        create_account(tmp_path, store=cluster.store())
        for read, write in ((True, False), (False, True), (True, True)):
            environment(cluster.key(read=read, write=write))
            where = ("--data", str(tmp_path), "--store", cluster.store())
            done = aerogramme("deliver", ADDRESS, *where, stdin="Subject: x\n\nhi\n", check=False)
            assert done.returncode == (0 if read and write else 75), done.stderr
