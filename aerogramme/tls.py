"""The server's certificate, read again when its files change: renewing it needs no restart."""

import logging
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from aerogramme.errors import BadConfiguration

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Tls:
    """A certificate with its chain, and its key: PEM files, which may be one.

    `endpoint` is the channel binding of connections that begin now, None where it is not defined.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises BadConfiguration when the files cannot be used."""
        self._certificate, self._key = certificate, key
        self._tried = self._stamp()
        self._context, self.endpoint = self._load()

    def context(self) -> ssl.SSLContext:
        """For a connection that begins now. New files that cannot be used are told to the log, once, and the
        certificate that was there before stays in use."""
        stamp = self._stamp()
        if stamp != self._tried:
            self._tried = stamp
            try:
                self._context, self.endpoint = self._load()
            except BadConfiguration as error:
                log.error("the certificate before stays in use: %s", error)
            else:
                log.info("the certificate %s was read anew", self._certificate)
        return self._context

    def _stamp(self) -> _Stamp | None:
        """What tells that the files were changed; None while one is not there."""
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError:
            return None
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _load(self) -> tuple[ssl.SSLContext, bytes | None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8314 §4.1, RFC 8996
        try:
            certificate = _certificate(self._certificate)
            _check_key(self._key, certificate)
            # Without a password OpenSSL would ask for one on the terminal, were the key replaced just now.
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:  # ssl.SSLError is one
            where = error.filename or f"{self._certificate} and {self._key}"
            raise BadConfiguration(f"cannot use {where}: {error.strerror or error}", hint=_HINT) from None
        return context, _endpoint(certificate)


_HINT = "tls.certificate takes the certificate with its chain, tls.key its key without a password, both PEM"


def _certificate(path: Path) -> x509.Certificate:
    """The first of a file: the server's own. Raises BadConfiguration, OSError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise BadConfiguration(f"cannot use {path}: there is no certificate in it", hint=_HINT) from None


def _check_key(path: Path, certificate: x509.Certificate) -> None:
    """OpenSSL would say no more than "PEM lib". Raises BadConfiguration, OSError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
        if key.public_key() == certificate.public_key():
            return
        reason = "it is not the key of the certificate"
    except TypeError:
        reason = "the key is locked with a password"
    except (ValueError, UnsupportedAlgorithm):
        reason = "there is no key in it"
    raise BadConfiguration(f"cannot use {path}: {reason}", hint=_HINT)


def _endpoint(certificate: x509.Certificate) -> bytes | None:
    """tls-server-end-point, RFC 5929 §4.1: the hash of the certificate by the hash function of its signature,
    and SHA-256 in place of MD5 and SHA-1. Not defined for signatures that use no single hash function, as
    Ed25519."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate.public_bytes(Encoding.DER))
    return digest.finalize()
