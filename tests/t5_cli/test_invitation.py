"""Accounts by invitation: mail comes in before the user does; what the code opens, and when no more."""

import imaplib
import re
import shutil
from pathlib import Path

import pytest
import trio

from aerogramme.errors import AuthenticationFailed, Damaged
from aerogramme.mailbox.keys import keys
from aerogramme.seal import Code, Keyring, Secret
from aerogramme.store import open_stores
from aerogramme.users.static import StaticDirectory
from tests.helpers.audit import audit_data
from tests.helpers.server import ADDRESS, PASSWORD, Server, aerogramme, serving
from tests.t5_cli.test_account_end import LETTER, account, deliver

CODE = re.compile(rb"[0-9A-Z]{5}(-[0-9A-Z]{5}){5}\n")


def invite(data: Path) -> str:
    made = account("create", ADDRESS, "--invite", data=data)
    assert CODE.fullmatch(made.stdout) and b"shown only now" in made.stderr
    return made.stdout.decode().strip()


def accept(data: Path, *lines: str, code: int = 0) -> bytes:
    stdin = "".join(f"{line}\n" for line in lines)
    done = account("accept", ADDRESS, "--password-stdin", data=data, stdin=stdin, code=code)
    return done.stdout if code == 0 else done.stderr


def bodies(server: Server, password: str) -> list[bytes]:
    client = server.imap(ADDRESS, password)
    with client:
        client.select("INBOX")
        found = client.fetch("1:*", "(BODY.PEEK[])")[1]
        return [part[1] for part in found if isinstance(part, tuple)]


def login_fails(server: Server, password: str) -> str:
    client = imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=120)
    try:
        with pytest.raises(imaplib.IMAP4.error) as failed:
            client.login(ADDRESS, password)
    finally:
        client.shutdown()
    return str(failed.value)


async def opened(data: Path, account_id: str, secret: str) -> Keyring:
    stores = open_stores(f"sqlite:{data}/accounts")
    try:
        store = await stores.open(account_id)
        try:
            return (await keys.unlock(store, account_id, Secret(secret))).keyring
        finally:
            await store.aclose()
    finally:
        await stores.aclose()


async def objects_and_rows(data: Path, account_id: str) -> dict[tuple[str, str], bytes]:
    """All sealed records of the account: objects under "", rows under their partition."""
    stores = open_stores(f"sqlite:{data}/accounts")
    try:
        store = await stores.open(account_id)
        try:
            found = {("", name): await store.get(name) for name in await store.list("")}
            for partition in ("incoming", "log", "uses"):
                found |= {(partition, key): value for key, value in (await store.read(partition))[0]}
            return found
        finally:
            await store.aclose()
    finally:
        await stores.aclose()


@pytest.mark.parametrize("way", ["mail program", "command line"])
def test_from_the_invitation_to_the_first_mail(tmp_path: Path, way: str) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    code = invite(data)
    shutil.copytree(data, copy)  # with the code: all that the administrator may have kept
    user = StaticDirectory(data / "users.toml").by_login(ADDRESS)
    assert user is not None
    with serving(data) as server:
        deliver(server)
        assert "a space, and a password" in login_fails(server, code)
        assert "AUTHENTICATIONFAILED" in login_fails(server, PASSWORD)
        before = trio.run(objects_and_rows, data, user.account)
        if way == "mail program":
            given = f"{code.lower()} {PASSWORD}"
            assert len(bodies(server, given)) == 1
        else:
            given = PASSWORD
            recovery = accept(data, code.lower(), PASSWORD).decode().strip()
            assert Code.parse(recovery).kind == "recovery"
            assert trio.run(opened, data, user.account, recovery).account.hex() == user.account
        deliver(server)
        for password in (PASSWORD, given):
            assert [each.endswith(LETTER) for each in bodies(server, password)] == [True, True]
        assert "AUTHENTICATIONFAILED" in login_fails(server, code)
        assert "AUTHENTICATIONFAILED" in login_fails(server, f"{code} another")
        assert server.stop() == 0
    with pytest.raises(AuthenticationFailed):
        trio.run(opened, data, user.account, code)
    assert audit_data(data, ADDRESS) == []

    # With the keys of the copy: what was sealed after the acceptance does not open, wherever it is.
    seen = trio.run(opened, copy, user.account, code)
    mine = trio.run(opened, data, user.account, PASSWORD)
    assert [each.number for each in seen.generations] == [each.number for each in mine.generations][:1]
    after = trio.run(objects_and_rows, data, user.account)
    new = {place: value for place, value in after.items() if place not in before}
    assert len(new) >= 2, "an entry of the log, and a body"
    for (partition, name), value in new.items():
        for kind in ("entry", "checkpoint", "piece", "segment", "use"):
            with pytest.raises(Damaged):
                seen.open(kind, name, value)
        assert partition != "incoming"


def test_mistakes_are_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code = invite(data)
    taken = account("create", ADDRESS, "--invite", data=data, code=73)
    assert b"already" in taken.stderr
    both = account("create", "x@example.org", "--invite", "--password-stdin", data=data, stdin="x\n", code=2)
    assert b"the user chooses it" in both.stderr
    assert b"typing error" in accept(data, code[:-1] + ("0" if code[-1] != "0" else "1"), "x", code=65)
    assert b"has 29" in accept(data, code[:-1], "x", code=65)
    assert b"account recover" in accept(data, Code.generate("recovery").reveal(), "x", code=65)
    assert b"app password" in accept(data, Code.generate("app").reveal(), "x", code=65)
    assert b"not the invitation of" in accept(data, Code.generate("invitation").reveal(), "x", code=77)
    assert b"empty password" in accept(data, code, "", code=2)
    assert b"ends before this" in accept(data, code, code=2)
    accept(data, code, PASSWORD)
    assert b"no open invitation" in accept(data, code, "y", code=77)
    aerogramme("account", "show", ADDRESS, "--data", str(data), "--password-stdin", stdin=PASSWORD + "\n")
    account("delete", ADDRESS, "--yes", data=data)
    assert b"is deleted" in accept(data, code, "y", code=67)


def test_nothing_of_a_code_is_on_disk_or_in_a_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code = invite(data)
    with serving(data, log_level="debug") as server:
        server.imap(ADDRESS, f"{code} {PASSWORD}").logout()
        assert server.stop() == 0
    places = [*data.rglob("*"), server.log]
    secrets = [
        form.encode() for each in (code, PASSWORD) for form in (each, each.lower(), each.replace("-", ""))
    ]
    for file in (place for place in places if place.is_file()):
        assert not any(secret in file.read_bytes() for secret in secrets), file
