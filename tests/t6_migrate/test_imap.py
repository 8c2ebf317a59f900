"""Mail that is read over IMAP, from a real Dovecot and from this server: as another client sees it there."""

import contextlib
import hashlib
import imaplib
import subprocess
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from aerogramme.errors import AuthenticationFailed
from aerogramme.imap import mutf7
from aerogramme.migrate.sources.imap.access import Access, Security
from aerogramme.migrate.sources.imap.source import ImapSource
from aerogramme.migrate.sources.source import Letter
from aerogramme.seal import Secret
from tests.helpers.certificates import certificate
from tests.helpers.dovecot import IMAP, Dovecot, append, dovecot, read_messages
from tests.helpers.dovecot_daemon import running
from tests.helpers.server import ADDRESS, PASSWORD, create_account, serving
from tests.helpers.source_reading import read_all, said, same_as_imap

pytestmark = pytest.mark.clients

BOXES = ["INBOX", "Sent", "Lists/trio/2024", "Entw&APw-rfe", 'a b/q"uote\\d/&Jjo-!']
NAMES = ["INBOX", "Sent", "Lists/trio/2024", "Entwürfe", 'a b/q"uote\\d/☺!']


def quoted(box: str) -> str:
    return '"' + box.replace("\\", "\\\\").replace('"', '\\"') + '"'


def letter(number: int) -> bytes:
    """Letters with all kinds of octets; some are large, and one is empty but for its header."""
    head = f"Subject: {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n".encode()
    lines = [f"line {n} of {number} ".encode() * (n % 7) + b"\r\n" for n in range(number * 3)]
    return head + b"".join(lines) + (bytes(range(1, 256)) * 3000 if number % 20 == 7 else b"")


def fill(client: imaplib.IMAP4, count: int = 150) -> None:
    """Real use, in little: messages come, get flags, are copied, moved and removed."""
    for box in BOXES[1:]:
        client.create(quoted(box))
    for box in BOXES[::2]:
        client.subscribe(quoted(box))
    for number in range(count):
        flags = (
            [f"k{number % 40}"] + ["\\Seen"] * (number % 2) + ["\\Answered", "\\Draft"] * (number % 3 == 0)
        )
        date = f"{number % 28 + 1:02}-Mar-{2000 + number % 25} 10:{number % 60:02}:00 +0200"
        client.literal = letter(number)  # type: ignore[assignment]  # client.append would change line ends
        box = quoted(BOXES[number % 5] if number % 4 else "INBOX")
        status, answer = client._simple_command("APPEND", box, f"({' '.join(flags)})", f'"{date}"')
        assert status == "OK", answer
    client.select("INBOX")
    client.uid("STORE", "2:4", "+FLAGS", "(\\Flagged late)")
    client.uid("COPY", "1:3", quoted("Sent"))
    client.uid("STORE", "5:6,20", "+FLAGS", "(\\Deleted)")
    client.expunge()
    client.uid("MOVE", "7", quoted("Lists/trio/2024"))
    client.unselect()


