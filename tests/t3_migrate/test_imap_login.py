"""How the importer gets into an IMAP server, and where it refuses to."""

import base64
from typing import Any

import pytest
import trio

from aerogramme.errors import AerogrammeError, AuthenticationFailed, Refused, Unavailable, Unreadable
from aerogramme.migrate.sources.imap.access import Access, Proof, Security
from aerogramme.migrate.sources.imap.connection import Connection, Fallen
from aerogramme.seal import Secret
from tests.helpers.imap_script import IN, PLAIN, Script, scripted


async def attempt(script: str, **settings: Any) -> Connection | AerogrammeError:
    """The connection after a login, or its error; the secret is "secret"."""
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            server = Script([script], nursery)
            given: dict[str, Any] = {
                "user": "alice",
                "secret": Secret("secret"),
                "opener": server.open,
            } | settings
            try:
                connection = await Access("mail.example.org", **given).connect()
            except Fallen as fallen:
                return fallen.error
            except AerogrammeError as error:
                return error
            await connection.aclose()
    return connection


async def log_in(script: str, **settings: Any) -> Connection:
    """The connection after a login, closed."""
    found = await attempt(script, **settings)
    assert isinstance(found, Connection), found
    return found


async def fails(script: str, **settings: Any) -> AerogrammeError:
    """The error of a login."""
    error = await attempt(script, **settings)
    assert isinstance(error, AerogrammeError), "it is in"
    assert "secret" not in f"{error!r} {error} {error.hint}"
    return error


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_plain_in_one_go() -> None:
    assert (await log_in(IN)).capabilities == {b"IMAP4REV1", b"LITERAL+"}


async def test_plain_in_two_steps_and_capabilities_that_are_asked_for() -> None:
    await log_in(f"""
S: * OK ready
C: CAPABILITY
S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
S: @ OK
C: AUTHENTICATE PLAIN
S: +
C| {PLAIN}
S: @ OK in
C: CAPABILITY
S: * CAPABILITY IMAP4rev1
S: @ OK
""")


async def test_a_master_user_reads_anothers_mail() -> None:
    await log_in(
        f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {b64("bob" + chr(0) + "alice" + chr(0) + "secret")}
S: * CAPABILITY IMAP4rev1
S: @ OK in
""",
        owner="bob",
    )


async def test_login_where_there_is_nothing_else() -> None:
    await log_in(r"""
S: * OK [CAPABILITY IMAP4rev1] ready
C: LOGIN "a\"\\b" "secret"
S: * CAPABILITY IMAP4rev1
S: @ OK in
""", user='a"\\b')  # fmt: skip


async def test_login_with_literals() -> None:
    user = "zoë".encode().decode("latin-1")
    await log_in(f"""
S: * OK [CAPABILITY IMAP4rev1] ready
C: LOGIN {{4}}
S: + go on
C| {user} "secret"
S: * CAPABILITY IMAP4rev1
S: @ OK in
""", user="zoë")  # fmt: skip


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_tokens(mechanism: str) -> None:
    response = {
        "OAUTHBEARER": "n,a=alice,\1auth=Bearer secret\1\1",
        "XOAUTH2": "user=alice\1auth=Bearer secret\1\1",
    }[mechanism]
    await log_in(
        f"""
S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH={mechanism}] ready
C: AUTHENTICATE {mechanism} {b64(response)}
S: * CAPABILITY IMAP4rev1
S: @ OK in
""",
        proof=Proof.TOKEN,
    )
    error = await fails(
        f"""
S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH={mechanism}] ready
C: AUTHENTICATE {mechanism} {b64(response)}
S: + {b64('{"status":"400"}')}
C|
S: @ NO the token is old
""".replace("C|\n", "C| \n"),
        proof=Proof.TOKEN,
    )
    assert isinstance(error, AuthenticationFailed)


async def test_what_is_useful_is_enabled() -> None:
    connection = await log_in(f"""
