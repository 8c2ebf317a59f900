"""Users from a TOML file, read again whenever it changes; written by the commands that add and remove them.

    [[user]]
    address = "alice@example.org"
    account = "00112233445566778899aabbccddeeff"
    aliases = ["al@example.org", "postmaster"]     # optional
    catch_all = ["example.org"]                    # optional
    detail = false                                 # optional; true if absent
    pins = ["00112233445566778899aabbccddeeff"]    # optional: keys that letters may be sealed to
    end_to_end = true                              # optional; false if absent: nobody logs in here
    quota = "5G"                                   # optional: a size, or "none"; else as configured
    retention = "30d"                              # optional: a duration; else as configured
    deleted = 2026-11-25T12:00:00Z                 # optional: a tombstone, since then
    erasing = true                                 # only with `deleted`: there is no way back any more

Strict: what is not listed here is an error, never ignored. Comments and layout from a person's hand
survive when a command changes the file.
"""

import fcntl
import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aerogramme.errors import AlreadyExists, BadConfiguration, NoSuchUser
from aerogramme.mailbox.policy import parse_quota, parse_retention, quota_text
from aerogramme.units import duration_text
from aerogramme.users.directory import AddressBook, Recipient, User, canonical

log = logging.getLogger(__name__)

# RFC 5321 §4.5.3.1.3: a path, with its brackets, has at most 256 octets.
ADDRESS_OCTETS = 254

KEYS = {"address", "account", "aliases", "catch_all", "detail", "pins", "end_to_end"}
KEYS |= {"quota", "retention", "deleted", "erasing"}

Signature = tuple[int, ...]


