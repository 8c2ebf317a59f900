"""Lists of users as other servers have them.

    passwd   Dovecot's passwd-file: user:password:uid:gid:gecos:home:shell:extra fields
    csv      address,password,aliases,quota in any order, as the first line says; without such a line the
             first two; aliases with spaces between them
    names    a name a line, as `doveadm user '*'` prints them

Theory of operation. A list is somebody else's, and long. What is wrong with one line is told with its number,
and the others count. Nothing of a password is told.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from aerogramme.errors import Refused, Unreadable
from aerogramme.mailbox.policy import parse_quota
from aerogramme.migrate.users.hashes import DEFAULT_SCHEME, parse_hash
from aerogramme.seal.hashes import PasswordHash
from aerogramme.users.directory import canonical
from aerogramme.users.static import check_address

Form = Literal["passwd", "csv", "names"]

COLUMNS: Final = ("address", "password", "aliases", "quota")


@dataclass(frozen=True, slots=True)
class Entry:
    """One user. `hashed` is None where no password can be checked here, and `why` says why; `quota` in
    octets, 0 for none, None for what is configured."""

    line: int
    address: str
    hashed: PasswordHash | None = field(default=None, repr=False)
    why: str = ""
    aliases: tuple[str, ...] = ()
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that does not count, or not as a whole."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says."""

    entries: tuple[Entry, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Raw:
    """A line, taken apart."""

    line: int
    name: str
    password: str | None = None
    aliases: str = ""
    quota: str = ""
    why: str = ""  # no password counts, whatever stands there
    storage: int | None = None  # the quota, in octets already


def read_list(
    text: str, form: Form | None = None, *, scheme: str = DEFAULT_SCHEME, domain: str = ""
) -> Listed:
    """The users of a list. `form`: None to see by itself; `scheme`: of passwords that name none; `domain`:
    of names that have none. Raises Unreadable where the list as a whole is none."""
    lines = text.removeprefix("\ufeff").split("\n")
    numbered = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1)]
    readers = {"passwd": _passwd, "csv": _csv, "names": _names}
    entries: list[Entry] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for raw in readers[form or _form(numbered)](numbered):
        if isinstance(raw, Fault):
            faults.append(raw)
            continue
        try:
            address = _address(raw.name, domain)
            aliases = tuple(_address(alias, domain) for alias in raw.aliases.split())
            quota = raw.storage if not raw.quota else parse_quota(_number(raw.quota)) or 0
        except ValueError as error:
            faults.append(Fault(raw.line, str(error)))
            continue
        before = seen.setdefault(canonical(address), raw.line)
        if before != raw.line:
            faults.append(Fault(raw.line, f"{address} stands in line {before} already, and that one counts"))
            continue
        hashed, why = _hashed(raw, scheme)
        entries.append(Entry(raw.line, address, hashed, why, aliases, quota))
    return Listed(tuple(entries), tuple(faults))


def _form(lines: Sequence[tuple[int, str]]) -> Form:
    said = [line for _, line in lines if line.strip() and not line.startswith("#")]
    if said and re.match(r"[^:]*,", said[0]):
        return "csv"
    return "passwd" if any(":" in line for line in said) else "names"


def _address(name: str, domain: str) -> str:
    """Raises ValueError for what is no address; what may be a line of another form is not shown."""
    if re.search(r"[\s:,;{}$]", name):
        raise ValueError("this is no address")
    address = name if "@" in name or not domain else f"{name}@{domain}"
    if "@" not in address:
        raise ValueError(f"{address!r} has no domain: say which, with --domain")
    check_address(address)
    return address


def _hashed(raw: _Raw, scheme: str) -> tuple[PasswordHash | None, str]:
    if raw.why:
        return None, raw.why
    if raw.password is None:
        return None, "the list has no password"
    try:
        return parse_hash(raw.password, scheme), ""
    except Refused as error:
        return None, str(error)


def _number(text: str) -> str | int:
    return int(text) if text.isascii() and text.isdecimal() else text


# --- the forms --------------------------------------------------------------------------------------------


def _names(lines: Sequence[tuple[int, str]]) -> Iterator[_Raw | Fault]:
    for number, line in lines:
        name = line.strip()
        if name and not name.startswith("#"):
            yield _Raw(number, name)


def _passwd(lines: Sequence[tuple[int, str]]) -> Iterator[_Raw | Fault]:
    """As Dovecot reads it: a line that begins with a colon has no user, and extra fields have colons."""
    for number, line in lines:
        if not line or line[0] in ":#":
            continue
        fields = line.split(":", 7)
        extra = _extra(fields[7]) if len(fields) > 7 else {}
        why = ""
        if _is_set(extra, "nologin") or _is_set(extra, "deny"):
            why = "nobody may log in as this user (nologin)"
        elif _is_set(extra, "nopassword"):
            why = "any password is right there (nopassword)"
        password = _bracketed(fields[1]) if len(fields) > 1 and fields[1] else None
        yield _Raw(number, fields[0], password, why=why, storage=_storage(extra))


def _bracketed(password: str) -> str:
    """What libpam-pwdfile writes behind passwords: [13] for DES, [34] for MD5, and [56] once of Dovecot."""
    match = re.fullmatch(r"([^{$].*)\[([0-9]{2})\]", password)
    if match is None:
        return password
    scheme = {"34": "PLAIN-MD5", "56": "DIGEST-MD5"}.get(match[2], "CRYPT")
    return f"{{{scheme}}}{match[1]}"


def _extra(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in text.split())
    return {key: value if equals else "yes" for key, equals, value in pairs}


def _is_set(extra: Mapping[str, str], key: str) -> bool:
    return extra.get(key, "no")[:1].lower() in ("y", "1", "t")


def _storage(extra: Mapping[str, str]) -> int | None:
    """The limit of a quota_rule for all mailboxes, or of Dovecot 2.4's setting; None for rules of other
    kinds."""
    if "userdb_quota_storage_size" in extra:
        return _size(extra["userdb_quota_storage_size"], "B")
    mailboxes, _, limits = extra.get("userdb_quota_rule", "").partition(":")
    if mailboxes == "*":
        for limit in limits.split(":"):
            name, _, size = limit.partition("=")
            if name in ("storage", "bytes"):
                return _size(size, "K" if name == "storage" else "B")
    return None


def _size(text: str, unit: str) -> int | None:
    """A size as Dovecot writes it, in octets: powers of 1024, `unit` where there is none."""
    match = re.fullmatch("([0-9]{1,15})([bkmgtBKMGT]?)(?:i?B)?", text)
    if match is None:
        return None
    exponent = "BKMGT".index((match[2] or unit).upper())
    return int(match[1]) << 10 * exponent


def _csv(lines: Sequence[tuple[int, str]]) -> Iterator[_Raw | Fault]:
    columns: Sequence[str] = COLUMNS[:2]
    first = True
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        try:
            [fields] = csv.reader([line], skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            yield Fault(number, "this is no line of CSV")
            continue
        if first and "@" not in line and "address" in (words := [each.strip().lower() for each in fields]):
            if unknown := [word for word in words if word not in COLUMNS]:
                raise Unreadable(f"unknown column {unknown[0]!r}", hint=f"columns are {', '.join(COLUMNS)}")
            columns, first = words, False
            continue
        first = False
        if len(fields) > len(columns):
            yield Fault(number, f"there are more fields than columns ({', '.join(columns)})")
            continue
        found = dict(zip(columns, fields, strict=False))
        yield _Raw(
            number,
            found["address"].strip() if "address" in found else "",
            found.get("password") or None,
            found.get("aliases", ""),
            found.get("quota", "").strip(),
        )
