"""curl, mbsync, openssl and Python's imaplib over TLS, with a certificate that they check."""

import imaplib
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.certificates import certificate
from tests.helpers.server import ADDRESS, PASSWORD, Server, create_account, serving
from tests.t6_full.test_clients import deliver, needs, run


@dataclass(frozen=True)
class Setting:
    server: Server
    folder: Path
    authority: Path  # the certificate, which a client that trusts it accepts

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("tls")
    create_account(folder / "data")
    certificate(folder)
    with serving(folder / "data", certificate=folder / "cert.pem") as server:
        deliver(server, 3)
        yield Setting(server, folder, folder / "cert.pem")


@pytest.mark.clients
@pytest.mark.parametrize("how", ["imaps", "starttls"])
def test_curl(setting: Setting, how: str) -> None:
    server = setting.server
    url = f"imaps://127.0.0.1:{server.tls_port}" if how == "imaps" else f"imap://127.0.0.1:{server.imap_port}"
    got = run(
        needs("curl"), "-sS", "--ssl-reqd", "--cacert", str(setting.authority), "-K", "-",
        f"{url}/INBOX;MAILINDEX=2", stdin=f'user = "{ADDRESS}:{PASSWORD}"\n',
    )  # fmt: skip
    assert "Subject: Lunch 1\r\n" in got


@pytest.mark.clients
@pytest.mark.parametrize("kind", ["IMAPS", "STARTTLS"])
def test_mbsync(setting: Setting, tmp_path: Path, kind: str) -> None:
    mbsync = needs("mbsync")
    port = setting.server.tls_port if kind == "IMAPS" else setting.server.imap_port
    (tmp_path / "password").write_text(PASSWORD)
    maildir = tmp_path / "Maildir"
    maildir.mkdir()
    config = tmp_path / "mbsyncrc"
    config.write_text(
        f"IMAPStore server\nHost localhost\nPort {port}\nUser {ADDRESS}\n"
        f'PassCmd "cat {tmp_path / "password"}"\nSSLType {kind}\nCertificateFile {setting.authority}\n'
        f"AuthMechs PLAIN LOGIN\n\nMaildirStore local\nPath {maildir}/\nInbox {maildir}/INBOX\n\n"
        "Channel all\nFar :server:\nNear :local:\nSync Pull\nCreate Near\nSyncState *\n"
    )
    run(mbsync, "-c", str(config), "all")
    assert len([file for folder in ("new", "cur") for file in (maildir / "INBOX" / folder).iterdir()]) == 3


@pytest.mark.clients
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("how", ["imaps", "starttls"])
def test_openssl(setting: Setting, how: str, version: str) -> None:
    server = setting.server
    where = (
        ["-connect", f"localhost:{server.tls_port}"]
        if how == "imaps"
        else ["-connect", f"localhost:{server.imap_port}", "-starttls", "imap"]
    )
    got = run(
        needs("openssl"), "s_client", *where, version, "-CAfile", str(setting.authority),
        "-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-crlf",
        stdin="a CAPABILITY\nb LOGOUT\n",
    )  # fmt: skip
    assert "a OK " in got and "AUTH=SCRAM-SHA-256-PLUS" in got and "b OK " in got


@pytest.mark.parametrize("how", ["imaps", "starttls"])
def test_imaplib(setting: Setting, how: str) -> None:
    server = setting.server
    if how == "imaps":
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL(
            "localhost", server.tls_port, ssl_context=setting.context(), timeout=120
        )
    else:
        client = imaplib.IMAP4("localhost", server.imap_port, timeout=120)
        assert client.starttls(setting.context())[0] == "OK"
    client.login(ADDRESS, PASSWORD)
    large = (
        b"Subject: large\r\n\r\n" + b"All the world's a stage, and all the men and women merely.\r\n" * 50_000
    )
    assert client.append("Archive", "", imaplib.Time2Internaldate(0), large)[0] == "OK"
    client.select("Archive")
    _, fetched = client.fetch("*", "(BODY.PEEK[])")
    assert isinstance(fetched[0], tuple) and fetched[0][1] == large, "many records each way"
    client.logout()


def test_an_old_version_is_refused(setting: Setting) -> None:
    context = setting.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", setting.server.tls_port), 60) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


def test_peers_that_break_off(setting: Setting) -> None:
    """Garbage, an end or a reset amid the handshake, a reset amid a large answer: nobody else notices."""
    port = setting.server.tls_port
    for start in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b""):
        for linger in (None, struct.pack("ii", 1, 0)):  # an end; a reset
            with socket.create_connection(("127.0.0.1", port), 60) as plain:
                plain.sendall(start)
                if linger:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    with socket.create_connection(("127.0.0.1", port), 60) as plain:
        secured = setting.context().wrap_socket(plain, server_hostname="localhost")
        secured.sendall(
            b"a LOGIN %b {%d+}\r\n" % (ADDRESS.encode(), len(PASSWORD)) + PASSWORD.encode() + b"\r\n"
        )
        secured.sendall(b"b SELECT INBOX\r\n" + b"c FETCH 1:* BODY[]\r\n" * 1000)
        assert secured.recv(10).startswith(b"* OK")
        secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        secured.close()
    client = imaplib.IMAP4_SSL("localhost", port, ssl_context=setting.context(), timeout=120)
    client.login(ADDRESS, PASSWORD)
    client.logout()
    assert (
        "Traceback" not in setting.server.log.read_text() and "failed" not in setting.server.log.read_text()
    )