class StaticDirectory:
    """The Directory that a users file holds. A file that is not there holds nobody.

    Raises BadConfiguration when it is made and it is wrong. If the file is wrong or away later, those it
    held last stay, and the log says why: a slip in an editor must not make mail bounce.
    """

    def __init__(self, path: Path, separator: str = "+", login_domain: str = "") -> None:
        self._path = path
        self._separator = separator
        self._login_domain = login_domain
        self._seen = _signature(path)
        self._book = self._load("" if self._seen is None else _read(path))

    def by_address(self, address: str) -> Recipient | None:
        return self._fresh().by_address(address)

    def by_login(self, name: str) -> User | None:
        return self._fresh().by_login(name)

    def login_address(self, name: str) -> str:
        return self._fresh().login_address(name)

    def by_account(self, account: str) -> User | None:
        return self._fresh().by_account(account)

    def owner(self, address: str) -> User | None:
        """Whose address or alias it is, also when that user is deleted."""
        return self._fresh().owner(address)

    def users(self) -> Sequence[User]:
        return self._fresh().users

    def add(self, *users: User) -> None:
        """All or none; durable on return. Raises AlreadyExists if an address or account is somebody's."""

        def append(text: str, book: AddressBook) -> str:
            for user in users:
                for address in (user.address, *user.aliases):
                    if book.owner(address):
                        raise AlreadyExists(f"there is a user with the address {address} already")
                if book.by_account(user.account):
                    raise AlreadyExists(f"there is a user with the account {user.account} already")
            gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
            new = text + gap + "\n".join(text_of(user) for user in users)
            try:
                tomllib.loads(new)
            except tomllib.TOMLDecodeError:
                return _with(text, users)  # it has `user = […]`, which cannot go on at the end of the file
            return new

        self._write(append)

    def change(self, address: str, change: Callable[[User], User]) -> User:
        """Writes the user with this main address anew, as `change` makes it of what the file says now, while
        no other process changes the file. Returns it; durable on return. Raises NoSuchUser, and what `change`
        raises: then nothing is written.
        """
        return self.change_all({address: change})[0]

    def change_all(self, changes: Mapping[str, Callable[[User], User]]) -> list[User]:
        """The same of several users, all or none: main address -> change. They come back in that order."""
        changed: list[User] = []

        def apply(document: Any) -> None:
            places = _places(document)
            for address, change in changes.items():
                place = _place(places, address)
                entry = document["user"][place]
                before = _user(entry.unwrap())
                user = change(before)
                changed.append(user)
                new = _entry(user)
                for key in list(entry):
                    if key not in new:
                        del entry[key]
                for key, value in new.items():
                    # What is the same stays as it was spelled.
                    if key not in entry or getattr(before, key) != getattr(user, key):
                        entry[key] = value

        self._change(apply)
        return changed

    def remove(self, user: User) -> None:
        """Takes out the user with this address and account; durable on return. The account itself is not
        touched. Raises NoSuchUser, also when the address is by now that of another account."""

        def change(document: Any) -> None:
            place = _place(_places(document), user.address)
            if document["user"][place]["account"] != user.account:
                raise NoSuchUser(f"{user.address} has another account by now")
            if len(document["user"]) == 1:
                del document["user"]  # TOML has no empty list of tables
            else:
                del document["user"][place]

        self._change(change)

    def _fresh(self) -> AddressBook:
        # A stat takes 2 µs: less than any way of being told, and right with every editor and file system.
        now = _signature(self._path)
        if now != self._seen:
            self._seen = now
            try:
                self._book = self._load(_read(self._path))
            except BadConfiguration as error:
                log.error("%s; the users that were read before stay", error)
        return self._book

    def _load(self, text: str) -> AddressBook:
        try:
            return AddressBook(parse(text), self._separator, self._login_domain)
        except ValueError as error:
            raise BadConfiguration(f"{self._path}: {error}") from error

    def _change(self, change: Callable[[Any], None]) -> None:
        def write(text: str, _book: AddressBook) -> str:
            import tomlkit  # only here: nobody who just reads the file waits for this import

            document = tomlkit.parse(text)
            change(document)
            return document.as_string()

        self._write(write)

    def _write(self, change: Callable[[str, AddressBook], str]) -> None:
        """Replaces the file by what `change` makes of its text and the users in it. It is read back with the
        next look, for it may have been changed once more by then."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._path):
                before = "" if _signature(self._path) is None else _read(self._path)
                after = change(before, self._load(before))
                self._load(after)  # what we could not read back is never written
                _replace(self._path, after.encode())
        except OSError as error:
            raise BadConfiguration(
                f"cannot write {self._path}: {error.strerror}",
                hint="who changes it must own it and its folder",
            ) from error


def parse(text: str) -> list[User]:
    """The users in the text of a users file. Raises ValueError (as tomllib does) with what is wrong."""
    table = tomllib.loads(text)
    entries = table.pop("user", [])
    if table:
        raise ValueError(f"unknown entry {next(iter(table))}: only [[user]] is known")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("user is a list of tables: write [[user]] with two brackets")
    return [_user(entry) for entry in entries]


def text_of(user: User) -> str:
    """One user as the text of a users file, which `parse` reads."""
    import tomlkit

    document = tomlkit.document()
    document["user"] = tomlkit.aot()
    document["user"].append(_entry(user))
    return tomlkit.dumps(document)


def _user(entry: dict[str, Any]) -> User:
    address = entry.get("address")
    if not isinstance(address, str):
        raise ValueError("a [[user]] without an address")
    if unknown := entry.keys() - KEYS:
        raise ValueError(f"{address}: unknown setting {min(unknown)}")
    check_address(address)
    account = entry.get("account")
    if not isinstance(account, str) or not re.fullmatch("[0-9a-f]{32}", account):
        raise ValueError(f"{address}: account is 32 hex digits (lower case)")
    aliases, catch_all = (_texts(entry, address, key) for key in ("aliases", "catch_all"))
    for alias in aliases:
        if alias.lower() != "postmaster":  # RFC 5321 §4.1.1.3: the only forward-path without a domain
            check_address(alias)
    for domain in catch_all:
        check_domain(domain, address)
    pins = _texts(entry, address, "pins")
    for pin in pins:
        if not re.fullmatch("[0-9a-f]{32}", pin):
            raise ValueError(f"{address}: a pin is 32 hex digits (lower case), not {pin!r}")
    deleted = _deleted(entry, address)
    erasing = _boolean(entry, address, "erasing", False)
    if erasing and deleted is None:
        raise ValueError(f"{address}: erasing goes with deleted")
    return User(
        address,
        account,
        aliases,
        catch_all,
        detail=_boolean(entry, address, "detail", True),
        pins=pins,
        end_to_end=_boolean(entry, address, "end_to_end", False),
        quota=_quota(entry, address),
        retention=_retention(entry, address),
        deleted=deleted,
        erasing=erasing,
    )


def _quota(entry: dict[str, Any], address: str) -> int | None:
    if "quota" not in entry:
        return None
    try:
        return parse_quota(entry["quota"]) or 0
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None


def _retention(entry: dict[str, Any], address: str) -> int | None:
    if "retention" not in entry:
        return None
    try:
        return parse_retention(entry["retention"])
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None


def _boolean(entry: dict[str, Any], address: str, key: str, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{address}: {key} is true or false")
    return value


def _deleted(entry: dict[str, Any], address: str) -> int | None:
    value = entry.get("deleted")
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{address}: deleted is a time such as 2026-11-25T12:00:00Z")
    return int(value.timestamp())


def _texts(entry: dict[str, Any], address: str, key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{address}: {key} is a list of texts")
    return tuple(value)


def check_address(address: str) -> None:
    """Raises ValueError for what cannot be an address in a users file."""
    local, at, domain = address.rpartition("@")
    if not local or not at or not address.isprintable() or len(address.encode()) > ADDRESS_OCTETS:
        raise ValueError(f"not an address: {address!r}")
    check_domain(domain, address)
    canonical(address)


def check_domain(domain: str, address: str) -> None:
    """Raises ValueError for what cannot be a domain there; `address` says whose it is."""
    if not domain or "@" in domain or " " in domain or not domain.isprintable():
        raise ValueError(f"{address}: not a domain: {domain!r}")


def _entry(user: User) -> Any:
    import tomlkit

    entry = tomlkit.table()
    entry["address"] = user.address
    entry["account"] = user.account
    if user.aliases:
        entry["aliases"] = list(user.aliases)
    if user.catch_all:
        entry["catch_all"] = list(user.catch_all)
    if not user.detail:
        entry["detail"] = False
    if user.pins:
        entry["pins"] = list(user.pins)
    if user.end_to_end:
        entry["end_to_end"] = True
    if user.quota is not None:
        entry["quota"] = quota_text(user.quota or None)
    if user.retention is not None:
        entry["retention"] = duration_text(user.retention)
    if user.deleted is not None:
        entry["deleted"] = datetime.fromtimestamp(user.deleted, UTC)
    if user.erasing:
        entry["erasing"] = True
    return entry


def _with(text: str, users: Sequence[User]) -> str:
    """A users file that spells its list of users `user = […]`, with these behind the others."""
    import tomlkit

    document = tomlkit.parse(text)
    for user in users:
        entry = tomlkit.inline_table()
        entry.update(_entry(user).unwrap())
        document["user"].append(entry)
    return document.as_string()


def _places(document: Any) -> dict[str, int]:
    """Where in the list of users of a users file each stands: main address -> index."""
    return {canonical(each["address"]): at for at, each in enumerate(document.get("user", []))}


def _place(places: Mapping[str, int], address: str) -> int:
    """The one of this main address. Raises NoSuchUser."""
    with suppress(ValueError):
        if (place := places.get(canonical(address))) is not None:
            return place
    raise NoSuchUser(f"there is no user {address}")


def _signature(path: Path) -> Signature | None:
    """What changes whenever the file does: the error's number where it cannot be looked at (reading it says
    more), None if there is none."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return (error.errno or 0,)
    return info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path} is not UTF-8 text") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other processes from changing the file meanwhile. The lock has a file of its own, which stays:
    the users file is replaced, and a lock on the old one would keep nobody out."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    """The whole new file or the whole old one, whenever the machine stops. A crash leaves a `.new` file,
    which the next change overwrites."""
    target = path.resolve()  # a link stays a link
    new = target.with_name(target.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        if target.exists():
            # Changed by root, it must still be readable by the server, which is somebody else.
            old = target.stat()
            os.fchmod(descriptor, old.st_mode & 0o777)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.replace(new, target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
