"""The client's side of the grammar: writes any command as a client may write it, and makes any command up."""

import datetime
from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from aerogramme.imap import commands as c
from aerogramme.imap import dates, mutf7
from aerogramme.imap.framing import AppendHead
from aerogramme.imap.grammar import STATUS_ITEMS
from aerogramme.imap.grammar_fetch import ITEMS
from aerogramme.mailbox import search_keys as k
from aerogramme.mailbox.search_keys import STAR, SequenceSet

# --- writing


def quote(value: bytes, *, literal_plus: bool = True) -> bytes:
    """A string in the only form that holds it: quoted with escapes, or a literal."""
    if any(octet in value for octet in b"\r\n"):
        return b"{%d%b}\r\n%b" % (len(value), b"+" if literal_plus else b"", value)
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def numbers(values: SequenceSet) -> bytes:
    """A set as it is."""

    def number(n: int) -> bytes:
        return b"*" if n == STAR else b"%d" % n

    return b",".join(number(a) if a == b else number(a) + b":" + number(b) for a, b in values.ranges)


def name(value: str) -> bytes:
    """A mailbox name."""
    return quote(mutf7.encode(value))


def date(day: int) -> bytes:
    """Days since 1970-01-01 as a date."""
    value = datetime.date(1970, 1, 1) + datetime.timedelta(day)
    return b"%d-%s-%04d" % (value.day, dates.MONTHS[value.month - 1], value.year)


def words(values: Iterable[str]) -> bytes:
    """A list of atoms."""
    return b"(" + " ".join(values).encode() + b")"


def search_key(key: k.SearchKey) -> bytes:
    """A search key; text is written in UTF-8."""
    match key:
        case k.All():
            return b"ALL"
        case k.And(inner):
            return b"(" + b" ".join(map(search_key, inner)) + b")"
        case k.Or(arms):
            left, *rest = arms
            right = k.Or(tuple(rest)) if len(rest) > 1 else rest[0]
            return b"OR " + search_key(left) + b" " + search_key(right)
        case k.Not(inner_key):
            return b"NOT " + search_key(inner_key)
        case k.Flag(flag):
            return flag[1:].upper().encode() if flag[0] == "\\" else b"KEYWORD " + flag.encode()
        case k.Recent():
            return b"RECENT"
        case k.Seqs(values):
            return numbers(values)
        case k.Uids(values):
            return b"UID " + numbers(values)
        case k.Field(field, text):
            return field.upper().encode() + b" " + quote(text.encode())
        case k.Header(field, text):
            return b"HEADER " + quote(field.encode()) + b" " + quote(text.encode())
        case k.Body(text):
            return b"BODY " + quote(text.encode())
        case k.Text(text):
            return b"TEXT " + quote(text.encode())
        case k.Arrived(start, stop) | k.Sent(start, stop):
            word = b"SENT" if isinstance(key, k.Sent) else b""
            if start is None:
                assert stop is not None
                return word + b"BEFORE " + date(stop)
            return word + (b"SINCE " if stop is None else b"ON ") + date(start)
        case k.Larger(octets):
            return b"LARGER %d" % octets
        case k.Smaller(octets):
            return b"SMALLER %d" % octets
        case k.ModSeq(least, None):
            return b"MODSEQ %d" % least
        case k.ModSeq(least, flag):
            assert flag is not None
            return b"MODSEQ " + quote(b"/flags/" + flag.encode()) + b" all %d" % least
    raise AssertionError(key)


def section(item: c.Section) -> bytes:
    """BODY[...] as asked for."""
    if item in ITEMS.values():
        return item.label
    inner = item.label[item.label.index(b"[") : item.label.rindex(b"]") + 1]
    text = (b"BODY.PEEK" if item.peek else b"BODY") + inner
    return text + (b"<%d.%d>" % item.partial if item.partial else b"")


def _fetch(command: c.Fetch) -> bytes:
    items = b" ".join(i.value if isinstance(i, c.Att) else section(i) for i in command.items)
    text = b"FETCH " + numbers(command.numbers) + b" (" + items + b")"
    if command.changed_since is not None:
        text += b" (CHANGEDSINCE %d%b)" % (command.changed_since, b" VANISHED" if command.vanished else b"")
    return text


