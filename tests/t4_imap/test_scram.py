"""SCRAM-SHA-256 over a server: the whole exchange, giving up at each step, and what a stranger can learn."""

import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from aerogramme.imap.context import Peer
from aerogramme.imap.scram import ChannelBinding
from aerogramme.imap.session import Session
from aerogramme.mailbox.keys import passwords
from aerogramme.seal import Secret
from aerogramme.seal.scram import account_salt, client_key, salted_password, server_key, stored_key
from aerogramme.store import MemoryStores
from aerogramme.users.directory import AddressBook, User
from tests.helpers.imap_world import ACCOUNT, PASSWORD, USER, World, imap_world
from tests.helpers.scram_client import Refused, ScramClient
from tests.helpers.transcript import Client

CERTIFICATE = ChannelBinding("tls-server-end-point", bytes(range(32)))
BOUND = "p=tls-server-end-point,,"


@pytest.fixture
async def stores() -> MemoryStores:
    return MemoryStores(serial=True)


@pytest.fixture
async def world(stores: MemoryStores) -> AsyncIterator[World]:
    async with imap_world(stores) as found:
        yield found


async def app_password(stores: MemoryStores, label: str = "phone", *, read_only: bool = False) -> str:
    """A new app password of the account, as it is shown."""
    store = await stores.open(ACCOUNT)
    code = await passwords.create_app_password(store, ACCOUNT, Secret(PASSWORD), label, read_only=read_only)
    await store.aclose()
    return code.secret.reveal().decode()


async def challenge(client: Client) -> bytes:
    """The next challenge; Refused if the tagged answer comes in its place."""
    line = await client.line()
    if line.startswith(b"x "):
        raise Refused(line.decode())
    assert line.startswith(b"+ "), line
    return b64decode(line[2:], validate=True)


async def send(client: Client, line: bytes) -> None:
    await client.stream.send_all(line + b"\r\n")


