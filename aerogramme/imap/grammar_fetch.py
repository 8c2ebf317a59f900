"""The grammar of FETCH and STORE (RFC 3501 §6.4.5, §6.4.6 and §9; RFC 7162 §3.1.3, §3.1.4, §3.2.6)."""

import re
from typing import Final, Literal

from aerogramme.errors import BadSyntax
from aerogramme.imap import format as out
from aerogramme.imap.commands import Att, Fetch, FetchItem, Section, Store
from aerogramme.imap.scanner import LARGEST_63, SYSTEM_FLAGS, Scanner

MACROS: Final[dict[bytes, tuple[FetchItem, ...]]] = {
    b"ALL": (Att.FLAGS, Att.INTERNALDATE, Att.SIZE, Att.ENVELOPE),
    b"FAST": (Att.FLAGS, Att.INTERNALDATE, Att.SIZE),
    b"FULL": (Att.FLAGS, Att.INTERNALDATE, Att.SIZE, Att.ENVELOPE, Att.BODY),
}

ITEMS: Final[dict[bytes, FetchItem]] = {att.value: att for att in Att} | {
    b"RFC822": Section((), "", (), None, False, b"RFC822"),
    b"RFC822.HEADER": Section((), "HEADER", (), None, True, b"RFC822.HEADER"),
    b"RFC822.TEXT": Section((), "TEXT", (), None, False, b"RFC822.TEXT"),
}
"""The items without brackets. RFC 3501 §6.4.5: RFC822.HEADER does not set \\Seen, the other two do."""

_ITEM: Final = re.compile(rb"[A-Za-z0-9.]+")

# section-part = nz-number *("." nz-number)
_PART: Final = re.compile(rb"[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*")

MAX_ITEMS: Final = 16 * 1024
"""Octets that say what is asked of each message; the answer repeats them for each. Clients need some 300."""

# What is asked for is short and always the same in one client: its parse is remembered.
_REMEMBERED: Final = 512
_LONGEST: Final = 1024  # octets

Asked = tuple[tuple[FetchItem, ...], int | None, bool]
_asked: Final[dict[tuple[bytes, bool], Asked]] = {}


def fetch(scanner: Scanner, tag: bytes, uid: bool = False) -> Fetch:
    """fetch = "FETCH" SP sequence-set SP (macro / fetch-att / "(" fetch-att ... ")") [fetch-modifiers]."""
    scanner.sp()
    numbers = scanner.sequence_set()
    scanner.sp()
    rest = (scanner.text[scanner.pos :], uid)
    asked = _asked.get(rest)
    if asked is None:
        if len(rest[0]) > MAX_ITEMS:
            raise BadSyntax("That is too much to ask for at once")
        asked = _ask(scanner, uid)
        if len(rest[0]) <= _LONGEST:
            if len(_asked) == _REMEMBERED:
                _asked.clear()
            _asked[rest] = asked
    scanner.pos = len(scanner.text)
    return Fetch(tag, numbers, asked[0], uid, asked[1], asked[2])


def _ask(scanner: Scanner, uid: bool) -> Asked:
    """What follows the set, up to the end."""
    items: list[FetchItem] = []
    if scanner.skip(b"("):
        while True:
            items.append(_fetch_att(scanner))
            if scanner.skip(b")"):
                break
            scanner.sp()
    else:
        macro = _ITEM.match(scanner.text, scanner.pos)
        spread = MACROS.get(macro[0].upper()) if macro else None
        if macro is not None and spread is not None:
            items.extend(spread)
            scanner.pos = macro.end()
        else:
            items.append(_fetch_att(scanner))
    changed_since, vanished = _fetch_modifiers(scanner) if scanner.skip(b" (") else (None, False)
    scanner.end()
    if vanished and not (uid and changed_since is not None):
        # RFC 7162 §3.2.6: VANISHED only with UID FETCH, and only together with CHANGEDSINCE.
        raise BadSyntax("VANISHED goes with UID FETCH and CHANGEDSINCE only")
    if uid and Att.UID not in items:
        items.insert(0, Att.UID)  # RFC 3501 §6.4.8: UID is part of the answer, asked for or not
    if changed_since is not None and Att.MODSEQ not in items:
        items.append(Att.MODSEQ)  # RFC 7162 §3.1.4.1: CHANGEDSINCE implies it
    return tuple(dict.fromkeys(items)), changed_since, vanished


def _fetch_att(scanner: Scanner) -> FetchItem:
    # fetch-att = "ENVELOPE" / "FLAGS" / "INTERNALDATE" / "RFC822" [".HEADER" / ".SIZE" / ".TEXT"] /
    #             "BODY" ["STRUCTURE"] / "UID" / "BODY" section ["<" number "." nz-number ">"] /
    #             "BODY.PEEK" section ["<" number "." nz-number ">"] / "MODSEQ"
    name = scanner.take(_ITEM, "a FETCH item").upper()
    if name in (b"BODY", b"BODY.PEEK") and scanner.skip(b"["):
        return _section(scanner, peek=name == b"BODY.PEEK")
    item = ITEMS.get(name)
    if item is None:
        raise BadSyntax("Unknown FETCH item")
    return item


