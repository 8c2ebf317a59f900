"""The grammar of SEARCH: search keys as the mailbox understands them (RFC 3501 §6.4.4, RFC 7162 §3.1.5)."""

from collections.abc import Callable
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Final

from aerogramme.errors import BadSyntax, UnknownCharset
from aerogramme.imap.commands import Search
from aerogramme.imap.scanner import LARGEST_63, SYSTEM_FLAGS, Scanner
from aerogramme.mailbox import search_keys as keys
from aerogramme.mailbox.search_keys import SearchKey

MAX_DEPTH: Final = 100
"""Parentheses, NOT and OR within each other. Filters made by hand reach five, chains of OR some dozens."""

_SEEN, _ANSWERED = keys.Flag("\\Seen"), keys.Flag("\\Answered")
_FLAGGED, _DELETED, _DRAFT = keys.Flag("\\Flagged"), keys.Flag("\\Deleted"), keys.Flag("\\Draft")

SIMPLE: Final[dict[bytes, SearchKey]] = {
    b"ALL": keys.All(),
    b"ANSWERED": _ANSWERED,
    b"DELETED": _DELETED,
    b"DRAFT": _DRAFT,
    b"FLAGGED": _FLAGGED,
    b"NEW": keys.And((keys.Recent(), keys.Not(_SEEN))),
    b"OLD": keys.Not(keys.Recent()),
    b"RECENT": keys.Recent(),
    b"SEEN": _SEEN,
    b"UNANSWERED": keys.Not(_ANSWERED),
    b"UNDELETED": keys.Not(_DELETED),
    b"UNDRAFT": keys.Not(_DRAFT),
    b"UNFLAGGED": keys.Not(_FLAGGED),
    b"UNSEEN": keys.Not(_SEEN),
}
"""The keys without an argument."""


class _Search:
    """What holds for one SEARCH: where it is read, and the charset of its strings."""

    def __init__(self, scanner: Scanner, charset: str | None) -> None:
        self.scanner = scanner
        self.charset = charset

    def text(self) -> str:
        """An astring as text in the charset of the command."""
        octets = self.scanner.astring()
        if self.charset is None:
            # quirk_search_8bit: without CHARSET it should be ASCII (RFC 3501 §6.4.4); it comes in UTF-8 all
            # the same.
            return octets.decode("utf-8", "replace")
        try:
            return octets.decode(self.charset)
        except ValueError:
            raise BadSyntax(f"The string is not {self.charset}") from None

    def keys(self, depth: int, close: bytes) -> tuple[SearchKey, ...]:
        """search-key *(SP search-key), up to `close` (empty: the end of the command)."""
        found = [self.key(depth)]
        while not (self.scanner.at(close) if close else self.scanner.at_end()):
            self.scanner.sp()
            found.append(self.key(depth))
        return tuple(found)

    def key(self, depth: int) -> SearchKey:
        """search-key."""
        if depth > MAX_DEPTH:
            raise BadSyntax("The search is nested too deeply")
        scanner = self.scanner
        if scanner.skip(b"("):
            inner = self.keys(depth + 1, b")")
            scanner.expect(b")")
            return _and(inner)
        first = scanner.text[scanner.pos : scanner.pos + 1]
        if first.isdigit() or first == b"*":
            return keys.Seqs(scanner.sequence_set())
        name = scanner.word("a search key")
        simple = SIMPLE.get(name)
        if simple is not None:
            return simple
        production = ARGUMENTS.get(name)
        if production is None:
            raise BadSyntax("Unknown search key")
        scanner.sp()
        return production(self, depth)


def _and(found: tuple[SearchKey, ...]) -> SearchKey:
    return found[0] if len(found) == 1 else keys.And(found)


def _not(search: _Search, depth: int) -> SearchKey:
    # "NOT" SP search-key
    return keys.Not(search.key(depth + 1))


def _or(search: _Search, depth: int) -> SearchKey:
    # "OR" SP search-key SP search-key
    left = search.key(depth + 1)
    search.scanner.sp()
    right = search.key(depth + 1)
    # OR a OR b c is how clients write a list; one key with three arms is the same.
    arms = (left.keys if isinstance(left, keys.Or) else (left,)) + (
        right.keys if isinstance(right, keys.Or) else (right,)
    )
    return keys.Or(arms)


def _header(search: _Search, _depth: int) -> SearchKey:
    # "HEADER" SP header-fld-name SP astring
    name = search.scanner.astring("the name of a header field")
    search.scanner.sp()
    return keys.Header(name.decode("utf-8", "replace").lower(), search.text())