async def begin(client: Client, scram: ScramClient, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    """Sends the client's first message; the server's first."""
    await send(client, b"x AUTHENTICATE " + mechanism + b" " + b64encode(scram.first()))
    return await challenge(client)


async def authenticate(client: Client, scram: ScramClient, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    """The whole way; the tagged OK. Raises Refused, NotTheServer."""
    await send(client, b64encode(scram.final(await begin(client, scram, mechanism))))
    scram.verify(await challenge(client))
    await send(client, b"")
    tagged = await client.line()
    if not tagged.startswith(b"x OK "):
        raise Refused(tagged.decode())
    return tagged


# --- the way in


@pytest.mark.parametrize("byte_by_byte", [False, True])
@pytest.mark.parametrize("initial", [False, True])
async def test_in(world: World, stores: MemoryStores, initial: bool, byte_by_byte: bool) -> None:
    world.byte_by_byte = byte_by_byte
    scram = ScramClient(USER, await app_password(stores))
    client = await world.client(login=False)
    assert b" AUTH=SCRAM-SHA-256 " in (await client.command(b"CAPABILITY"))[0]
    if initial:
        tagged = await authenticate(client, scram)
    else:
        await send(client, b"x authenticate scram-sha-256")
        assert await challenge(client) == b""
        await send(client, b64encode(scram.first()))
        await send(client, b64encode(scram.final(await challenge(client))))
        scram.verify(await challenge(client))
        await send(client, b"")
        tagged = await client.line()
    assert tagged.startswith(b"x OK [CAPABILITY IMAP4rev1 ") and b"AUTH=" not in tagged
    assert scram.iterations == 4096 and b64decode(scram.salt) == account_salt(bytes.fromhex(ACCOUNT))
    assert (await client.command(b"SELECT INBOX"))[-1].startswith(b"x OK [READ-WRITE]")
    assert (await client.command(b"CREATE new"))[-1].startswith(b"x OK")


async def test_each_app_password_opens(world: World, stores: MemoryStores) -> None:
    for label in ("phone", "laptop", "backup"):
        secret = await app_password(stores, label)
        await authenticate(await world.client(login=False), ScramClient(USER, secret))
        await authenticate(await world.client(login=False), ScramClient(USER, secret))


async def test_the_name_in_another_form(world: World, stores: MemoryStores) -> None:
    world.service.directory = AddressBook([User("Alice@Example.org", ACCOUNT)])
    secret = await app_password(stores)
    for name in ("alice@example.org", "ALICE@EXAMPLE.ORG", "al\u00adice@example.org"):
        await authenticate(await world.client(login=False), ScramClient(name, secret))


async def test_nobody_acts_for_another(world: World, stores: MemoryStores) -> None:
    secret = await app_password(stores)
    client = await world.client(login=False)
    with pytest.raises(Refused, match=re.escape("x NO [AUTHORIZATIONFAILED]")):
        await authenticate(client, ScramClient(USER, secret, header="n,a=bob,"))
    await authenticate(client, ScramClient(USER, secret, header=f"n,a={USER},"))


async def test_a_read_only_app_password_only_reads(world: World, stores: MemoryStores) -> None:
    client = await world.client(login=False)
    await authenticate(client, ScramClient(USER, await app_password(stores, read_only=True)))
    assert (await client.command(b"CREATE new"))[-1].startswith(b"x NO [NOPERM]")
    assert (await client.command(b"SELECT INBOX"))[-1].startswith(b"x OK [READ-ONLY]")


async def test_the_same_secret_by_plain(world: World, stores: MemoryStores) -> None:
    client = await world.client(login=False)
    login = f"\0{USER}\0{await app_password(stores)}".encode()
    assert (await client.command(b"AUTHENTICATE PLAIN " + b64encode(login)))[-1].startswith(b"x OK")


# --- giving up


async def step(client: Client, scram: ScramClient, steps: int) -> None:
    """AUTHENTICATE, up to where the server waits for the client's response number `steps` (from 0)."""
    await send(client, b"x AUTHENTICATE SCRAM-SHA-256")
    assert await challenge(client) == b""
    if steps > 0:
        await send(client, b64encode(scram.first()))
        first = await challenge(client)
        if steps > 1:
            await send(client, b64encode(scram.final(first)))
            scram.verify(await challenge(client))


@pytest.mark.parametrize(
    "line", [b"*", b"!", b"YQ", b"Y Q=", b"eHl6", b"\0", b"x" * 9000], ids=lambda line: repr(line[:9])
)
@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_giving_up(world: World, stores: MemoryStores, steps: int, line: bytes) -> None:
    secret = await app_password(stores)
    client = await world.client(login=False)
    await step(client, ScramClient(USER, secret), steps)
    await send(client, line)
    assert (await client.line()).startswith(b"x BAD ")
    assert world.service.connections == {}
    assert (await client.command(b"SELECT INBOX"))[-1] == b"x BAD Log in first"
    await authenticate(client, ScramClient(USER, secret))
    assert world.service.connections == {ACCOUNT: 1}


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_hanging_up(world: World, stores: MemoryStores, steps: int) -> None:
    client = await world.client(login=False)
    await step(client, ScramClient(USER, await app_password(stores)), steps)
    await world.hang_up()
    assert world.service.connections == {}


async def test_a_step_that_is_left_out(world: World, stores: MemoryStores) -> None:
    secret = await app_password(stores)
    client = await world.client(login=False)
    scram = ScramClient(USER, secret)
    await begin(client, scram)
    await send(client, b"")
    assert (await client.line()).startswith(b"x BAD ")
    await send(client, b"x NOOP")
    assert (await client.line()).startswith(b"x OK")


async def test_too_many_connections(world: World, stores: MemoryStores) -> None:
    secret = await app_password(stores)
    world.service.max_connections_per_user = 1
    await authenticate(await world.client(login=False), ScramClient(USER, secret))
    with pytest.raises(Refused, match=re.escape("x NO [LIMIT]")):
        await authenticate(await world.client(login=False), ScramClient(USER, secret))
    assert world.service.connections == {ACCOUNT: 1}


# --- what a stranger can learn


async def dialogue(world: World, scram: ScramClient) -> list[str]:
    """All that the server says, with its nonce left out and the salt marked."""
    client = await world.client(login=False)
    first = await begin(client, scram)
    await send(client, b64encode(scram.final(first)))
    tagged = (await client.line()).decode()
    shown = first.decode().removeprefix(f"r={scram.nonce}")
    shown, nonces = re.subn("^[!-+\\--~]{24},", "NONCE,", shown)
    shown, salts = re.subn("s=[A-Za-z0-9+/]{22}==,", "SALT,", shown)
    assert (nonces, salts) == (1, 1), first
    return [shown, tagged]


async def test_a_stranger_cannot_tell_who_exists(
    world: World, stores: MemoryStores, waits: list[float]
) -> None:
    """Nobody; a user without app passwords; a wrong app password; a right password that is no app password;
    a revoked one."""
    nobody = await dialogue(world, ScramClient("nobody", "x"))
    assert nobody == ["NONCE,SALT,i=4096", "x NO [AUTHENTICATIONFAILED] " + nobody[1].split("] ")[1]]
    assert await dialogue(world, ScramClient(USER, "x")) == nobody
    assert await dialogue(world, ScramClient(USER, PASSWORD)) == nobody
    secret = await app_password(stores)
    assert (
        await dialogue(world, ScramClient(USER, secret[:-1] + ("x" if secret[-1] != "x" else "y"))) == nobody
    )
    store = await stores.open(ACCOUNT)
    await passwords.revoke(store, ACCOUNT, Secret(PASSWORD), "phone")
    await store.aclose()
    assert await dialogue(world, ScramClient(USER, secret)) == nobody


async def salt_of(world: World, name: str) -> bytes:
    scram = ScramClient(name, "x")
    scram.final(await begin(await world.client(login=False), scram))
    return b64decode(scram.salt)


async def test_salts_stay(world: World, stores: MemoryStores) -> None:
    """Whoever asks again must not see a name's salt change when nothing has happened to it."""
    before = await salt_of(world, USER)
    await app_password(stores)
    assert await salt_of(world, USER) == before
    nobody = await salt_of(world, "nobody@example.org")
    assert await salt_of(world, "Nobody@example.org") == nobody
    assert await salt_of(world, "nobody2@example.org") != nobody


async def test_an_alias_does_not_show_whose_it_is(world: World, stores: MemoryStores) -> None:
    world.service.directory = AddressBook([User("alice@example.org", ACCOUNT, ("al@example.org",))])
    secret = await app_password(stores)
    assert await salt_of(world, "al@example.org") != await salt_of(world, "alice@example.org")
    with pytest.raises(Refused, match=re.escape("[AUTHENTICATIONFAILED]")):
        await authenticate(await world.client(login=False), ScramClient("al@example.org", secret))
    await authenticate(await world.client(login=False), ScramClient("alice@example.org", secret))


async def test_a_name_without_its_domain(world: World, stores: MemoryStores) -> None:
    """It is the address, also where nobody has it."""
    world.service.directory = AddressBook([User("alice@example.org", ACCOUNT)], login_domain="example.org")
    await authenticate(await world.client(login=False), ScramClient("Alice", await app_password(stores)))
    for name in ("alice", "nobody"):
        assert await salt_of(world, name) == await salt_of(world, f"{name}@example.org")


@pytest.fixture
def waits(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long tries were made to wait; nobody really waits."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("aerogramme.mailbox.accounts.sleep", sleep)
    monkeypatch.setattr(world.accounts, "_failure_time", 0.0)
    return found


@pytest.mark.parametrize("name", [USER, "nobody"])
async def test_who_guesses_is_slowed_down(world: World, waits: list[float], name: str) -> None:
    for _ in range(6):
        assert "AUTHENTICATIONFAILED" in (await dialogue(world, ScramClient(name, "guess")))[1]
    assert [wait for wait in waits if wait] == [0.25, 0.5, 1.0]


# --- privacy and channel binding (RFC 5802 §6)


class Said:
    """An Out that keeps what is written."""

    full = False

    def __init__(self) -> None:
        self.octets = b""

    def write(self, octets: bytes) -> None:
        self.octets += octets

    async def flush(self) -> None:
        raise AssertionError("nothing here is long")

    async def pause(self) -> None:
        await trio.lowlevel.checkpoint()

    def stop(self, farewell: bytes) -> None:
        self.octets += farewell

    def take(self) -> bytes:
        said, self.octets = self.octets, b""
        return said


class Direct:
    """A Client's stream that is a session without sockets, for what depends on the connection."""

    def __init__(self, world: World, peer: Peer, binding: ChannelBinding | None) -> None:
        self.out = Said()
        self.session = Session(world.service, peer, self.out)
        if peer.encrypted:
            self.session.secure(binding)
        self.session.greet()

    async def send_all(self, data: bytes) -> None:
        self.session.receive(data)
        await self.session.proceed()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return self.out.take()


Connect = Callable[..., Awaitable[tuple[Client, bytes]]]


@pytest.fixture
async def direct(world: World) -> AsyncIterator[Connect]:
    """Makes connections that have a peer and a channel binding: a client, and the greeting it got."""
    streams = []

    async def connect(
        peer: Peer = Peer("192.0.2.1", encrypted=True), binding: ChannelBinding | None = CERTIFICATE
    ) -> tuple[Client, bytes]:
        streams.append(Direct(world, peer, binding))
        client = Client(streams[-1])
        return client, await client.line()

    yield connect
    for stream in streams:
        stream.session.close()


async def test_not_in_clear_from_elsewhere(direct: Connect, stores: MemoryStores) -> None:
    client, greeting = await direct(Peer("192.0.2.1"), None)
    assert b"LOGINDISABLED" in greeting and b"SCRAM" not in greeting
    with pytest.raises(Refused, match="PRIVACYREQUIRED"):
        await authenticate(client, ScramClient(USER, await app_password(stores)))


async def test_plus_is_there_where_there_is_a_binding(direct: Connect, stores: MemoryStores) -> None:
    secret = await app_password(stores)
    client, greeting = await direct()
    assert b"AUTH=SCRAM-SHA-256 AUTH=SCRAM-SHA-256-PLUS " in greeting
    scram = ScramClient(USER, secret, header=BOUND, binding=CERTIFICATE.data)
    await authenticate(client, scram, b"SCRAM-SHA-256-PLUS")
    client, greeting = await direct(binding=None)
    assert b"PLUS" not in greeting
    with pytest.raises(Refused, match=r"x NO .*not known"):
        await authenticate(client, ScramClient(USER, secret, header=BOUND), b"SCRAM-SHA-256-PLUS")
    await authenticate(client, ScramClient(USER, secret, header="y,,"))


@pytest.mark.parametrize(
    ("mechanism", "header", "binding"),
    [
        (b"SCRAM-SHA-256-PLUS", BOUND, bytes(32)),  # somebody between, with another certificate
        (b"SCRAM-SHA-256", "y,,", b""),  # somebody has taken -PLUS out of the capabilities
        (b"SCRAM-SHA-256-PLUS", "n,,", b""),
        (b"SCRAM-SHA-256-PLUS", "y,,", b""),
        (b"SCRAM-SHA-256", BOUND, CERTIFICATE.data),
        (b"SCRAM-SHA-256-PLUS", "p=tls-unique,,", CERTIFICATE.data),
    ],
)
async def test_bound_to_another_channel(
    direct: Connect, stores: MemoryStores, mechanism: bytes, header: str, binding: bytes
) -> None:
    client, _ = await direct()
    scram = ScramClient(USER, await app_password(stores), header=header, binding=binding)
    with pytest.raises(Refused, match=re.escape("x NO [AUTHENTICATIONFAILED]")):
        await authenticate(client, scram, mechanism)


async def test_who_cannot_bind_may_go_without(direct: Connect, stores: MemoryStores) -> None:
    client, _ = await direct()
    await authenticate(client, ScramClient(USER, await app_password(stores)))


async def test_who_reads_the_store_cannot_play_the_server(world: World, stores: MemoryStores) -> None:
    """Salt, iterations and StoredKey stand in clear; what would make a verifier, or log in, does not."""
    salted = salted_password(Secret(await app_password(stores)), account_salt(bytes.fromhex(ACCOUNT)))
    store = await stores.open(ACCOUNT)
    rows, _ = await store.read("keys")
    everything = b"".join(value for _, value in rows)
    await store.aclose()
    assert stored_key(client_key(salted)) in everything
    for secret in salted, client_key(salted), server_key(salted):
        assert secret not in everything


async def test_where_it_is_not_offered_app_passwords_are_passwords_like_others(
    stores: MemoryStores, world: World
) -> None:
    code = await app_password(stores)
    world.service.scram = False
    client = Client(await world.connect())
    assert b"SCRAM" not in await client.line()
    for mechanism in b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS":
        assert (await client.command(b"AUTHENTICATE " + mechanism))[-1].startswith(b"x NO ")
    assert (await client.command(b"LOGIN %b %b" % (USER.encode(), code.encode())))[-1].startswith(b"x OK ")