def _store(command: c.Store) -> bytes:
    text = b"STORE " + numbers(command.numbers) + b" "
    if command.unchanged_since is not None:
        text += b"(UNCHANGEDSINCE %d) " % command.unchanged_since
    text += command.mode.replace("=", "").encode() + b"FLAGS" + (b".SILENT" if command.silent else b"")
    return text + b" " + words(command.flags)


def _select(command: c.Select) -> bytes:
    parameters = [b"CONDSTORE"] if command.condstore else []
    if command.qresync is not None:
        q = command.qresync
        parts = [b"%d %d" % (q.uidvalidity, q.modseq)]
        if q.known_uids is not None:
            parts.append(numbers(q.known_uids))
        if q.seq_match is not None:
            parts.append(b"(" + b" ".join(map(numbers, q.seq_match)) + b")")
        parameters.append(b"QRESYNC (" + b" ".join(parts) + b")")
    text = (b"EXAMINE " if command.read_only else b"SELECT ") + name(command.mailbox)
    return text + (b" (" + b" ".join(parameters) + b")" if parameters else b"")


def _list(command: c.List) -> bytes:
    text = b"LIST "
    if command.select:
        text += words(sorted(command.select)) + b" "
    text += name(command.reference) + b" "
    if len(command.patterns) > 1:
        text += b"(" + b" ".join(map(name, command.patterns)) + b")"
    else:
        text += name(command.patterns[0])
    options = [option.encode() for option in sorted(command.returns)]
    if command.status:
        options.append(b"STATUS " + words(command.status))
    if options or command.extended:
        text += b" RETURN (" + b" ".join(options) + b")"
    return text


def _id(command: c.Id) -> bytes:
    if not command.fields:
        return b"ID NIL"
    pairs = (
        quote(f.encode()) + b" " + (b"NIL" if v is None else quote(v.encode())) for f, v in command.fields
    )
    return b"ID (" + b" ".join(pairs) + b")"


def _authenticate(command: c.Authenticate) -> bytes:
    import base64

    text = b"AUTHENTICATE " + command.mechanism.encode()
    if command.initial is not None:
        text += b" " + (base64.b64encode(command.initial) or b"=")
    return text


WRITERS: dict[type[c.Command], Callable[..., bytes]] = {
    c.Authenticate: _authenticate,
    c.Capability: lambda x: b"CAPABILITY",
    c.Check: lambda x: b"CHECK",
    c.Close: lambda x: b"CLOSE",
    c.Copy: lambda x: b"COPY " + numbers(x.numbers) + b" " + name(x.mailbox),
    c.Create: lambda x: b"CREATE " + name(x.mailbox) + (b" (USE " + words(x.use) + b")" if x.use else b""),
    c.Delete: lambda x: b"DELETE " + name(x.mailbox),
    c.Enable: lambda x: b"ENABLE " + " ".join(x.capabilities).encode(),
    c.Expunge: lambda x: b"EXPUNGE" if x.uids is None else b"UID EXPUNGE " + numbers(x.uids),
    c.Fetch: _fetch,
    c.Id: _id,
    c.Idle: lambda x: b"IDLE",
    c.List: _list,
    c.Login: lambda x: b"LOGIN " + quote(x.user.encode()) + b" " + quote(x.password),
    c.GetQuota: lambda x: b"GETQUOTA " + quote(x.root),
    c.GetQuotaRoot: lambda x: b"GETQUOTAROOT " + name(x.mailbox),
    c.Logout: lambda x: b"LOGOUT",
    c.Lsub: lambda x: b"LSUB " + name(x.reference) + b" " + name(x.pattern),
    c.Move: lambda x: b"MOVE " + numbers(x.numbers) + b" " + name(x.mailbox),
    c.Namespace: lambda x: b"NAMESPACE",
    c.Noop: lambda x: b"NOOP",
    c.Rename: lambda x: b"RENAME " + name(x.mailbox) + b" " + name(x.target),
    c.Search: lambda x: b"SEARCH CHARSET UTF-8 " + search_key(x.key),
    c.Select: _select,
    c.StartTls: lambda x: b"STARTTLS",
    c.Status: lambda x: b"STATUS " + name(x.mailbox) + b" " + words(x.items),
    c.Store: _store,
    c.Subscribe: lambda x: (b"" if x.on else b"UN") + b"SUBSCRIBE " + name(x.mailbox),
    c.Unselect: lambda x: b"UNSELECT",
}


