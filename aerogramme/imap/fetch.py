"""FETCH: what was asked for is compiled once into a template; then columns become bytes, a batch at a time.

No mailbox and no I/O in here: a `Batch` holds the columns of some messages, a `Plan` makes their FETCH
responses of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aerogramme.imap.commands import Att, FetchItem, Section
from aerogramme.imap.dates import date_times
from aerogramme.imap.format import literal
from aerogramme.mail import sections

Column = Sequence[int] | Sequence[bytes]


@dataclass(slots=True)
class Batch:
    """Columns of some messages, all of one length. Only those that the plan asks for are filled.

    `flags` are flag lists as they are sent, parentheses included; `dates` unix seconds; `digests` the columns
    of `Plan.digest_fields`; `bodies` whole messages, None for one that cannot be read.
    """

    seqs: Sequence[int]
    uids: Sequence[int] = ()
    flags: Sequence[bytes] = ()
    modseqs: Sequence[int] = ()
    dates: Sequence[int] = ()
    sizes: Sequence[int] = ()
    contents: Sequence[int] = ()
    digests: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    bodies: Sequence[bytes | None] = ()


Fields = tuple[tuple[bytes, ...], str]
"""A set of header fields as clients ask for it: the names, and HEADER.FIELDS or HEADER.FIELDS.NOT."""


class HeaderCache:
    """Header fields as clients ask for them again and again, rendered: for each set of fields, by content.

    Mail clients ask for the same dozen fields of every message at every start. The bound is on what the
    entries take in memory; past it the sets that were used longest ago are dropped.
    """

    ENTRY_OVERHEAD = 200  # a dict entry, an int and a bytes object besides its octets; a name has no more

    def __init__(self, budget: int = 32 * 1024 * 1024) -> None:
        self._budget = budget
        self._used = 0
        self._sets: dict[Fields, dict[int, bytes]] = {}
        self._sizes: dict[Fields, int] = {}

    def of(self, key: Fields) -> dict[int, bytes]:
        """What is known for a set of fields, by content id: to be read, and written to by `add` only.

        Who has it may go on using it when the cache drops it.
        """
        while self._used > self._budget:
            oldest = next(iter(self._sets))
            self._used -= self._sizes.pop(oldest)
            del self._sets[oldest]
        known = self._sets.pop(key, None)
        if known is None:
            known = {}
            names, _ = key  # a command has room for a megabyte of them
            self._sizes[key] = sum(map(len, names)) + self.ENTRY_OVERHEAD * (len(names) + 1)
            self._used += self._sizes[key]
        self._sets[key] = known  # the last one is the one used last
        return known

    def add(self, key: Fields, known: dict[int, bytes], entries: Mapping[int, bytes]) -> None:
        """Adds to what `of` gave."""
        known.update(entries)
        if self._sets.get(key) is known:
            grown = sum(map(len, entries.values())) + self.ENTRY_OVERHEAD * len(entries)
            self._sizes[key] += grown
            self._used += grown


Produce = Callable[[Batch], Column]


class Plan:
    """What the responses of one FETCH hold, in the order asked for.

    `digest_fields`: the columns of the digest it needs; `sections`: how many items are octets of the
    message; `needs_bodies`: whole messages are needed; `sets_seen`: it marks what it fetches as \\Seen. Sets
    of header fields come from a cache: see `missing` and `learn`.
    """

    def __init__(self, items: Iterable[FetchItem], headers: HeaderCache) -> None:
        self.items = tuple(items)
        self._headers = headers
        self._columns: list[Produce] = []
        digest_fields: dict[str, None] = {}
        self._header_sets: list[Section] = []
        self._known: dict[Fields, dict[int, bytes]] = {}
        self.sections = 0
        self.needs_bodies = False
        self.sets_seen = False
        parts: list[bytes] = []
        for item in self.items:
            if isinstance(item, Section):
                self.sections += 1
                self.sets_seen = self.sets_seen or not item.peek
                if not item.path and item.what == "HEADER":
                    digest_fields["header"] = None
                    self._columns.append(_header_column(item))
                elif not item.path and item.what.startswith("HEADER.FIELDS"):
                    # The header column is loaded only for what the cache does not know: see `missing`.
                    self._header_sets.append(item)
                    self._columns.append(self._fields_column(item))
                else:
                    self.needs_bodies = True
                    if item.path or item.what:
                        digest_fields["parts"] = None
                    self._columns.append(_octets_column(item))
                parts.append(_escaped(item.label) + b" %b")
            else:
                text, column, needs = _ATTS[item]
                digest_fields |= dict.fromkeys(needs)
                self._columns.append(column)
                parts.append(text)
        self.digest_fields = tuple(digest_fields)
        self.needs_headers = bool(self._header_sets)
        self.atts = frozenset(item for item in self.items if isinstance(item, Att))
        self._template = b"* %d FETCH (" + b" ".join(parts) + b")\r\n"

    def missing(self, contents: Sequence[int]) -> list[int]:
        """The contents whose header must be given to `learn` before a batch with them is rendered."""
        unknown: dict[int, None] = {}
        for item in self._header_sets:
            key = _fields_key(item)
            known = self._known[key] = self._headers.of(key)
            unknown |= dict.fromkeys([content for content in contents if content not in known])
        return list(unknown)

    def learn(self, contents: Sequence[int], headers: Sequence[bytes]) -> None:
        """Renders the sets of header fields for these contents and remembers them."""
        select = sections.header_fields
        for item in self._header_sets:
            key, names, negate = _fields_key(item), frozenset(item.fields), item.what.endswith("NOT")
            pairs = zip(contents, headers, strict=True)
            entries = {content: select(header, names, negate) for content, header in pairs}
            self._headers.add(key, self._known[key], entries)

    def _fields_column(self, item: Section) -> Produce:
        """BODY[HEADER.FIELDS (...)] of the message itself: the cache has it, or was told it just before."""
        key, partial = _fields_key(item), item.partial

        def column(batch: Batch) -> list[bytes]:
            known = self._known[key]
            return [literal(cut(known[content], partial)) for content in batch.contents]

        return column

    def render(self, batch: Batch) -> bytes:
        """The FETCH responses of a batch."""
        template = self._template
        columns = [column(batch) for column in self._columns]
        return b"".join([template % row for row in zip(batch.seqs, *columns, strict=True)])


def nstring(octets: bytes | None) -> bytes:
    """A literal, or NIL for what is not there."""
    return b"NIL" if octets is None else literal(octets)


def cut(octets: bytes, partial: tuple[int, int] | None) -> bytes:
    """RFC 3501 §6.4.5: BODY[...]<first.count>; past the end it is an empty string."""
    if partial is None:
        return octets
    first, count = partial
    return octets[first : first + count]


def place_of(item: Section, size: int, parts: bytes) -> tuple[int, int] | None:
    """Where a section begins and ends in a message of this size, before the cut; None if there is no such
    part.

    `parts` is the packed structure that the digest keeps. For HEADER.FIELDS it is the whole header.
    """
    if not item.path and not item.what:
        return 0, size
    return sections.section(parts, item.path, "HEADER" if item.what.startswith("HEADER") else item.what)


def section_of(item: Section, raw: bytes, parts: bytes) -> bytes | None:
    """The octets of a section of a whole message, cut; None if there is no such part."""
    place = place_of(item, len(raw), parts)
    if place is None:
        return None
    octets = raw[place[0] : place[1]]
    if item.what.startswith("HEADER.FIELDS"):
        octets = sections.header_fields(octets, frozenset(item.fields), item.what.endswith("NOT"))
    return cut(octets, item.partial)


def _escaped(label: bytes) -> bytes:
    return label.replace(b"%", b"%%")


def _fields_key(item: Section) -> Fields:
    return item.fields, item.what


def _header_column(item: Section) -> Produce:
    """BODY[HEADER] and RFC822.HEADER of the message itself: the digest has it."""
    return lambda batch: [literal(cut(header, item.partial)) for header in batch.digests["header"]]


def _octets_column(item: Section) -> Produce:
    """Any section that needs the message itself."""

    def column(batch: Batch) -> list[bytes]:
        if not item.path and not item.what:
            return [nstring(None if body is None else cut(body, item.partial)) for body in batch.bodies]
        rows = zip(batch.bodies, batch.digests["parts"], strict=True)
        return [nstring(None if body is None else section_of(item, body, parts)) for body, parts in rows]

    return column


_ATTS: dict[Att, tuple[bytes, Produce, tuple[str, ...]]] = {
    Att.UID: (b"UID %d", lambda b: b.uids, ()),
    Att.FLAGS: (b"FLAGS %b", lambda b: b.flags, ()),
    Att.INTERNALDATE: (b"INTERNALDATE %b", lambda b: date_times(b.dates), ()),
    Att.SIZE: (b"RFC822.SIZE %d", lambda b: b.sizes, ()),
    Att.MODSEQ: (b"MODSEQ (%d)", lambda b: b.modseqs, ()),
    Att.ENVELOPE: (b"ENVELOPE %b", lambda b: b.digests["envelope"], ("envelope",)),
    Att.BODY: (b"BODY %b", lambda b: b.digests["body"], ("body",)),
    Att.BODYSTRUCTURE: (b"BODYSTRUCTURE %b", lambda b: b.digests["bodystructure"], ("bodystructure",)),
}
