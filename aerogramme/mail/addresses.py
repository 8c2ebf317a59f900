"""Address lists (RFC 5322 §3.4, obsolete forms of §4.4 too), read so that no broken one fails."""

import re
from typing import Final, NamedTuple

from aerogramme.mail.header import unquote

# Of one field. Mails to some thousand people exist; an envelope is up to 24 times the size of its address
# fields.
MAX_ADDRESSES: Final = 10_000


class Address(NamedTuple):
    """RFC 3501 §7.4.2: an address; with host None the begin (mailbox set) or end (None) of a group."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END: Final = Address(None, None, None, None)

# The two forms that nearly all addresses have: user@host and [name] <user@host>, up to a comma or the end.
_ATOM: Final = rb"[^\x00-\x20()<>@,;:\\\"\[\]\x7f]"
_USUAL: Final = re.compile(
    rb'\s*+(?:"([^"\\]*+)"\s*+<|([^\x00-\x08\x0a-\x1f()<>@,;:\\"\x7f]*+)<|)('
    + _ATOM
    + rb"++)@("
    + _ATOM
    + rb"++)(>|)\s*+(?:,|\Z)"
)
_TOKEN: Final = re.compile(
    rb'\s++|"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|\[[^\]\[]*+\]|\\.|[^\s"(),:;<>@\[\]\\]++|[(),:;<>@\[\]\\]',
    re.DOTALL,
)
_SPACES: Final = re.compile(rb"\s+")


class _Reader:
    """One address at a time, token by token, for what is not of the usual form."""

    def __init__(self) -> None:
        self.found: list[Address] = []
        self.in_group = False
        self.reset()

    def reset(self) -> None:
        self.words: list[bytes] = []  # outside of <>, as text; quoted strings without their quotes
        self.at = -1  # where in `words` the last @ is
        self.angle: list[bytes] | None = None
        self.angle_at = -1
        self.comment: list[bytes] = []

    def text(self) -> bytes:
        return _SPACES.sub(b" ", b"".join(self.words)).strip()

    def flush(self) -> None:
        name: bytes | None
        if self.angle is not None:
            name = self.text()
            spec, at = self.angle, self.angle_at
        else:
            name = b""
            spec, at = self.words, self.at
        name = name or _SPACES.sub(b" ", b"".join(self.comment)).strip() or None
        if self.angle is not None or b"".join(spec).strip():
            self.found.append(_address(name, spec, at))
        self.reset()

    def read(self, value: bytes, start: int) -> int:
        """Read one address from `start`; the offset behind its comma."""
        depth = 0  # of comments
        closed = True  # not within <>
        for match in _TOKEN.finditer(value, start):
            token = match[0]
            quoted = match[1]
            if depth:
                if token == b")":
                    depth -= 1
                elif token == b"(":
                    depth += 1
                if depth:
                    self.comment.append(token)
                continue
            if token == b"(":
                depth = 1
            elif quoted is not None:
                (self.words if closed or self.angle is None else self.angle).append(unquote(quoted))
            elif not closed and self.angle is not None:
                if token == b">":
                    closed = True
                else:
                    if token == b"@":
                        self.angle_at = len(self.angle)
                    self.angle.append(token)
            elif token == b"<" and self.angle is None:
                self.angle, closed = [], False
            elif token == b"," or token == b";":
                self.flush()
                if token == b";" and self.in_group:
                    self.found.append(GROUP_END)
                    self.in_group = False
                return match.end()
            elif token == b":" and not self.in_group and self.angle is None and self.at < 0:
                self.found.append(Address(None, None, self.text(), None))
                self.in_group = True
                self.reset()
            else:
                if token == b"@":
                    self.at = len(self.words)
                self.words.append(token)
        self.flush()
        return len(value)


def _address(name: bytes | None, spec: list[bytes], at: int) -> Address:
    """An addr-spec, perhaps with a route (RFC 5322 §4.4), from its tokens, the last @ being that at `at`."""
    if at < 0:
        # A host of NIL would make it a group (RFC 3501 §7.4.2), so without any it is the empty string.
        return Address(name, None, b"".join(spec).strip(), b"")
    local, host = spec[:at], b"".join(spec[at + 1 :])
    route = None
    if b":" in local:
        colon = len(local) - 1 - local[::-1].index(b":")
        before = b"".join(local[:colon]).strip()
        if before.startswith(b"@"):
            route = _SPACES.sub(b"", before)
            local = local[colon + 1 :]
    return Address(name, route, b"".join(local).strip(), _SPACES.sub(b"", host))


def address_list(value: bytes) -> list[Address]:
    """The addresses of an unfolded field body, groups as IMAP shows them; at most MAX_ADDRESSES."""
    reader = _Reader()
    found = reader.found
    at, end = 0, len(value)
    usual = _USUAL.match
    while at < end and len(found) < MAX_ADDRESSES:
        match = usual(value, at)
        if match is not None:
            quoted, name, mailbox, host, close = match.groups()
            if name is not None and not quoted:
                quoted = name.strip()
            if (close == b">") is (quoted is not None):
                found.append(Address(quoted or None, None, mailbox, host))
                at = match.end()
                continue
        at = reader.read(value, at)
    if reader.in_group:
        found.append(GROUP_END)
    return found
