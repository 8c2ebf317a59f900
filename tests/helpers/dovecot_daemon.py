"""A Dovecot as providers run it, on free ports of loopback: IMAP and LMTP. Needs root."""

import contextlib
import imaplib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.dovecot import needs
from tests.helpers.ports import free_ports
from tests.helpers.server import ADDRESS, PASSWORD

SECONDS = 120.0  # until it runs, or has ended
OWNER = ("nobody", "nogroup")  # Dovecot refuses to keep root's mail


class Daemon:
    """`mail` is the user's home. `location` is its mail_location, such as mdbox:~/mail.

    users  lines of a passwd-file, of which one is ADDRESS with PASSWORD; their homes are `mail`/domain/name
    """

    def __init__(self, folder: Path, location: str, settings: str = "", users: str = "") -> None:
        self.folder, self.location = folder, location
        self.mail = folder / "mail"
        self.imap_port, self.lmtp_port = free_ports(2)
        self.config = folder / "dovecot.conf"
        # The name of a socket has at most 108 octets: those of a test's own folder may have more.
        run = folder / "run"
        if not run.is_symlink():
            run.symlink_to(tempfile.mkdtemp(prefix="dovecot-"))
        self.run = run.resolve()
        self.run.chmod(0o755)
        if not self.mail.exists():
            self.mail.mkdir(parents=True)
        for path in (self.mail, *self.mail.rglob("*")):
            shutil.chown(path, *OWNER)
        (folder / "users").write_text(users or f"{ADDRESS}:{hashed('SHA512-CRYPT', PASSWORD)}::::::\n")
        home = f"{self.mail}/%d/%n" if users else str(self.mail)
        userdb = (
            f"driver = passwd-file\n  args = {folder}/users\n  default_fields ="
            if users
            else "driver = static\n  args ="
        )
        self.config.write_text(
            f"""
instance_name = {folder.name}
base_dir = {self.run}
state_dir = {self.run}
log_path = {folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_uid = {OWNER[0]}
mail_gid = {OWNER[1]}
first_valid_uid = 1
first_valid_gid = 1
mail_home = {home}
mail_location = {location}
default_internal_user = {OWNER[0]}
default_login_user = {OWNER[0]}
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  {userdb} uid={OWNER[0]} gid={OWNER[1]} home={home}
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp_port}
  }}
}}
{settings}
"""
        )

    def start(self) -> None:
        """Returns once it answers."""
        subprocess.run(["dovecot", "-c", str(self.config)], check=True)
        until = time.monotonic() + SECONDS
        while True:
            try:
                self.imap().logout()
            except OSError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        """Returns once it has ended, and written all its files."""
        master = int((self.run / "master.pid").read_text())
        subprocess.run(["doveadm", "-c", str(self.config), "stop"], check=True)
        until = time.monotonic() + SECONDS
        while Path(f"/proc/{master}").exists():
            assert time.monotonic() < until, "Dovecot does not end"
            time.sleep(0.01)

    def imap(self, address: str = ADDRESS, password: str = PASSWORD) -> imaplib.IMAP4:
        """A session, logged in."""
        client = imaplib.IMAP4("127.0.0.1", self.imap_port)
        client.login(address, password)
        return client

    def doveadm(self, *words: str) -> str:
        """What a doveadm command says of the user's mail."""
        command = ["doveadm", "-c", str(self.config), *words, "-u", ADDRESS]
        done = subprocess.run(command, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def hashed(scheme: str, password: str) -> str:
    """A password as Dovecot keeps it, with the name of the scheme."""
    rounds = ["-r", "5000"] if scheme == "SHA512-CRYPT" else []
    command = [needs("doveadm"), "pw", "-s", scheme, *rounds, "-p", password]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode().strip()


@contextlib.contextmanager
def running(folder: Path, location: str, settings: str = "", users: str = "") -> Iterator[Daemon]:
    """A Dovecot that is stopped at the end; skips the test that asks where there can be none.

    All must be able to enter the folder that `folder` is in.
    """
    for program in "dovecot", "doveadm":
        needs(program)
    if os.geteuid() != 0:
        pytest.skip("Dovecot's daemons start as root only")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    daemon = Daemon(folder, location, settings, users)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(daemon.run)
