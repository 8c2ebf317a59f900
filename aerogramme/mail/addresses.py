"""Address lists (RFC 5322 §3.4, obsolete forms of §4.4 too), read so that no broken one fails."""

import re
from typing import Final, NamedTuple

from aerogramme.mail.header import comment_end, unquote

# Of one field; what is nothing but a comma counts. Mails to some thousand people exist; an envelope is up to
# 24 times the size of its address fields.
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


class _Words:
    """The tokens of a phrase or an addr-spec; quoted strings without their quotes."""

    __slots__ = ("at", "tokens")

    def __init__(self) -> None:
        self.tokens: list[bytes] = []
        self.at = -1  # where the last @ is

    def put(self, token: bytes) -> None:
        if token == b"@":
            self.at = len(self.tokens)
        self.tokens.append(token)

    def text(self) -> bytes:
        return _SPACES.sub(b" ", b"".join(self.tokens)).strip()


class _Reader:
    """One address at a time, token by token, for what is not of the usual form."""

    def __init__(self) -> None:
        self.found: list[Address] = []
        self.in_group = False

    def read(self, value: bytes, at: int) -> int:
        """Read one address that begins at `at`, and the begin of a group before it; the offset behind its
        comma."""
        phrase, angle = _Words(), None  # what is outside of <>, and in it
        into = phrase
        comments: list[bytes] = []
        ended = b""
        while at < len(value) and not ended:
            match = _TOKEN.match(value, at)
            assert match is not None  # any octet is one
            at, token, quoted = match.end(), match[0], match[1]
            if token == b"(":
                end = comment_end(value, match.start())
                comments.append(unquote(value[at:end].removesuffix(b")")))
                at = end
            elif quoted is not None:
                into.tokens.append(unquote(quoted))
            elif into is angle:
                if token == b">":
                    into = phrase
                else:
                    into.put(token)
            elif token == b"<" and angle is None:
                into = angle = _Words()
            elif token == b":" and not self.in_group and angle is None and phrase.at < 0:
                self.found.append(Address(None, None, phrase.text(), None))
                self.in_group = True
                into = phrase = _Words()
                comments.clear()
            elif token == b"," or token == b";":
                ended = token
            else:
                phrase.put(token)
        self._put(phrase, angle, comments)
        if ended == b";" and self.in_group:
            self.found.append(GROUP_END)
            self.in_group = False
        return at

    def _put(self, phrase: _Words, angle: _Words | None, comments: list[bytes]) -> None:
        name = b"" if angle is None else phrase.text()
        spec = phrase if angle is None else angle
        if angle is not None or spec.text():
            name = name or _SPACES.sub(b" ", b" ".join(comments)).strip()
            self.found.append(_address(name or None, spec.tokens, spec.at))


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
    """The first MAX_ADDRESSES addresses of an unfolded field body, groups as IMAP shows them."""
    reader = _Reader()
    found = reader.found
    at, end = 0, len(value)
    usual = _USUAL.match
    for _ in range(MAX_ADDRESSES):
        if at >= end:
            break
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
