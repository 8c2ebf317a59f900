"""The settings of a server: read from aerogramme.toml, or made from a data folder alone.

A setting has one line in `_KEYS`: its name in the file, the field of `Config` it fills, and how its value is
checked. A name that is not there is an error: a setting with a slip of the pen must not silently do nothing.
docs/configuration.md explains each one, and a test holds the two together.
"""

import difflib
import re
import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aerogramme.errors import BadConfiguration
from aerogramme.mailbox.policy import RETENTION, Policy, parse_quota, parse_retention
from aerogramme.units import parse_size

# The stores are imported when they are opened: who only wants the settings need not wait for that.
if TYPE_CHECKING:
    from aerogramme.store import Stores
    from aerogramme.tls import Tls

# Others: Gmail takes 25 MB before encoding, Postfix 10 MB unless told, Exchange Online up to 150 MB. Base64
# adds a third, so 50 MiB passes an attachment of 37 MB.
DEFAULT_MESSAGE_SIZE = 50 * 1024**2
# Every message is rendered whole in memory when it is drained, so there is an end to it; seal/ opens 256 MiB.
LARGEST_MESSAGE_SIZE = 240 * 1024**2
# Some 50,000 mails, and a small part of any disk.
DEFAULT_CACHE_SIZE = 1024**3
LEAST_CACHE_SIZE = 16 * 1024**2

OVER_QUOTA = ("refuse", "defer")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class TcpAddress:
    """A host (name or address; empty for all addresses of the machine) and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host or '*'}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings. Paths are absolute, sizes in bytes, times in seconds."""

    data: Path
    store: str
    cache: Path
    cache_size: int = DEFAULT_CACHE_SIZE
    hostname: str = field(default_factory=socket.gethostname)
    log_level: str = "info"
    imap_listen: tuple[Address, ...] = (TcpAddress("127.0.0.1", 1143),)
    imap_tls_listen: tuple[Address, ...] = ()
    imap_plaintext_login: bool = False
    imap_scram: bool = True
    lmtp_listen: tuple[Address, ...] = (TcpAddress("127.0.0.1", 1024),)
    lmtp_socket_mode: int = 0o660
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    users_file: Path
    detail_separator: str = "+"
    login_domain: str = ""
    linger: float = 60.0
    deleted_retention: float = 30 * 86400.0
    retention: int = RETENTION
    quota: int | None = None
    over_quota: str = OVER_QUOTA[0]
    max_message_size: int = DEFAULT_MESSAGE_SIZE
    max_recipients: int = 100
    max_imap_connections: int = 1000
    max_imap_connections_per_user: int = 50
    max_imap_connections_before_login: int = 50
    max_lmtp_connections: int = 100

    @property
    def policy(self) -> Policy:
        """What holds for accounts of which the users file says nothing else."""
        return Policy(self.retention, self.quota)

    def open_tls(self) -> "Tls | None":
        """The certificate of this server, if it has one. Raises BadConfiguration."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        from aerogramme.tls import Tls

        return Tls(self.tls_certificate, self.tls_key)

    def open_stores(self) -> "Stores":
        """The stores of all accounts. Nothing is touched yet."""
        from aerogramme.store import open_stores
        from aerogramme.store.cache import Cache

        cache = Cache(self.cache, self.cache_size) if self.cache_size else None
        return open_stores(self.store, cache=cache)

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Reads a TOML file. Relative paths in it start at its own folder. Raises BadConfiguration."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadConfiguration(f"{path} is not UTF-8 text") from error
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise BadConfiguration(f"{path}: {error}") from error
        try:
            return cls.from_table(table, path.absolute().parent)
        except BadConfiguration as error:
            raise BadConfiguration(f"{path}: {error}", hint=error.hint) from None

    @classmethod
    def from_table(cls, table: Mapping[str, Any], base: Path) -> "Config":
        """Makes a Config of what a TOML file held; `base` is the folder that relative paths start at."""
        values: dict[str, Any] = {}
        for name, value in _flat(table):
            key = _KEYS.get(name)
            if key is None:
                raise BadConfiguration(f"unknown setting {name}", hint=_guess(name))
            try:
                values[key.field] = key.check(value, base)
            except ValueError as error:
                raise BadConfiguration(f"{name}: {error}") from None
            except BadConfiguration as error:
                raise BadConfiguration(f"{name}: {error}", hint=error.hint) from None
        if "data" not in values:
            raise BadConfiguration(
                "the setting data is missing", hint='add a line such as data = "/var/lib/aerogramme"'
            )
        values.setdefault("store", f"sqlite:{values['data'] / 'accounts'}")
        values.setdefault("cache", values["data"] / "cache")
        values.setdefault("users_file", values["data"] / "users.toml")
        if "tls_certificate" in values:
            values.setdefault("tls_key", values["tls_certificate"])
        elif "tls_key" in values or values.get("imap_tls_listen"):
            raise BadConfiguration(
                "there is no certificate for TLS", hint='add [tls] with certificate = "…" and key = "…"'
            )
        return cls(**values)

    @classmethod
    def for_data(cls, data: Path, *, store: str | None = None) -> "Config":
        """The settings for a data folder alone; `store` as `url` in the file (None: default)."""
        table: dict[str, Any] = {"data": str(data.absolute())}
        if store is not None:
            table["store"] = {"url": store}
        return cls.from_table(table, Path.cwd())

    def listening(self, imap: Sequence[str], lmtp: Sequence[str]) -> "Config":
        """The same, listening on these addresses (as in the file) and no others. Raises BadConfiguration."""
        try:
            here = Path.cwd()
            return replace(
                self,
                imap_listen=_listen(list(imap), here),
                imap_tls_listen=(),
                lmtp_listen=_listen(list(lmtp), here),
            )
        except ValueError as error:
            raise BadConfiguration(str(error)) from None


def parse_address(text: str, base: Path) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT`, `*:PORT`, or a path (anything with a slash). Raises ValueError."""
    if "/" in text:
        path = base / text
        # sun_path of sockaddr_un holds 108 bytes with its zero on Linux.
        if len(bytes(path)) > 107:
            raise ValueError(f"the path of a socket has at most 107 bytes: {path}")
        return UnixAddress(path)
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^\s:\[\]]*)):(?P<port>[0-9]{1,5})", text, re.ASCII
    )
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"not HOST:PORT or a path: {text!r}")
    host = match["v6"] or match["host"]
    return TcpAddress("" if host == "*" else host, int(match["port"]))