def write(command: c.Command) -> bytes:
    """The command as octets, without the last CRLF. Literals are written `{n+}`."""
    uid = b"UID " if getattr(command, "uid", False) else b""
    return command.tag + b" " + uid + WRITERS[type(command)](command)


def write_append(command: c.Append) -> AppendHead:
    """The head of an APPEND."""
    text = command.tag + b" APPEND " + name(command.mailbox) + b" "
    if command.flags:
        text += words(command.flags) + b" "
    if command.date is not None:
        text += dates.date_times([command.date])[0] + b" "
    return AppendHead(text, command.size)


# --- making up

_ATOM_CHARS = "!#$&'+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[^_`abcdefghijklmnopqrstuvwxyz|}~"
tags = st.text(_ATOM_CHARS.replace("+", ""), min_size=1, max_size=6).map(str.encode)
atoms = st.text(_ATOM_CHARS, min_size=1, max_size=8)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
octets = st.binary(min_size=1, max_size=12).filter(lambda b: 0 not in b)
names = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    .map(lambda s: s.rstrip("/") or "/")
    .map(lambda s: "INBOX" if s.lower() == "inbox" else s)
)
_number = st.integers(1, (1 << 32) - 1) | st.integers(1, 20)
_numbers_or_star = _number | st.just(STAR)


def _sets(number: st.SearchStrategy[int]) -> st.SearchStrategy[SequenceSet]:
    pair = st.tuples(number, number).map(lambda p: (min(p), max(p)))
    return st.lists(pair, min_size=1, max_size=4).map(lambda r: SequenceSet(tuple(r)))


sets = _sets(_numbers_or_star)
_plain_sets = _sets(_number)
modseqs = st.integers(0, (1 << 63) - 1)
system_flags = st.sampled_from(["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"])
flag_tuples = st.lists(system_flags | atoms, max_size=4, unique_by=str.lower).map(tuple)
status_items = st.lists(
    st.sampled_from(list(STATUS_ITEMS.values())),
    min_size=1,
    unique=True,
).map(tuple)
_days = st.integers(-700_000, 2_900_000)


def _days_of(make: type[k.Arrived | k.Sent]) -> st.SearchStrategy[k.SearchKey]:
    return (
        _days.map(lambda d: make(None, d))
        | _days.map(lambda d: make(d, None))
        | _days.map(lambda d: make(d, d + 1))
    )


_simple_keys: st.SearchStrategy[k.SearchKey] = st.one_of(
    st.sampled_from([k.All(), k.Recent()]),
    (system_flags | atoms).map(k.Flag),
    sets.map(k.Seqs),
    sets.map(k.Uids),
    st.builds(k.Field, st.sampled_from(["from", "to", "cc", "bcc", "subject"]), texts),
    st.builds(k.Header, atoms.map(str.lower), texts),
    texts.map(k.Body),
    texts.map(k.Text),
    _days_of(k.Arrived),
    _days_of(k.Sent),
    st.integers(0, 1 << 40).map(k.Larger),
    st.integers(0, 1 << 40).map(k.Smaller),
    st.builds(k.ModSeq, modseqs, st.none() | system_flags | atoms.filter(lambda a: "\\" not in a)),
)


def _combined(inner: st.SearchStrategy[k.SearchKey]) -> st.SearchStrategy[k.SearchKey]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return (
        several.map(k.And)
        | several.map(
            lambda arms: k.Or(
                tuple(a for arm in arms for a in (arm.keys if isinstance(arm, k.Or) else [arm]))
            )
        )
        | inner.map(k.Not)
    )


search_keys = st.recursive(_simple_keys, _combined, max_leaves=6)


