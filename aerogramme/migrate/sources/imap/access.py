"""Who logs in where, and how: TLS, and the ways to log in."""

import base64
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import trio

from aerogramme.errors import AuthenticationFailed, BadConfiguration, Refused, Unavailable, Unreadable
from aerogramme.migrate.sources.imap.answers import Done, done
from aerogramme.migrate.sources.imap.connection import PATIENCE, Connection, Fallen, Stopped, Text
from aerogramme.migrate.sources.imap.reading import Answer
from aerogramme.seal import Secret

_CONNECT: Final = 60.0  # seconds for a connection and for TLS on it


class Security(StrEnum):
    """What protects the connection."""

    TLS = "tls"  # from the first octet (RFC 8314 §3)
    STARTTLS = "starttls"
    NONE = "none"  # only to this machine itself


_PORTS: Final = {Security.TLS: 993, Security.STARTTLS: 143, Security.NONE: 143}


class Proof(StrEnum):
    """What the secret is."""

    PASSWORD = "password"  # noqa: S105  # it names a kind of secret
    TOKEN = "token"  # noqa: S105  # of OAuth 2 (RFC 6750), as Gmail and Microsoft 365 ask for


Opener = Callable[["Access"], Awaitable[trio.abc.Stream]]
"""Opens a connection. Raises Fallen if that may work later, and other errors if it will not."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who logs in where.

    user      the login name
    secret    its password, or a token
    owner     whose mail is read, if `user` is a master user (RFC 4616 §2: authorization identity)
    port      0: the usual one
    ca        a file of certificates (PEM) to trust instead of those of the system
    patience  seconds that the server may say nothing
    opener    opens the stream to the server, if not `open_stream` does
    """

    host: str
    user: str
    secret: Secret
    owner: str = ""
    port: int = 0
    security: Security = Security.TLS
    proof: Proof = Proof.PASSWORD
    ca: Path | None = None
    patience: float = PATIENCE
    opener: Opener | None = None

    async def connect(self) -> Connection:
        """A connection that is logged in, with what is useful enabled.

        Raises Fallen if that may work later; AuthenticationFailed; Unreadable where TLS cannot be trusted, or
        the server has no way to log in; Refused without TLS; BadConfiguration.
        """
        connection = Connection(await (self.opener or open_stream)(self), self.host, patience=self.patience)
        try:
            await self._greet(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        event = await connection.event()
        greeting = done(event.text[2:]) if isinstance(event, Answer) and event.text[:2] == b"* " else None
        if greeting is None or greeting.status not in ("OK", "PREAUTH"):
            raise connection.nonsense("it greets with something else")
        if self.security is Security.STARTTLS:
            if greeting.status == "PREAUTH":
                # STARTTLS is not possible then (RFC 9051 §11.1): somebody between may want just that.
                raise Unreadable(f"{self.host} lets in without TLS", hint="try TLS on port 993")
            await self._start_tls(connection)
        if not connection.capabilities:
            await connection.command(b"CAPABILITY")
        if greeting.status == "OK":
            before = connection.capabilities
            await self._log_in(connection)
            if connection.capabilities is before:  # it did not tell what there is after the login
                await connection.command(b"CAPABILITY")
        if not connection.capabilities & {b"IMAP4REV1", b"IMAP4REV2"}:
            raise Unreadable(f"{self.host} does not speak IMAP4rev1")
        if connection.knows(b"ID"):
            # RFC 2971. Gmail asks for it, and some servers open no mailbox for a client without a name.
            await connection.command(b'ID ("name" "Aerogramme")')
        if connection.knows(b"ENABLE") and connection.knows(b"UTF8=ACCEPT"):
            # RFC 5161: before a mailbox is open. RFC 6855: names, and letters with headers in UTF-8.
            await connection.command(b"ENABLE UTF8=ACCEPT")

    async def _start_tls(self, connection: Connection) -> None:
        context = tls_context(self.ca)
        if not connection.capabilities:
            await connection.command(b"CAPABILITY")
        if not connection.knows(b"STARTTLS"):
            raise Unreadable(f"{self.host} has no STARTTLS", hint="try TLS on port 993")
        ended = await connection.command(b"STARTTLS")
        if not ended.ok:
            raise Unreadable(f"{self.host} refuses STARTTLS: {ended.words}")
        if not connection.nothing_waits():
            # What came before TLS began could be anybody's.
            raise connection.nonsense("it goes on in plain text after STARTTLS")
        connection.stream = await _wrapped(connection.stream, context, self.host)
        connection.capabilities = frozenset()  # RFC 3501 §6.2.1: what was said before counts no more

    async def _log_in(self, connection: Connection) -> None:
        secret = self.secret.reveal()
        user, owner = self.user.encode(), self.owner.encode()
        try:
            if self.proof is Proof.TOKEN:
                ended = await self._with_token(connection, user, owner, secret)
            elif connection.knows(b"AUTH=PLAIN"):
                ended = await authenticate(connection, b"PLAIN", b"\0".join((owner, user, secret)))
            elif owner:
                raise Unreadable(
                    f"{self.host} has no AUTHENTICATE PLAIN, which a master user needs",
                    hint="Dovecot also takes OWNER*MASTER as the login name",
                )
            elif connection.knows(b"LOGINDISABLED"):
                raise Unreadable(f"{self.host} takes no passwords")
            else:
                ended = await connection.command(b"LOGIN ", Text(user), b" ", Text(secret))
        except Stopped as stopped:
            ended = stopped.ended
        if ended.ok:
            return
        connection.raise_if_later(ended)
        whose = f" for {self.owner}" if self.owner else ""
        raise AuthenticationFailed(
            f"{self.host} does not let {self.user} in{whose}: {ended.words or ended.code}"
        )

    async def _with_token(self, connection: Connection, user: bytes, owner: bytes, token: bytes) -> Done:
        if connection.knows(b"AUTH=OAUTHBEARER"):  # RFC 7628 §3.1
            name = (owner or user).replace(b"=", b"=3D").replace(b",", b"=2C")
            response = b"n,a=%b,\1auth=Bearer %b\1\1" % (name, token)
            return await authenticate(connection, b"OAUTHBEARER", response)
        if connection.knows(b"AUTH=XOAUTH2"):
            response = b"user=%b\1auth=Bearer %b\1\1" % (owner or user, token)
            return await authenticate(connection, b"XOAUTH2", response)
        raise Unreadable(f"{self.host} takes no tokens of OAuth 2")


async def authenticate(connection: Connection, mechanism: bytes, response: bytes) -> Done:
    """AUTHENTICATE with a mechanism of one response (RFC 3501 §6.2.2). Raises Fallen, Stopped."""
    encoded = base64.b64encode(response)
    if connection.knows(b"SASL-IR"):  # RFC 4959
        tag = await connection.send(b"AUTHENTICATE " + mechanism + b" " + encoded)
    else:
        tag = await connection.send(b"AUTHENTICATE " + mechanism)
        await connection.continued(tag)
        await connection.send_octets(encoded + b"\r\n")
    return await finish_authenticate(connection, tag)


async def finish_authenticate(connection: Connection, tag: bytes) -> Done:
    """A mechanism that fails may say why first, and wants an empty response (RFC 7628 §3.2.3)."""
    while True:
        event = await connection.event()
        text = event.text if isinstance(event, Answer) else b""
        if text[:1] == b"+":
            await connection.send_octets(b"\r\n")
        elif isinstance(event, Answer) and text[:2] != b"* ":
            return connection.ended(tag, event)


# --- streams


async def open_stream(access: Access) -> trio.abc.Stream:
    """A stream to the server, with TLS if that is from the first octet. Raises as `Access.connect`."""
    context = tls_context(access.ca) if access.security is not Security.NONE else None
    port = access.port or _PORTS[access.security]
    try:
        with trio.fail_after(_CONNECT):
            stream = await trio.open_tcp_stream(access.host, port)
    except trio.TooSlowError:
        raise Fallen(Unavailable(f"{access.host} does not answer on port {port}")) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise Fallen(Unavailable(f"cannot connect to {access.host} on port {port}: {reason}")) from None
    if context is None:
        peer = stream.socket.getpeername()[0]
        if not ipaddress.ip_address(peer.partition("%")[0]).is_loopback:
            await trio.aclose_forcefully(stream)
            raise Refused(
                f"{access.host} is another machine: without TLS anybody between reads the password",
                hint="use TLS or STARTTLS, or make a tunnel and give localhost",
            )
        return stream
    if access.security is Security.TLS:
        return await _wrapped(stream, context, access.host)
    return stream


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Verifies the certificate and the name in it. Raises BadConfiguration."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or "there is no certificate in it"
        raise BadConfiguration(f"cannot use {ca}: {reason}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8314 §4.1, RFC 8996
    return context


async def _wrapped(stream: trio.abc.Stream, context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    # https_compatible: many servers hang up without saying so in TLS; IMAP's own answers tell where all ends.
    wrapped = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        with trio.fail_after(_CONNECT):
            await wrapped.do_handshake()
    except trio.TooSlowError:
        await trio.aclose_forcefully(stream)
        raise Fallen(Unavailable(f"{host} does not answer to TLS")) from None
    except trio.BrokenResourceError as broken:
        await trio.aclose_forcefully(stream)
        cause = broken.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Unreadable(
                f"the certificate of {host} cannot be trusted: {cause.verify_message}",
                hint="give the name that is in it, or with --ca a file of the certificates to trust",
            ) from None
        # Python 3.11.2, which is Debian 12's, calls an end of the stream a proper end of TLS.
        hangs_up = isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if isinstance(cause, ssl.SSLError) and not hangs_up:
            reason = (cause.reason or "").replace("_", " ").lower() or "it speaks something else"
            raise Unreadable(f"no TLS with {host}: {reason}") from None
        raise Fallen(Unavailable(f"{host} hangs up while TLS begins")) from None
    return wrapped