def _keyword(search: _Search, _depth: int) -> SearchKey:
    # "KEYWORD" SP flag-keyword
    return keys.Flag(search.scanner.atom().decode("ascii"))


def _unkeyword(search: _Search, depth: int) -> SearchKey:
    # "UNKEYWORD" SP flag-keyword
    return keys.Not(_keyword(search, depth))


def _mod_sequence(search: _Search, _depth: int) -> SearchKey:
    # search-modsequence = "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer      (RFC 7162
    # §7) entry-name = DQUOTE "/flags/" attr-flag DQUOTE ; entry-type-req = "priv" / "shared" / "all"
    scanner, flag = search.scanner, None
    if scanner.at(b'"'):
        entry = scanner.string().decode("utf-8", "replace")
        prefix, flag = entry[:7], entry[7:].replace("\\\\", "\\")
        if prefix.lower() != "/flags/" or not flag:
            raise BadSyntax("Expected an entry such as /flags/\\\\Seen")
        flag = SYSTEM_FLAGS.get(flag.lower(), flag)
        scanner.sp()
        if scanner.word("priv, shared or all") not in (b"PRIV", b"SHARED", b"ALL"):
            raise BadSyntax("Expected priv, shared or all")
        scanner.sp()
    return keys.ModSeq(scanner.number(LARGEST_63), flag)


def _before(make: type[keys.Arrived | keys.Sent]) -> Callable[[_Search, int], SearchKey]:
    return lambda search, _depth: make(None, search.scanner.date())


def _since(make: type[keys.Arrived | keys.Sent]) -> Callable[[_Search, int], SearchKey]:
    return lambda search, _depth: make(search.scanner.date(), None)


def _on(make: type[keys.Arrived | keys.Sent]) -> Callable[[_Search, int], SearchKey]:
    def production(search: _Search, _depth: int) -> SearchKey:
        day = search.scanner.date()
        return make(day, day + 1)

    return production


ARGUMENTS: Final[dict[bytes, Callable[[_Search, int], SearchKey]]] = {
    b"BCC": lambda search, _: keys.Field("bcc", search.text()),
    b"BEFORE": _before(keys.Arrived),
    b"BODY": lambda search, _: keys.Body(search.text()),
    b"CC": lambda search, _: keys.Field("cc", search.text()),
    b"FROM": lambda search, _: keys.Field("from", search.text()),
    b"HEADER": _header,
    b"KEYWORD": _keyword,
    b"LARGER": lambda search, _: keys.Larger(search.scanner.number()),
    b"MODSEQ": _mod_sequence,
    b"NOT": _not,
    b"ON": _on(keys.Arrived),
    b"OR": _or,
    b"SENTBEFORE": _before(keys.Sent),
    b"SENTON": _on(keys.Sent),
    b"SENTSINCE": _since(keys.Sent),
    b"SINCE": _since(keys.Arrived),
    b"SMALLER": lambda search, _: keys.Smaller(search.scanner.number()),
    b"SUBJECT": lambda search, _: keys.Field("subject", search.text()),
    b"TEXT": lambda search, _: keys.Text(search.text()),
    b"TO": lambda search, _: keys.Field("to", search.text()),
    b"UID": lambda search, _: keys.Uids(search.scanner.sequence_set()),
    b"UNKEYWORD": _unkeyword,
}
"""The keys with arguments; each function stands behind the space that follows the name."""


def search(scanner: Scanner, tag: bytes, uid: bool = False) -> Search:
    """search = "SEARCH" [SP "CHARSET" SP astring] 1*(SP search-key)."""
    scanner.sp()
    charset = None
    if scanner.text[scanner.pos : scanner.pos + 8].upper() == b"CHARSET ":
        scanner.pos += 8
        charset = _charset(scanner.astring("a charset"))
        scanner.sp()
    return Search(tag, _and(_Search(scanner, charset).keys(0, b"")), uid)


def _charset(name: bytes) -> str:
    """The codec of a charset. Only names known beforehand: codecs.lookup remembers whatever it is asked."""
    known = normalize_encoding(name.decode("ascii", "replace")).lower()
    known = aliases.get(known, known)
    if known in CODECS:
        return known
    raise UnknownCharset("Unknown charset")


# Python has base64 and the like among its codecs, too; their names end so. UTF-7 can spell half a surrogate
# pair.
CODECS: Final = frozenset(
    {name for name in aliases.values() if not name.endswith("_codec")} - {"mbcs", "rot_13", "utf_7"}
    | {"koi8_u", "cp737", "cp874"}
)
