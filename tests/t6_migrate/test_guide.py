"""docs/migrate-from-dovecot.md, run as it is written: from a Dovecot with all its formats, and back."""

import contextlib
import imaplib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.certificates import certificate
from tests.helpers.dovecot import needs
from tests.helpers.dovecot_daemon import OWNER, Daemon, hashed, running
from tests.helpers.ports import free_ports
from tests.helpers.postfix import Postfix
from tests.helpers.server import ADDRESS, PASSWORD, PROGRAM
from tests.t6_migrate.test_moving import everything

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "migrate-from-dovecot.md").read_text(encoding="utf-8")
USERS = {  # how Dovecot keeps their mail and their passwords; Dora's is nothing that is known here
    ADDRESS: ("maildir:~/Maildir", "SHA512-CRYPT"),
    "bob@example.org": ("sdbox:~/sdbox", "BLF-CRYPT"),
    "carol@example.org": ("mdbox:~/mdbox", "SSHA256"),
    "dora@example.org": ("", "CRAM-MD5"),
}
BOX = "Projekte/&AOQ-lter"  # a name of modified UTF-7 (RFC 3501 §5.1.3)


def passwd_file(locations: bool) -> str:
    lines = []
    for address, (location, scheme) in USERS.items():
        said = f"userdb_mail={location}" if location and locations else ""
        lines.append(f"{address}:{hashed(scheme, PASSWORD)}::::::{said} userdb_quota_rule=*:storage=1G\n")
    return "".join(lines)