S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready
C: AUTHENTICATE PLAIN {PLAIN}
S: @ OK [CAPABILITY IMAP4rev1 ENABLE CONDSTORE UTF8=ACCEPT] in
C: ENABLE UTF8=ACCEPT
S: * ENABLED UTF8=ACCEPT
S: @ OK
""")
    assert connection.enabled == {b"UTF8=ACCEPT"}


GREETING = "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\n"
TRIED = f"{GREETING}C: AUTHENTICATE PLAIN {PLAIN}\n"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (TRIED + "S: @ NO [AUTHENTICATIONFAILED] wrong", AuthenticationFailed, "wrong"),
        (TRIED + "S: @ BAD what", AuthenticationFailed, "what"),
        (TRIED + "S: @ NO [UNAVAILABLE] the users are away", Unavailable, "the users are away"),
        (TRIED + "S: * BYE Too many connections\nX", Unavailable, "Too many connections"),
        (TRIED + "S: nonsense OK in", Unreadable, "not asked"),
        (TRIED + "X", Unavailable, "hung up"),
        ("S: * BYE closed for today\nX", Unavailable, "closed for today"),
        ("S: 220 mail.example.org ESMTP\n", Unreadable, "greets"),
        ("X", Unavailable, "hung up"),
        ("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready", Unreadable, "no passwords"),
        ("S: * PREAUTH [CAPABILITY IMAP2] hello", Unreadable, "IMAP4rev1"),
    ],
)
async def test_it_does_not_get_in(script: str, error: type[AerogrammeError], words: str) -> None:
    found = await fails(script)
    assert type(found) is error and words in str(found)


async def test_starttls_that_is_not_what_it_seems() -> None:
    settings = {"security": Security.STARTTLS}
    # Whoever is between can let everybody in, leave STARTTLS out, or add something behind it.
    assert "without TLS" in str(await fails("S: * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hello", **settings))
    assert "no STARTTLS" in str(await fails("S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello", **settings))
    hello = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hello\nC: STARTTLS\n"
    assert "refuses" in str(await fails(hello + "S: @ NO not now", **settings))
    assert "plain text" in str(
        await fails(hello + "S: @ OK begin\nS: * CAPABILITY IMAP4rev1 AUTH=PLAIN", **settings)
    )


async def test_a_login_that_worked_before_is_tried_again() -> None:
    async with scripted(
        IN + "X",
        TRIED + "S: @ NO you are here already",
        IN + 'C: LIST "" "*"\nS: * LIST () "/" INBOX\nS: @ OK\nC: LSUB "" "*"\nS: @ OK\n'
        'C: STATUS "INBOX" (UIDVALIDITY UIDNEXT)\nS: * STATUS INBOX (UIDVALIDITY 7 UIDNEXT 8)\nS: @ OK\n',
    ) as source:
        assert [folder.name for folder in await source.folders()] == ["INBOX"]


async def test_it_gives_up_after_the_last_pause() -> None:
    async with scripted(IN + "X", "X", "X", pauses=(0, 0)) as source:
        with pytest.raises(Unavailable, match="hung up"):
            await source.folders()


async def test_without_tls_only_to_this_machine() -> None:
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, lambda stream: stream.send_all(b"* OK\r\n"), 0)
            port = listeners[0].socket.getsockname()[1]
            access = Access("127.0.0.1", "alice", Secret("secret"), port=port, security=Security.NONE)
            with pytest.raises(Fallen):  # it gets as far as the login
                await access.connect()
            nursery.cancel_scope.cancel()


async def test_another_machine_needs_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    class Far:
        """A stream that comes from elsewhere."""

        socket = property(lambda self: self)

        def getpeername(self) -> tuple[str, int]:
            return "192.0.2.1", 143

        async def aclose(self) -> None:
            pass

    async def connected(host: str, port: int) -> Far:
        return Far()

    monkeypatch.setattr("trio.open_tcp_stream", connected)
    with pytest.raises(Refused, match="another machine"):
        await Access("mail.example.org", "alice", Secret("secret"), security=Security.NONE).connect()
