"""Who may receive or log in, and where their account is: the interface that every driver of users has.

Addresses are compared without regard to case, to the Unicode form of the local part, and to the form of the
domain (A-labels and U-labels are one domain). RFC 5321 §2.4 lets the receiving host decide how local parts
compare, and nobody who writes to Alice@example.org means somebody else than alice@example.org.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import idna

from aerogramme.mailbox.policy import Policy


@dataclass(frozen=True)
class User:
    """One user: the address (which is the login name), and the account (32 hex digits) of the mail."""

    address: str
    account: str
    aliases: tuple[str, ...] = ()
    """Further addresses. The one without a domain that makes sense is "postmaster" (RFC 5321 §4.5.1)."""
    catch_all: tuple[str, ...] = ()
    """Domains whose addresses all come here unless they are somebody's."""
    detail: bool = True
    """Whether user+detail is delivered to the mailbox `detail`; otherwise it goes to INBOX."""
    pins: tuple[str, ...] = ()
    """Fingerprints (hex) of the incoming keys that letters may be sealed to; with none, to any."""
    end_to_end: bool = False
    """The keys are on the user's own devices: nobody logs in here."""
    quota: int | None = None
    """Octets that the account may hold, 0 for no limit; None: as the configuration says."""
    retention: int | None = None
    """Seconds for which what was removed is kept; None: as the configuration says."""
    deleted: int | None = None
    """Unix time of the deletion. The account is kept for a while, and until it is erased its addresses are
    nobody else's; it gets no mail, and nobody logs in."""
    erasing: bool = False
    """The erasure has begun, so nothing brings the account back."""

    def policy(self, default: Policy) -> Policy:
        """The rules for the account; `default` holds where this user has none of their own."""
        return Policy(
            default.retention if self.retention is None else self.retention,
            default.quota if self.quota is None else self.quota or None,
        )


@dataclass(frozen=True)
class Recipient:
    """What an address leads to. `detail` is spelled as in the address (NFC), or None."""

    user: User
    detail: str | None = None


class Directory(Protocol):
    """No method waits: a driver that asks elsewhere answers from what it has learned before."""

    def by_address(self, address: str) -> Recipient | None:
        """Where mail to an address (local part unquoted) goes; None if it is nobody's or a deleted user's."""

    def by_login(self, name: str) -> User | None:
        """The user who logs in with this name: the address or an alias, without its domain where that is
        configured; no detail, no catch-all. None for a deleted one."""

    def login_address(self, name: str) -> str:
        """The login name, with its domain where it has none and that is configured."""

    def by_account(self, account: str) -> User | None:
        """The user of an account, also a deleted one."""

    def users(self) -> Sequence[User]:
        """All users, also deleted ones, in the order in which they are kept."""


# RFC 5321 §4.5.3.1.1 and .2 for an address, RFC 1035 §2.3.4 for a domain. Beyond ASCII they are kept to, in
# characters: to normalize a name may take the square of its length, and strangers say how long it is.
MAX_ADDRESS, MAX_DOMAIN = 320, 253
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 §3.1


def canonical_local(local: str) -> str:
    """The form in which local parts are compared. Raises ValueError if it is none."""
    if local.isascii():
        return local.lower()
    if len(local) > MAX_ADDRESS:
        raise ValueError("not a local part: it is too long")
    # NFC again at the end: casefolding may undo it.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).casefold())


def canonical_domain(domain: str) -> str:
    """The form in which domains are compared: lower case A-labels. Raises ValueError if it is none."""
    if domain.isascii():
        return domain.lower()
    labels = _DOTS.split(domain)
    # As A-labels they have "xn--" at least besides. Each takes a fifth of a millisecond to look at.
    if sum(len(label) + (1 if label.isascii() else 5) for label in labels) > MAX_DOMAIN + 1:
        raise ValueError("not a domain name: it is too long")
    try:
        # RFC 5895 and UTS 46 describe what comes before IDNA2008: case, width and composition are evened out.
        # UnicodeError is the root of the library's IDNAError.
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"not a domain name: {domain!r}") from error


def canonical(address: str) -> str:
    """The form in which addresses are compared. Raises ValueError for what can be none."""
    local, at, domain = address.rpartition("@")
    if not at:
        return canonical_local(domain)
    return f"{canonical_local(local)}@{canonical_domain(domain)}"


class AddressBook:
    """Users indexed by what they are found by; never changed once made, so a driver swaps it as a whole."""

    def __init__(self, users: Sequence[User], separator: str = "+", login_domain: str = "") -> None:
        """`login_domain`: that of users who log in with a name that has none; "" for no such logins.

        Raises ValueError if an address, catch-all domain or account occurs twice or cannot be one."""
        self.users = tuple(users)
        self._separator = separator
        self._login_domain = login_domain
        self._by_address: dict[str, User] = {}
        self._by_domain: dict[str, User] = {}
        self._by_account: dict[str, User] = {}
        for user in users:
            if self._by_account.setdefault(user.account, user) is not user:
                raise ValueError(f"two users have the account {user.account}")
            for address in (user.address, *user.aliases):
                if self._by_address.setdefault(canonical(address), user) is not user:
                    raise ValueError(f"two users have the address {address}")
            for domain in user.catch_all:
                if self._by_domain.setdefault(canonical_domain(domain), user) is not user:
                    raise ValueError(f"two users catch all of {domain}")

    def by_address(self, address: str) -> Recipient | None:
        """The address as it is; without its detail (RFC 5233 §4); then whoever takes all of the domain.

        What belongs to a deleted user is not caught by another: who writes there is to learn that it is gone.
        """
        found = self._recipient(address)
        return None if found is None or found.user.deleted is not None else found

    def _recipient(self, address: str) -> Recipient | None:
        try:
            key = canonical(address)
        except ValueError:
            return None
        if user := self._by_address.get(key):
            return Recipient(user)
        written, at, _ = address.rpartition("@")
        if not at:
            return None  # without a domain there are neither details nor a catch-all
        # A detail begins at the first separator, as for Postfix and Dovecot: it may hold further ones.
        name, separator, detail = written.partition(self._separator) if self._separator else (written, "", "")
        _, _, domain = key.rpartition("@")
        if name and separator and (user := self._by_address.get(f"{canonical_local(name)}@{domain}")):
            return Recipient(user, unicodedata.normalize("NFC", detail) if detail and user.detail else None)
        if user := self._by_domain.get(domain):
            return Recipient(user)
        return None

    def by_login(self, name: str) -> User | None:
        user = self.owner(name) or self.owner(self.login_address(name))
        return None if user is None or user.deleted is not None else user

    def login_address(self, name: str) -> str:
        """The login name, with its domain where it has none and that is configured."""
        return f"{name}@{self._login_domain}" if self._login_domain and "@" not in name else name

    def by_account(self, account: str) -> User | None:
        """The user of an account, also a deleted one."""
        return self._by_account.get(account)

    def owner(self, address: str) -> User | None:
        """Whose address or alias it is, also when that user is deleted."""
        try:
            return self._by_address.get(canonical(address))
        except ValueError:
            return None