@dataclass
class Processes:
    """Opens connections to a Dovecot without daemons: a process each, which is logged in."""

    server: Dovecot
    opened: list[trio.Process] = field(default_factory=list)

    async def open(self, access: Access) -> trio.abc.Stream:
        process = await trio.lowlevel.open_process(
            [str(IMAP), "-c", str(self.server.config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.server._environment(),
            cwd=self.server.folder,
        )
        self.opened.append(process)
        assert process.stdin is not None and process.stdout is not None
        return trio.StapledStream(process.stdin, process.stdout)


@asynccontextmanager
async def reading(server: Dovecot, connections: int = 4) -> AsyncIterator[tuple[ImapSource, Processes]]:
    processes = Processes(server)
    access = Access("dovecot", "alice", Secret("unused"), opener=processes.open)
    source = ImapSource(access, connections=connections, pauses=(0, 0, 0))
    try:
        yield source, processes
    finally:
        await source.aclose()
        for process in processes.opened:
            process.kill()
            await process.wait()


async def is_as_another_client_sees_it(source: ImapSource, client: imaplib.IMAP4) -> None:
    """All mailboxes, with what is in them."""
    found = await read_all(source)
    assert not source.faults, said(source.faults)
    assert set(NAMES) <= set(found)
    for name, box in found.items():
        spelled = mutf7.encode(name).decode()
        uidvalidity, uidnext, seen = await trio.to_thread.run_sync(read_messages, client, spelled)
        folder = box.folder
        assert (folder.uidvalidity, folder.uidnext, folder.origin) == (uidvalidity, uidnext, spelled)
        assert folder.subscribed == (spelled in BOXES[::2])
        same_as_imap(box.mails, seen)
        assert all(mail.size for mail in box.mails.values())
    assert len(found["INBOX"].mails) >= 20 and found["Sent"].folder.role == "\\Sent"


@pytest.mark.parametrize("location", ["maildir:~/Maildir", "sdbox:~/mail", "mdbox:~/mail"])
async def test_a_dovecot(location: str) -> None:
    with dovecot(location) as server, server.imap() as client:
        fill(client)
        async with reading(server) as (source, processes):
            await is_as_another_client_sees_it(source, client)
            assert 2 <= len(processes.opened) <= 4


async def test_a_dovecot_whose_processes_are_killed() -> None:
    with dovecot("sdbox:~/mail") as server, server.imap() as client:
        for number in range(300):
            append(client, "INBOX", letter(number % 40))
        async with reading(server, 2) as (source, processes):
            [inbox, *_] = await source.folders()
            uids = (await source.messages(inbox)).uids
            found: list[bytes] = []
            async with aclosing(source.letters(inbox, uids)) as letters:
                async for each in letters:
                    assert isinstance(each, Letter)
                    if each.uid % 60 == 7:  # some of them before a letter of 800 kB
                        for process in processes.opened:
                            with contextlib.suppress(ProcessLookupError):
                                process.kill()
                    found.append(b"".join([piece async for piece in each.pieces]))
            seen = read_messages(client, "INBOX")[2]
            assert found == [seen[uid].content for uid in sorted(seen)]
            assert len(processes.opened) > 5


async def test_a_dovecot_with_starttls_and_a_master_user(tmp_path: Path) -> None:
    certificate(tmp_path)
    (tmp_path / "masters").write_text("admin:{PLAIN}admin's password\n")
    settings = f"ssl = yes\nssl_cert = <{tmp_path}/cert.pem\nssl_key = <{tmp_path}/cert.key\n"
    settings += f"passdb {{\n  driver = passwd-file\n  master = yes\n  args = {tmp_path}/masters\n}}\n"
    with running(tmp_path / "dovecot", "mdbox:~/mail", settings) as daemon, daemon.imap() as client:
        fill(client, 60)
        starttls = Access("localhost", ADDRESS, Secret(PASSWORD), ca=tmp_path / "cert.pem")
        starttls = replace(starttls, security=Security.STARTTLS, port=daemon.imap_port)
        await is_as_another_client_sees_it(ImapSource(starttls), client)
        master = Access("127.0.0.1", "admin", Secret("admin's password"), owner=ADDRESS)
        master = replace(master, security=Security.NONE, port=daemon.imap_port)
        await is_as_another_client_sees_it(ImapSource(master, connections=1), client)


async def test_this_server(tmp_path: Path) -> None:
    certificate(tmp_path)
    create_account(tmp_path / "data")
    with serving(tmp_path / "data", certificate=tmp_path / "cert.pem") as server, server.imap() as client:
        fill(client, 60)
        made = ("Sent", "Entw&APw-rfe", "Lists", "Lists/trio", "a b", 'a b/q"uote\\d')
        for name in ("Drafts", "Archive", "Junk", "Trash", *made):  # CREATE subscribes here
            client.unsubscribe(quoted(name))
        for security, port in (Security.TLS, server.tls_port), (Security.STARTTLS, server.imap_port):
            access = Access(
                "localhost", ADDRESS, Secret(PASSWORD), "", port, security, ca=tmp_path / "cert.pem"
            )
            await is_as_another_client_sees_it(ImapSource(access), client)
        with pytest.raises(AuthenticationFailed):
            await ImapSource(replace(access, secret=Secret("another"))).folders()


async def test_a_large_letter_is_not_held() -> None:
    large = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 4_000_000
    with dovecot("sdbox:~/mail") as server, server.imap() as client:
        append(client, "INBOX", large)
        async with reading(server) as (source, _):
            [inbox, *_] = await source.folders()
            digest, longest = hashlib.sha256(), 0
            tracemalloc.start()
            try:
                async with aclosing(source.letters(inbox, [1])) as letters:
                    async for letter in letters:
                        assert isinstance(letter, Letter)
                        async for piece in letter.pieces:
                            digest.update(piece)
                            longest = max(longest, len(piece))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert digest.digest() == hashlib.sha256(large).digest()
    assert longest <= 65536 and peak < 1_000_000