@st.composite
def sections(draw: st.DrawFn) -> c.Section:
    """A BODY[...] item; its label is made here in another way than in the grammar."""
    path = tuple(draw(st.lists(st.integers(1, 99), max_size=3)))
    kinds = ["", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT"] + (["MIME"] if path else [])
    what = draw(st.sampled_from(kinds))
    fields: tuple[bytes, ...] = ()
    inner = ".".join([*map(str, path), *([what] if what else [])])
    if what.startswith("HEADER.FIELDS"):
        spelled = draw(
            st.lists(atoms.filter(lambda a: a.upper() != "NIL"), min_size=1, max_size=3, unique_by=str.lower)
        )
        fields = tuple(f.lower().encode() for f in spelled)
        inner += " (" + " ".join(spelled) + ")"
    partial = draw(st.none() | st.tuples(st.integers(0, 1 << 62), st.integers(1, 1 << 62)))
    label = f"BODY[{inner}]".encode() + (b"<%d>" % partial[0] if partial else b"")
    return c.Section(path, what, fields, partial, draw(st.booleans()), label)  # type: ignore[arg-type]


@st.composite
def fetches(draw: st.DrawFn) -> c.Fetch:
    """Any FETCH, as the grammar completes it."""
    single = st.sampled_from([*ITEMS.values()])
    items = draw(st.lists(single | sections(), min_size=1, max_size=5, unique=True))
    uid = draw(st.booleans())
    since = draw(st.none() | modseqs)
    if uid and c.Att.UID not in items:
        items.insert(0, c.Att.UID)
    if since is not None and c.Att.MODSEQ not in items:
        items.append(c.Att.MODSEQ)
    vanished = draw(st.booleans()) if uid and since is not None else False
    return c.Fetch(draw(tags), draw(sets), tuple(items), uid, since, vanished)


@st.composite
def lists(draw: st.DrawFn) -> c.List:
    """Any LIST."""
    select = draw(st.frozensets(st.sampled_from(["SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"])))
    if "RECURSIVEMATCH" in select:
        select |= {"SUBSCRIBED"}
    returns = draw(st.frozensets(st.sampled_from(["SUBSCRIBED", "CHILDREN", "SPECIAL-USE"])))
    patterns = tuple(draw(st.lists(names, min_size=1, max_size=3)))
    status = draw(st.just(()) | status_items)
    extended = bool(select or returns or status or len(patterns) > 1) or draw(st.booleans())
    return c.List(draw(tags), draw(names | st.just("")), patterns, select, returns, status, extended)  # type: ignore[arg-type]


_bare = [
    c.Capability,
    c.Check,
    c.Close,
    c.Expunge,
    c.Idle,
    c.Logout,
    c.Namespace,
    c.Noop,
    c.StartTls,
    c.Unselect,
]
_qresync = st.builds(
    c.QResync,
    st.integers(1, (1 << 32) - 1),
    modseqs,
    st.none() | _plain_sets,
    st.none() | st.tuples(_plain_sets, _plain_sets),
)
_id_fields = st.lists(st.tuples(texts.map(str.lower), st.none() | texts), max_size=4).map(tuple)
_uses = st.lists(st.sampled_from(["\\Drafts", "\\Sent", "\\Junk", "\\Trash", "\\Archive"]), unique=True).map(
    tuple
)
_modes = st.sampled_from(["+", "-", "="])

any_command: st.SearchStrategy[c.Command] = st.one_of(
    st.sampled_from(_bare).flatmap(lambda make: tags.map(make)),
    st.builds(c.Authenticate, tags, atoms.map(str.upper), st.none() | octets),
    st.builds(c.Copy, tags, sets, names, st.booleans()),
    st.builds(c.Create, tags, names, _uses),
    st.builds(c.Delete, tags, names),
    st.builds(c.Enable, tags, st.lists(atoms.map(str.upper), min_size=1, max_size=3, unique=True).map(tuple)),
    st.builds(c.Expunge, tags, sets),
    fetches(),
    st.builds(c.GetQuota, tags, octets),
    st.builds(c.GetQuotaRoot, tags, names),
    st.builds(c.Id, tags, _id_fields),
    lists(),
    st.builds(c.Login, tags, texts, octets),
    st.builds(c.Lsub, tags, names, names),
    st.builds(c.Move, tags, sets, names, st.booleans()),
    st.builds(c.Rename, tags, names, names),
    st.builds(c.Search, tags, search_keys, st.booleans()),
    st.builds(c.Select, tags, names, st.booleans(), st.booleans(), st.none() | _qresync),
    st.builds(c.Status, tags, names, status_items),
    st.builds(c.Store, tags, sets, _modes, flag_tuples, st.booleans(), st.booleans(), st.none() | modseqs),
    st.builds(c.Subscribe, tags, names, st.booleans()),
)

appends = st.builds(
    c.Append,
    tags,
    names,
    flag_tuples,
    st.none() | st.integers(0, (1 << 32) - 1),
    st.integers(0, 1000),
)
