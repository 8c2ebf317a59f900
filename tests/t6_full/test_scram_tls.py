"""SCRAM-SHA-256-PLUS over real TLS: a proof holds for one certificate, and nobody is talked out of it."""

import hashlib
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.helpers.certificates import certificate
from tests.helpers.scram_client import ImapConnection, Refused, ScramClient
from tests.helpers.server import ADDRESS, Server, create_account, serving
from tests.helpers.tls_between import between, tls_client
from tests.t6_full.test_scram import app_password

BOUND = "p=tls-server-end-point,,"


@dataclass(frozen=True)
class Setting:
    server: Server
    secret: str
    folder: Path  # "cert" is the server's certificate, "other" that of somebody else


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("tls")
    create_account(folder / "data")
    certificate(folder, "rsa")  # signed with SHA-256
    certificate(folder, "rsa", name="other")
    with serving(folder / "data", certificate=folder / "cert.pem") as server:
        yield Setting(server, app_password(folder / "data", "phone"), folder)


def secured(sock: socket.socket) -> tuple[ssl.SSLSocket, bytes]:
    """TLS as a client that trusts anybody, and tls-server-end-point as it sees it (RFC 5929 §4.1)."""
    wrapped = tls_client().wrap_socket(sock)
    seen = wrapped.getpeercert(binary_form=True)
    assert seen is not None
    return wrapped, hashlib.sha256(seen).digest()


def connect(port: int) -> tuple[ImapConnection, bytes, bytes]:
    """A connection in TLS, its channel binding and its greeting."""
    sock, binding = secured(socket.create_connection(("127.0.0.1", port), 60))
    connection = ImapConnection(sock)
    return connection, binding, connection.line()


def bound(setting: Setting, binding: bytes) -> ScramClient:
    return ScramClient(ADDRESS, setting.secret, header=BOUND, binding=binding)


def test_bound_to_the_certificate(setting: Setting) -> None:
    connection, binding, greeting = connect(setting.server.tls_port)
    assert b" AUTH=SCRAM-SHA-256-PLUS " in greeting
    connection.authenticate(bound(setting, binding), "SCRAM-SHA-256-PLUS")
    assert connection.command(b"SELECT INBOX")[-1].startswith(b"t OK")
    connection.close()


def test_bound_after_starttls(setting: Setting) -> None:
    connection = ImapConnection(socket.create_connection(("127.0.0.1", setting.server.imap_port), 60))
    assert b"PLUS" not in connection.line()
    assert connection.command(b"STARTTLS")[-1].startswith(b"t OK")
    sock, binding = secured(connection.sock)
    connection.stream.close()
    connection = ImapConnection(sock)
    assert b" AUTH=SCRAM-SHA-256-PLUS " in connection.command(b"CAPABILITY")[0]
    connection.authenticate(bound(setting, binding), "SCRAM-SHA-256-PLUS")
    connection.close()


def test_without_a_binding_for_who_knows_none(setting: Setting) -> None:
    connection, _, _ = connect(setting.server.tls_port)
    connection.authenticate(ScramClient(ADDRESS, setting.secret), "SCRAM-SHA-256")
    connection.close()


def test_a_certificate_that_is_signed_otherwise(tmp_path: Path) -> None:
    """The hash is that of the certificate's signature: SHA-384 here."""
    create_account(tmp_path / "data")
    made = certificate(tmp_path, "ecdsa")
    secret = app_password(tmp_path / "data", "phone")
    with serving(tmp_path / "data", certificate=tmp_path / "cert.pem") as server:
        connection, _, _ = connect(server.tls_port)
        binding = hashlib.sha384(made.public_bytes(Encoding.DER)).digest()
        scram = ScramClient(ADDRESS, secret, header=BOUND, binding=binding)
        connection.authenticate(scram, "SCRAM-SHA-256-PLUS")
        connection.close()


# --- somebody between, with a certificate that the client takes for good


def test_between_with_another_certificate(setting: Setting) -> None:
    other = setting.folder / "other.pem"
    with between(setting.server.tls_port, other, other.with_suffix(".key")) as port:
        connection, binding, greeting = connect(port)
        assert b" AUTH=SCRAM-SHA-256-PLUS " in greeting
        with pytest.raises(
            Refused, match=re.escape("[AUTHENTICATIONFAILED] The channel binding does not match")
        ):
            connection.authenticate(bound(setting, binding), "SCRAM-SHA-256-PLUS")
        connection.close()
    assert "login failed from 127.0.0.1: The channel binding does not match" in setting.server.log.read_text()


def test_between_hiding_plus(setting: Setting) -> None:
    """A client that can bind, and is told that this server cannot, says so."""

    def hide(line: bytes) -> bytes:
        return line.replace(b" AUTH=SCRAM-SHA-256-PLUS", b"")

    other = setting.folder / "other.pem"
    with between(setting.server.tls_port, other, other.with_suffix(".key"), hide) as port:
        connection, _, greeting = connect(port)
        assert b" AUTH=SCRAM-SHA-256 " in greeting and b"PLUS" not in greeting
        with pytest.raises(
            Refused, match=re.escape("[AUTHENTICATIONFAILED] Channel binding is offered here")
        ):
            connection.authenticate(ScramClient(ADDRESS, setting.secret, header="y,,"), "SCRAM-SHA-256")
        connection.close()


def test_between_is_only_found_by_who_binds(setting: Setting) -> None:
    """That the tests above see what binding does: without it, somebody between gets in with the client."""
    other = setting.folder / "other.pem"
    with between(setting.server.tls_port, other, other.with_suffix(".key")) as port:
        connection, _, _ = connect(port)
        connection.authenticate(ScramClient(ADDRESS, setting.secret), "SCRAM-SHA-256")
        connection.close()


@pytest.mark.clients
def test_mbsync_in_tls(setting: Setting, tmp_path: Path) -> None:
    mbsync = shutil.which("mbsync")
    if mbsync is None or not list(Path("/usr/lib").glob("*/sasl2/libscram.so")):
        pytest.skip("mbsync, or its plugin for SCRAM (libsasl2-modules), is not installed")
    maildir = tmp_path / "Maildir"
    maildir.mkdir()
    (tmp_path / "password").write_text(setting.secret)
    config = tmp_path / "mbsyncrc"
    config.write_text(
        f"IMAPStore server\nHost localhost\nPort {setting.server.tls_port}\nUser {ADDRESS}\n"
        f'PassCmd "cat {tmp_path / "password"}"\nSSLType IMAPS\n'
        f"CertificateFile {setting.folder / 'cert.pem'}\nAuthMechs SCRAM-SHA-256\n\n"
        f"MaildirStore local\nPath {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\n"
        f"Channel all\nFar :server:\nNear :local:\nPatterns *\nCreate Near\nSyncState {maildir}/.state-\n"
    )
    done = subprocess.run([mbsync, "-c", str(config), "all"], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert (maildir / "INBOX").is_dir()