class Walk:
    """The machine of the guide."""

    def __init__(self, folder: Path, dovecot: Daemon) -> None:
        self.folder, self.dovecot = folder, dovecot
        self.lmtp_port, tls_port = free_ports(2)
        self.programs, self.scripts = folder / "programs", folder / "scripts"
        self.programs.mkdir()
        self.postfix = Postfix.install(
            folder / "postfix", self.programs, f"lmtp:inet:127.0.0.1:{dovecot.lmtp_port}"
        )
        shutil.copytree(DOCS / "moving", self.scripts)
        for name in "etc", "data", "back":
            (folder / name).mkdir()
        certificate(folder)
        shutil.chown(folder / "back", *OWNER)
        self._names = {
            "runuser -u vmail -- /opt/aerogramme/bin/aerogramme": PROGRAM,
            "/etc/aerogramme": f"{folder}/etc",
            "/var/lib/aerogramme": f"{folder}/data",
            "/etc/dovecot/users": f"{dovecot.folder}/users",
            "/etc/postfix/virtual": f"{folder}/virtual",
            "/root/moving": f"{folder}/work",
            "lmtp:unix:private/dovecot-lmtp": f"lmtp:inet:127.0.0.1:{dovecot.lmtp_port}",
            "127.0.0.1:1024": f"127.0.0.1:{self.lmtp_port}",
            "*:143": f"127.0.0.1:{dovecot.imap_port}",
            "*:993": f"127.0.0.1:{tls_port}",
            "/etc/ssl/mail/fullchain.pem": f"{folder}/cert.pem",
            "/etc/ssl/mail/privkey.pem": f"{folder}/cert.key",
            "/var/vmail-back": f"{folder}/back",
            "OWNER=vmail": f"OWNER={OWNER[0]}",
        }
        (folder / "virtual").write_text(
            f"al@example.org {ADDRESS}\nteam@example.org {ADDRESS}, bob@example.org\n"
        )
        [config] = re.findall("^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
        (folder / "etc" / "aerogramme.toml").write_text(self._here(config))
        conf = self.scripts / "moving.conf"
        conf.write_text(self._here(conf.read_text()))
        self._program("doveadm", f'exec {needs("doveadm")} -c {dovecot.config} "$@"')
        self._program("doveconf", f'exec {needs("doveconf")} -c {dovecot.config} "$@"')
        self._program(
            "systemctl",
            f"""
            case "$1 $2" in
                "stop dovecot") pid=$(cat {dovecot.folder}/run/master.pid); doveadm stop ;;
                "start dovecot") exec {needs("dovecot")} -c {dovecot.config} > /dev/null 2>&1 ;;
                "stop aerogramme")
                    [ -e {folder}/pid ] || exit 0
                    pid=$(cat {folder}/pid); kill "$pid"; rm {folder}/pid ;;
                "start aerogramme")
                    {PROGRAM} serve --config {folder}/etc/aerogramme.toml < /dev/null > {folder}/log 2>&1 &
                    echo $! > {folder}/pid; exit ;;
                *) exit 1 ;;
            esac
            exec tail --pid="$pid" -s 0.05 -f /dev/null""",
        )

    def _program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/bash\nset -e\n{script}\n")
        (self.programs / name).chmod(0o755)

    def _here(self, text: str) -> str:
        for written, real in self._names.items():
            text = text.replace(written, real)
        return text

    def steps(self, section: str, part: int | None = None) -> int:
        """Does what a section says, or a block of it. How many commands that was."""
        [text] = [each for each in re.split(r"^##+ ", GUIDE, flags=re.MULTILINE) if each.startswith(section)]
        blocks = re.findall("^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        done = 0
        for block in blocks if part is None else [blocks[part]]:
            for step in re.split(r"^moving# ", block, flags=re.MULTILINE)[1:]:
                command, *shown = step.splitlines()
                self.run(command, shown)
                done += 1
        return done

    def run(self, command: str, shown: list[str], code: int = 0) -> str:
        """Runs a command, of which this must be shown, in this order. All that was."""
        path = f"{self.programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", self._here(command)],
            cwd=self.scripts,
            env={"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        said = done.stdout.decode()
        assert done.returncode == code, f"{command}: {done.returncode}\n{said}"
        at = 0
        for line in map(self._here, shown):
            found = re.compile(re.escape(line).replace("…", ".*")).search(said, at)
            assert found, f"{command}: there is no line {line!r} in\n{said}"
            at = found.end()
        return said

    @contextlib.contextmanager
    def mailbox(self, address: str, password: str = PASSWORD) -> Iterator[imaplib.IMAP4]:
        """A login, of whoever serves now."""
        client = imaplib.IMAP4("127.0.0.1", self.dovecot.imap_port, timeout=120)
        try:
            client.login(address, password)
            yield client
        finally:
            client.shutdown()

    def seen(self, passwords: dict[str, str]) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = {}
        for address, password in passwords.items():
            with self.mailbox(address, password) as client:
                found[address] = dict(everything(client))
        return found

    def subjects(self, address: str) -> list[tuple[int, str]]:
        """UID and subject of all that is in the INBOX."""
        with self.mailbox(address) as client:
            client.select("INBOX", readonly=True)
            _, answer = client.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            parts = [part for part in answer if isinstance(part, tuple)]
            return [(int(re.findall(rb"UID (\d+)", at)[0]), text.strip()[9:].decode()) for at, text in parts]

    def off(self) -> None:
        if (self.folder / "pid").exists():
            subprocess.run(["kill", (self.folder / "pid").read_text().strip()], capture_output=True)
        if not (self.dovecot.folder / "run" / "master.pid").exists():
            self.dovecot.start()  # so that it can be stopped


def live(walk: Walk, n: int) -> None:
    """What happens in a Dovecot between two looks at it."""
    for address in USERS:
        for each in range(2):
            walk.postfix.send(address, f"{n} of {each}")
        with walk.mailbox(address) as client:
            client.create(BOX)
            client.subscribe(BOX)
            client.append(
                BOX, f"(\\Seen kept-{n})", '"01-Feb-2020 03:04:05 +0100"', b"Subject: x\r\n\r\nold\r\n"
            )
            client.select("INBOX")
            uids = client.uid("SEARCH", "ALL")[1][0].split()
            client.uid("STORE", uids[-1].decode(), "+FLAGS", "(\\Flagged)")
            client.uid("COPY", uids[-1].decode(), BOX)
            if n:
                client.uid("STORE", uids[0].decode(), "+FLAGS", "(\\Deleted)")
                client.expunge()


@pytest.mark.clients
def test_the_guide(tmp_path: Path) -> None:
    with running(tmp_path / "dovecot", "maildir:~/Maildir", users=passwd_file(locations=True)) as dovecot:
        walk = Walk(tmp_path, dovecot)
        try:
            go_through(walk)
        finally:
            walk.off()


def go_through(walk: Walk) -> None:
    live(walk, 0)
    assert walk.postfix.queued() == 0
    assert walk.steps("2. Users") == 1
    assert walk.steps("3. The first pass", 0) == 2
    live(walk, 1)
    conf = walk.scripts / "moving.conf"
    conf.write_text(conf.read_text().replace("\nOLD=", "\nOLD=other:"))
    assert "nothing is done" in walk.run("./hold", [], code=78)
    conf.write_text(conf.read_text().replace("\nOLD=other:", "\nOLD="))
    assert walk.steps("3. The first pass", 1) == 2  # the rehearsal
    live(walk, 2)
    expected = walk.seen(dict.fromkeys(USERS, PASSWORD))

    assert walk.steps("4. The switch", 0) == 2
    assert walk.steps("4. The switch", 1) == 1
    for address in USERS:
        walk.postfix.send(address, "in the pause")
    assert walk.postfix.queued() == len(USERS)
    with pytest.raises(ConnectionRefusedError):
        walk.dovecot.imap()
    assert walk.steps("4. The switch", 2) == 1
    assert walk.steps("4. The switch", 3) == 1
    assert walk.postfix.queued() == 0
    assert "defer_transports" not in walk.postfix.settings()

    # Dora waits, as nobody has told her the code; so does Carol.
    for address in ADDRESS, "bob@example.org":
        uidnext = expected[address]["INBOX"][1]
        assert walk.subjects(address)[-1] == (uidnext, "in the pause")
        with walk.mailbox(address) as client:
            found = dict(everything(client))
        del found["INBOX"][3][uidnext]
        for name, (validity, following, subscribed, messages) in expected[address].items():
            here = found[name]
            assert here[0] == validity and here[2:] == (subscribed, messages), (address, name)
            assert here[1] == following + (name == "INBOX")
    assert walk.steps("5. After the switch") == 1
    waiting = walk.run(re.findall("^moving# (.*--waiting.*)", GUIDE, re.MULTILINE)[0], [])
    assert [address in waiting for address in USERS] == [False, False, True, True]
    walk.postfix.send(ADDRESS, "after the switch")
    with walk.mailbox(ADDRESS) as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", "(\\Answered Neu)")

    # And back.
    passwords = walk.folder / "passwords"
    passwords.write_text(f"{ADDRESS} {PASSWORD}\n")
    passwords.chmod(0o600)
    conf.write_text(conf.read_text().replace("PASSWORDS=()", f"PASSWORDS=(--passwords-from {passwords})"))
    dovecot_conf = walk.dovecot.config.read_text()
    location = f"mail_location = maildir:{walk.folder}/back/%d/%n"
    walk.run("./back", ["Dovecot's mail_location is maildir:~/Maildir, and not in"], code=78)
    walk.dovecot.config.write_text(dovecot_conf.replace("mail_location = maildir:~/Maildir", location))
    stopped = walk.run("./back", [], code=65)
    assert "bob@example.org: not exported" in stopped and "nobody is served" in stopped
    walk.postfix.send(ADDRESS, "while nobody is served")
    assert walk.postfix.queued() == 1
    walk.steps("4. The switch", 3)
    assert walk.postfix.queued() == 0
    passwords.write_text(f"{ADDRESS} {PASSWORD}\nbob@example.org {PASSWORD}\n")
    here = walk.seen(dict.fromkeys((ADDRESS, "bob@example.org"), PASSWORD))
    assert walk.steps("6. The way back", 0) == 1
    (walk.dovecot.folder / "users").write_text(passwd_file(locations=False))
    walk.postfix.send("carol@example.org", "at the end")
    assert walk.steps("6. The way back", 1) == 1
    again = walk.seen(dict.fromkeys(USERS, PASSWORD))
    for address, boxes in here.items():
        assert again[address] == boxes
    for address in "carol@example.org", "dora@example.org":
        assert again[address][BOX] == expected[address][BOX]
    assert walk.subjects("carol@example.org")[-2:] == [
        (expected["carol@example.org"]["INBOX"][1], "in the pause"),
        (expected["carol@example.org"]["INBOX"][1] + 1, "at the end"),
    ]