def _message_size(value: object, _base: Path) -> int:
    size = parse_size(value)
    if not 1 <= size <= LARGEST_MESSAGE_SIZE:
        raise ValueError("a message size is at least 1 byte and at most 240 MiB")
    return size


def _cache_size(value: object, _base: Path) -> int:
    size = parse_size(value)
    if size and size < LEAST_CACHE_SIZE:
        raise ValueError("a cache has at least 16 MiB, or 0 for none")
    return size


def _text(value: object, _base: Path) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("a text in quotes is wanted")
    return value


def _path(value: object, base: Path) -> Path:
    return base / _text(value, base)


def _store(value: object, base: Path) -> str:
    """Where accounts are, as `store.open_stores` takes it; paths absolute."""
    from aerogramme.store.place import Place

    text = _text(value, base)
    place = Place.parse(text)
    if place.folder is not None:
        return f"sqlite:{base / place.folder}"
    if place.ca is not None and not place.ca.is_absolute():
        raise ValueError("ca= takes an absolute path")
    return text


def _hostname(value: object, base: Path) -> str:
    name = _text(value, base)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", name, re.ASCII):
        raise ValueError(f"not a host name: {name!r}")
    return name


def _one_of(words: Sequence[str]) -> "Check":
    def check(value: object, _base: Path) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"one of {', '.join(words)} is wanted")
        return value

    return check


