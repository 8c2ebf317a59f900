"""The server's certificate, read again when its files change: renewing it needs no restart."""

import logging
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

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
            pem, _ = self._certificate.read_bytes(), self._key.read_bytes()  # says which of them is missing
            # A key that is locked with a password would be asked for on the terminal: it is refused.
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
            endpoint = _endpoint(pem)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or getattr(error, "reason", None) or str(error)
            where = error.filename or f"{self._certificate} and {self._key}"
            raise BadConfiguration(f"cannot use {where}: {reason}", hint=_HINT) from None
        except ValueError as error:
            raise BadConfiguration(f"cannot use {self._certificate}: {error}", hint=_HINT) from None
        return context, endpoint


_HINT = "tls.certificate takes the certificate with its chain, tls.key its key without a password, both PEM"


def _no_password() -> str:
    raise ValueError("the key is locked with a password")


def _endpoint(pem: bytes) -> bytes | None:
    """tls-server-end-point, RFC 5929 §4.1: the hash of the certificate by the hash function of its signature,
    and SHA-256 in place of MD5 and SHA-1. Not defined for signatures that use no single hash function, as
    Ed25519."""
    certificate = x509.load_pem_x509_certificate(pem)
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