def _section(scanner: Scanner, *, peek: bool) -> Section:
    # section         = "[" [section-spec] "]"
    # section-spec    = section-msgtext / (section-part ["." section-text])
    # section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
    # section-text    = section-msgtext / "MIME"
    path: tuple[int, ...] = ()
    label = b"BODY["
    fields: tuple[bytes, ...] = ()
    what: Literal["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"] = ""
    part = _PART.match(scanner.text, scanner.pos)
    if part is not None:
        scanner.pos = part.end()
        path = tuple(map(int, part[0].split(b".")))
        label += part[0]
    if scanner.skip(b".") if path else not scanner.at(b"]"):
        if path:
            label += b"."
        match scanner.take(_ITEM, "a section").upper():
            case b"HEADER":
                what = "HEADER"
            case b"TEXT":
                what = "TEXT"
            case b"MIME" if path:
                what = "MIME"
            case b"HEADER.FIELDS":
                what = "HEADER.FIELDS"
            case b"HEADER.FIELDS.NOT":
                what = "HEADER.FIELDS.NOT"
            case _:
                raise BadSyntax("Unknown section")
        label += what.encode("ascii")
        if what.startswith("HEADER.FIELDS"):
            scanner.sp()
            named = _header_list(scanner)
            label += b" (" + b" ".join(map(out.astring, named)) + b")"
            fields = tuple(dict.fromkeys(name.lower() for name in named))
    scanner.expect(b"]")
    label += b"]"
    partial = None
    if scanner.skip(b"<"):
        start = scanner.number(LARGEST_63)
        scanner.expect(b".")
        partial = (start, scanner.nz_number(LARGEST_63))
        scanner.expect(b">")
        label += b"<%d>" % start
    return Section(path, what, fields, partial, peek, label)


def _header_list(scanner: Scanner) -> list[bytes]:
    # header-list = "(" header-fld-name *(SP header-fld-name) ")" ; header-fld-name = astring
    scanner.expect(b"(")
    names = [scanner.astring("the name of a header field")]
    while not scanner.skip(b")"):
        scanner.sp()
        names.append(scanner.astring("the name of a header field"))
    return names


def _fetch_modifiers(scanner: Scanner) -> tuple[int | None, bool]:
    # fetch-modifiers = SP "(" fetch-modifier *(SP fetch-modifier) ")"      (RFC 4466 §2.4)
    # chgsince-fetch-mod = "CHANGEDSINCE" SP mod-sequence-value ; rexpunges-fetch-mod = "VANISHED" (RFC 7162
    # §7)
    changed_since, vanished = None, False
    while True:
        match scanner.word("a FETCH modifier"):
            case b"CHANGEDSINCE":
                scanner.sp()
                changed_since = scanner.number(LARGEST_63)  # quirk_changedsince_0: iOS Mail 16.5
            case b"VANISHED":
                vanished = True
            case _:
                raise BadSyntax("Unknown FETCH modifier")
        if scanner.skip(b")"):
            return changed_since, vanished
        scanner.sp()


# store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
_STORE: Final = re.compile(rb"([+-]?)FLAGS(\.SILENT)? ", re.IGNORECASE)
_MODES: Final[dict[bytes, Literal["+", "-", "="]]] = {b"": "=", b"+": "+", b"-": "-"}


def store(scanner: Scanner, tag: bytes, uid: bool = False) -> Store:
    """store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags."""
    scanner.sp()
    numbers = scanner.sequence_set()
    scanner.sp()
    unchanged_since = None
    if scanner.skip(b"("):
        # store-modifier = "UNCHANGEDSINCE" SP mod-sequence-valzer      (RFC 7162 §7)
        if scanner.word("a STORE modifier") != b"UNCHANGEDSINCE":
            raise BadSyntax("Unknown STORE modifier")
        scanner.sp()
        unchanged_since = scanner.number(LARGEST_63)
        scanner.expect(b") ")
    found = _STORE.match(scanner.text, scanner.pos)
    if found is None:
        raise BadSyntax("Expected FLAGS, +FLAGS or -FLAGS")
    scanner.pos = found.end()
    if scanner.at(b"("):
        flags = scanner.flag_list()
    else:
        bare = [scanner.flag()]
        while not scanner.at_end():
            scanner.sp()
            bare.append(scanner.flag())
        flags = tuple(bare)
    if any(flag[0] == "\\" and flag.lower() not in SYSTEM_FLAGS for flag in flags):
        raise BadSyntax("Unknown system flag")
    return Store(tag, numbers, _MODES[found[1]], flags, bool(found[2]), uid, unchanged_since)