def _listen(value: object, base: Path) -> tuple[Address, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("a list of addresses is wanted")
    return tuple(parse_address(item, base) for item in items)


def _boolean(value: object, _base: Path) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def _separator(value: object, _base: Path) -> str:
    # RFC 5233 §4 leaves the choice to the site; these are atext (RFC 5322 §3.2.3) that sites do use.
    if not isinstance(value, str) or value not in ("", "+", "-", "=", "#", "_"):
        raise ValueError('one of "+", "-", "=", "#", "_" is wanted, or "" for none')
    return value


def _domain(value: object, _base: Path) -> str:
    if not isinstance(value, str) or not value.isprintable() or " " in value or "@" in value:
        raise ValueError('a domain is wanted, or "" for none')
    return value


def _whole(smallest: int, largest: int) -> "Check":
    def check(value: object, _base: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            raise ValueError(f"a whole number from {smallest} to {largest} is wanted")
        return value

    return check


def _seconds(value: object, _base: Path) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 86400:
        raise ValueError("a number of seconds from 0 to 86400 is wanted")
    return float(value)


def _days(value: object, _base: Path) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 36500:
        raise ValueError("a number of days from 0 to 36500 is wanted")
    return value * 86400.0


Check = Callable[[object, Path], object]


class _Key(NamedTuple):
    field: str
    check: Check


_KEYS: dict[str, _Key] = {
    "data": _Key("data", _path),
    "store.url": _Key("store", _store),
    "store.cache": _Key("cache", _path),
    "store.cache_size": _Key("cache_size", _cache_size),
    "hostname": _Key("hostname", _hostname),
    "log_level": _Key("log_level", _one_of(LOG_LEVELS)),
    "imap.listen": _Key("imap_listen", _listen),
    "imap.tls_listen": _Key("imap_tls_listen", _listen),
    "imap.plaintext_login": _Key("imap_plaintext_login", _boolean),
    "imap.scram": _Key("imap_scram", _boolean),
    "lmtp.listen": _Key("lmtp_listen", _listen),
    "lmtp.socket_mode": _Key("lmtp_socket_mode", _whole(0, 0o777)),
    "tls.certificate": _Key("tls_certificate", _path),
    "tls.key": _Key("tls_key", _path),
    "users.file": _Key("users_file", _path),
    "users.detail_separator": _Key("detail_separator", _separator),
    "users.login_domain": _Key("login_domain", _domain),
    "accounts.linger": _Key("linger", _seconds),
    "accounts.deleted_retention": _Key("deleted_retention", _days),
    "accounts.retention": _Key("retention", lambda value, _base: parse_retention(value)),
    "accounts.quota": _Key("quota", lambda value, _base: parse_quota(value)),
    "accounts.over_quota": _Key("over_quota", _one_of(OVER_QUOTA)),
    "limits.message_size": _Key("max_message_size", _message_size),
    # RFC 5321 §4.5.3.1.8: a server takes at least 100 recipients.
    "limits.recipients": _Key("max_recipients", _whole(100, 100_000)),
    "limits.imap_connections": _Key("max_imap_connections", _whole(1, 1_000_000)),
    "limits.imap_connections_per_user": _Key("max_imap_connections_per_user", _whole(1, 1_000_000)),
    "limits.imap_connections_before_login": _Key("max_imap_connections_before_login", _whole(1, 1_000_000)),
    "limits.lmtp_connections": _Key("max_lmtp_connections", _whole(1, 1_000_000)),
}
_TABLES = {name.partition(".")[0] for name in _KEYS if "." in name}


def _flat(table: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The settings with their dotted names. A table that is not known counts as an unknown setting."""
    found: list[tuple[str, object]] = []
    for name, value in table.items():
        if name in _TABLES:
            if not isinstance(value, dict):
                raise BadConfiguration(f"{name} is a table: write [{name}] on a line of its own")
            found.extend((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            found.append((name, value))
    return found


def _guess(name: str) -> str:
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, _KEYS, 1) or [
        key for key in _KEYS if key.rpartition(".")[2] == last
    ]
    return f"perhaps {near[0]} was meant" if near else f"the settings are {', '.join(_KEYS)}"
