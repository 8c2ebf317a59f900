"""One request, one answer, one connection, and what went wrong in plain words.

Libraries tell "could not connect" for a name that is misspelt, a port that is closed and a certificate that
nobody knows. Whoever sets up a store needs to know which.
"""

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from aerogramme.errors import BadConfiguration
from aerogramme.store.check_steps import CheckFailed
from aerogramme.store.place import Place

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
BODY_MAX = 1 << 20  # of an answer; what a check asks for is far smaller

# X509_V_ERR_… of OpenSSL
_SELF_SIGNED, _SELF_SIGNED_CHAIN, _EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 18, 19, 10, 9, 62, 64
_UNKNOWN_CA = (2, 20, 21, _SELF_SIGNED, _SELF_SIGNED_CHAIN)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    issuer: str = ""  # who signed the certificate; empty over plain HTTP, or when it is not looked at

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def exchange(
    url: str,
    place: Place,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Sends a request and reads the answer, whatever its status. The place says whose certificates are right.
    Raises CheckFailed when there is no answer, and BadConfiguration."""
    split = urlsplit(url)
    with closing(_connected(split, place)) as connection:
        where = split.netloc
        path = split.path + (f"?{split.query}" if split.query else "")
        try:
            connection.sock.settimeout(ANSWER_SECONDS)
            connection.request(method, path or "/", body=body or None, headers={**(headers or {})})
            response = connection.getresponse()
            read = response.read(BODY_MAX)
        except TimeoutError:
            raise CheckFailed(
                f"{where} takes the connection and does not answer", hint="look at its log and its load"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise CheckFailed(
                f"{where} does not answer as HTTP does: {_words(error)}", hint=_other_scheme(split)
            ) from error
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, read, _issuer(connection.sock))


def _connected(split: SplitResult, place: Place) -> http.client.HTTPConnection:
    host, secure = split.hostname or "", split.scheme == "https"
    port = split.port or (443 if secure else 80)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise CheckFailed(
            f"the name {host} has no address: {_words(error)}",
            hint="look for a slip of the pen in the URL, or ask the DNS server (/etc/resolv.conf)",
        ) from error
    connection = http.client.HTTPConnection(host, port)
    try:
        connection.sock = socket.create_connection((host, port), CONNECT_SECONDS)
    except ConnectionRefusedError:
        raise CheckFailed(
            f"nobody listens on {where}", hint="is the service running, and is this the port in its settings?"
        ) from None
    except OSError as error:
        raise CheckFailed(
            f"{where} cannot be reached: {_words(error)}", hint="look at network and firewall"
        ) from error
    if secure:
        try:
            connection.sock = place.tls().wrap_socket(connection.sock, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise _distrusted(error, host, place) from error
        except OSError as error:  # ssl.SSLError is one
            connection.close()
            raise CheckFailed(
                f"{where} does not speak TLS: {_words(error)}",
                hint=_other_scheme(split),
                exit_code=BadConfiguration.exit_code,
            ) from error
        except BaseException:
            connection.close()
            raise
    return connection


def _distrusted(error: ssl.SSLCertVerificationError, host: str, place: Place) -> CheckFailed:
    code = error.verify_code
    if code in _UNKNOWN_CA:
        how = "signed by itself" if code == _SELF_SIGNED else "not signed by anyone known here"
        ours = f"the system's authorities{f' and {place.ca}' if place.ca else ''}"
        text = f"the certificate of {host} is {how}; {ours} do not vouch for it"
        hint = "put ca=/path/of/its/authority.pem into the URL (or verify=no, and know what that means)"
    elif code in (_WRONG_NAME, _WRONG_ADDRESS):
        text = f"the certificate is not for {host}"
        hint = "use the name that is in the certificate, or have one made for this name"
    elif code in (_EXPIRED, _NOT_YET):
        text = f"the certificate of {host} has {'expired' if code == _EXPIRED else 'not begun to be valid'}"
        hint = "renew it; if it is fresh, look at this machine's clock"
    else:
        text, hint = f"the certificate of {host} is not accepted: {error.verify_message}", ""
    return CheckFailed(text, hint=hint, exit_code=BadConfiguration.exit_code)


def _issuer(sock: socket.socket) -> str:
    if not isinstance(sock, ssl.SSLSocket):
        return ""
    issuer: Any = (sock.getpeercert() or {}).get("issuer", ())  # a tuple of tuples of pairs
    names = dict(pair for part in issuer for pair in part)
    return str(names.get("commonName") or names.get("organizationName", ""))


def _other_scheme(split: SplitResult) -> str:
    other = "http" if split.scheme == "https" else "https"
    return f"perhaps {other}:// was meant, or another port"


def _words(error: BaseException) -> str:
    """What an error of the system says, without its number; of one that says nothing its name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"^\[[^\]]*\] ?|\s*\(_ssl\.c:\d+\)$", "", str(text))
