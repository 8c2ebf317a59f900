"""From the text of a command to the dataclass that says what it asks for: one table of commands (RFC 3501
§9).

`parse` takes what framing gives, one whole command, and gives a Command, or raises BadSyntax or
UnknownCharset, with the tag; never anything else. To add a command: a dataclass in commands.py, a function
here, a line in the table, and a line in states.py.
"""

import re
from collections.abc import Callable
from typing import Final

from aerogramme.errors import BadSyntax, UnknownCharset
from aerogramme.imap import commands
from aerogramme.imap.commands import Command, StatusItem
from aerogramme.imap.framing import AppendHead, tag_of
from aerogramme.imap.grammar_fetch import fetch, store
from aerogramme.imap.grammar_search import search
from aerogramme.imap.scanner import LARGEST_32, LARGEST_63, Scanner
from aerogramme.mailbox.names import ROLES
from aerogramme.mailbox.search_keys import STAR, SequenceSet

MAX_PATTERNS: Final = 100
"""Patterns in one LIST: each is matched with every mailbox. Clients send one to five."""

MAX_ID_FIELDS: Final = 30
"""RFC 2971 §3.3: no more than 30 field-value pairs, nor values of more than 1024 octets."""
MAX_ID_VALUE: Final = 1024

# command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF
_START: Final = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+ ([A-Za-z0-9]+)")


def parse(text: bytes) -> Command:
    """The command in `text`."""
    found = _START.match(text)
    if found is None:
        raise BadSyntax("Expected a tag, a space and a command", tag=tag_of(text))
    name = found[1]
    tag = text[: found.start(1) - 1]
    scanner = Scanner(text, found.end())
    try:
        production = COMMANDS.get(name) or COMMANDS.get(name.upper())
        if production is None:
            raise BadSyntax("Unknown command")
        command = production(scanner, tag)
        if scanner.pos != len(text):
            scanner.end()
        return command
    except (BadSyntax, UnknownCharset) as error:
        error.tag = tag
        raise


def parse_append(head: AppendHead) -> commands.Append:
    """The APPEND whose message is still to come.

    append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal
    """
    found = _START.match(head.text)
    if found is None:
        raise BadSyntax("Expected a tag, a space and a command", tag=tag_of(head.text))
    tag = head.text[: found.start(1) - 1]
    scanner = Scanner(head.text, found.end())
    try:
        scanner.sp()
        mailbox = scanner.mailbox()
        scanner.sp()
        flags: tuple[str, ...] = ()
        date = None
        if scanner.at(b"("):
            # quirk_append_flags: imapsync and imap-backup copy system flags that nobody knows (`\$NOTJUNK`),
            # and a refusal ends their run. They are left out where flags are stored.
            flags = scanner.flag_list()
            scanner.sp()
        if scanner.at(b'"'):
            # The index holds unsigned 32 bits: 1970 to 2106.
            date = min(max(scanner.date_time(), 0), LARGEST_32)
            scanner.sp()
        if scanner.pos != len(head.text) or head.binary:
            raise BadSyntax("Expected the message as a literal")
        return commands.Append(tag, mailbox, flags, date, head.size)
    except BadSyntax as error:
        error.tag = tag
        raise


Production = Callable[[Scanner, bytes], Command]


def _bare(make: Callable[[bytes], Command]) -> Production:
    """A command without arguments."""
    return lambda _scanner, tag: make(tag)


def _of_mailbox(make: Callable[[bytes, str], Command]) -> Production:
    """A command with one argument, a mailbox: delete = "DELETE" SP mailbox."""

    def production(scanner: Scanner, tag: bytes) -> Command:
        scanner.sp()
        return make(tag, scanner.mailbox())

    return production


def _id(scanner: Scanner, tag: bytes) -> Command:
    # id = "ID" SP id_params_list ; id_params_list = "(" *(string SP nstring) ")" / nil      (RFC 2971 §4)
    scanner.sp()
    fields: list[tuple[str, str | None]] = []
    if not scanner.skip(b"("):
        if scanner.nstring() is not None:
            raise BadSyntax("Expected a list or NIL")
        return commands.Id(tag, ())
    while not scanner.skip(b")"):
        if fields:
            scanner.sp()
        name = scanner.string()
        scanner.sp()
        value = scanner.nstring()
        if len(fields) == MAX_ID_FIELDS or len(name) > MAX_ID_VALUE or len(value or b"") > MAX_ID_VALUE:
            raise BadSyntax("There is too much in this ID")
        text = None if value is None else value.decode("utf-8", "replace")
        fields.append((name.decode("utf-8", "replace").lower(), text))
    return commands.Id(tag, tuple(fields))


def _authenticate(scanner: Scanner, tag: bytes) -> Command:
    # authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]      (RFC 4959 §7; "=" is the empty
    # response)
    scanner.sp()
    mechanism = scanner.word("a mechanism").decode("ascii")
    initial = None
    if scanner.skip(b" "):
        initial = b"" if scanner.skip(b"=") else scanner.base64() or None
    return commands.Authenticate(tag, mechanism, initial)


def _login(scanner: Scanner, tag: bytes) -> Command:
    # login = "LOGIN" SP userid SP password ; both astring
    scanner.sp()
    user = scanner.astring("a user name")
    scanner.sp()
    password = scanner.astring("a password")
    return commands.Login(tag, user.decode("utf-8", "replace"), password)


def _enable(scanner: Scanner, tag: bytes) -> Command:
    # enable = "ENABLE" 1*(SP capability)      (RFC 5161 §4)
    scanner.sp()
    names = [scanner.word("a capability")]
    while not scanner.at_end():
        scanner.sp()
        names.append(scanner.word("a capability"))
    return commands.Enable(tag, tuple(name.decode("ascii") for name in dict.fromkeys(names)))


def _select(scanner: Scanner, tag: bytes, read_only: bool = False) -> Command:
    # select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]      (RFC 4466 §2.2)
    # select-param = "CONDSTORE" / "QRESYNC" SP "(" ... ")"      (RFC 7162 §7)
    scanner.sp()
    mailbox = scanner.mailbox()
    condstore, qresync = False, None
    if scanner.skip(b" ("):
        while True:
            match scanner.word("a SELECT parameter"):
                case b"CONDSTORE":
                    condstore = True
                case b"QRESYNC":
                    scanner.sp()
                    qresync = _qresync(scanner)
                case _:
                    raise BadSyntax("Unknown SELECT parameter")
            if scanner.skip(b")"):
                break
            scanner.sp()
    return commands.Select(tag, mailbox, read_only, condstore, qresync)


def _examine(scanner: Scanner, tag: bytes) -> Command:
    # examine = "EXAMINE" SP mailbox [select-params]
    return _select(scanner, tag, read_only=True)


def _qresync(scanner: Scanner) -> commands.QResync:
    # "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
    # seq-match-data = "(" known-sequence-set SP known-uid-set ")"      (RFC 7162 §7)
    scanner.expect(b"(")
    uidvalidity = scanner.nz_number(LARGEST_32)
    scanner.sp()
    modseq = scanner.number(LARGEST_63)
    known_uids = seq_match = None
    while not scanner.skip(b")"):
        scanner.sp()
        if scanner.skip(b"("):
            seqs = _known(scanner)
            scanner.sp()
            seq_match = (seqs, _known(scanner))
            scanner.expect(b"))")
            break
        if known_uids is not None:
            raise BadSyntax("Expected the end of QRESYNC")
        known_uids = _known(scanner)
    return commands.QResync(uidvalidity, modseq, known_uids, seq_match)


def _known(scanner: Scanner) -> SequenceSet:
    # known-uids = sequence-set ; "*" is not allowed      (RFC 7162 §7)
    known = scanner.sequence_set()
    if any(last == STAR for _, last in known.ranges):
        raise BadSyntax("* is not allowed in QRESYNC")
    return known


def _create(scanner: Scanner, tag: bytes) -> Command:
    # create = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]      (RFC 4466 §2.2)
    # create-param = "USE" SP "(" [use-attr *(SP use-attr)] ")"      (RFC 6154 §6)
    scanner.sp()
    mailbox = scanner.mailbox()
    use: tuple[str, ...] = ()
    if scanner.skip(b" ("):
        if scanner.word("a CREATE parameter") != b"USE":
            raise BadSyntax("Unknown CREATE parameter")
        scanner.sp()
        found = [SPECIAL_USE.get(flag.lower(), flag) for flag in scanner.flag_list()]
        if not all(flag[0] == "\\" for flag in found):
            raise BadSyntax("A use attribute begins with a backslash")
        use = tuple(dict.fromkeys(found))
        scanner.expect(b")")
    return commands.Create(tag, mailbox, use)


SPECIAL_USE: Final = {role.lower(): role for role in ROLES}
"""By lower case."""


def _rename(scanner: Scanner, tag: bytes) -> Command:
    # rename = "RENAME" SP mailbox SP mailbox
    scanner.sp()
    source = scanner.mailbox()
    scanner.sp()
    return commands.Rename(tag, source, scanner.mailbox())


def _list(scanner: Scanner, tag: bytes) -> Command:
    # list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]      (RFC 5258 §6)
    scanner.sp()
    extended = scanner.skip(b"(")
    status: list[StatusItem] = []
    select = _options(scanner, SELECT_OPTIONS, status) if extended else frozenset()
    if extended:
        scanner.sp()
    if "RECURSIVEMATCH" in select and "SUBSCRIBED" not in select:
        raise BadSyntax("RECURSIVEMATCH needs SUBSCRIBED")  # RFC 5258 §3.1
    reference = scanner.name(scanner.astring("a reference name"))
    scanner.sp()
    # patterns = "(" list-mailbox *(SP list-mailbox) ")"
    patterns: list[str] = []
    if scanner.skip(b"("):
        extended = True
        while True:
            patterns.append(scanner.list_mailbox())
            if scanner.skip(b")"):
                break
            if len(patterns) == MAX_PATTERNS:
                raise BadSyntax("There are too many patterns")
            scanner.sp()
    else:
        patterns.append(scanner.list_mailbox())
    returns: frozenset[str] = frozenset()
    if not scanner.at_end():
        # list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
        scanner.sp()
        if scanner.word("RETURN") != b"RETURN":
            raise BadSyntax("Expected RETURN")
        scanner.expect(b" (")
        extended = True
        returns = _options(scanner, RETURN_OPTIONS, status)
    return commands.List(
        tag, reference, tuple(patterns), select, returns - {"STATUS"}, tuple(dict.fromkeys(status)), extended
    )


SELECT_OPTIONS: Final = {b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"}
"""RFC 5258 §3.1; SPECIAL-USE: RFC 6154 §2."""
RETURN_OPTIONS: Final = {b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"STATUS"}
"""RFC 5258 §3.2; SPECIAL-USE: RFC 6154 §2; STATUS: RFC 5819 §2."""


def _options(scanner: Scanner, known: set[bytes], status: list[StatusItem]) -> frozenset[str]:
    """Options up to the closing parenthesis, and the items behind STATUS. RFC 5258 §3: one that is not known
    is answered BAD."""
    found: set[str] = set()
    while not scanner.skip(b")"):
        if found:
            scanner.sp()
        option = scanner.word("an option")
        if option not in known:
            raise BadSyntax("Unknown LIST option")
        if option == b"STATUS":
            scanner.sp()
            status.extend(_status_items(scanner))
        found.add(option.decode("ascii"))
    return frozenset(found)


def _lsub(scanner: Scanner, tag: bytes) -> Command:
    # lsub = "LSUB" SP mailbox SP list-mailbox
    scanner.sp()
    reference = scanner.name(scanner.astring("a reference name"))
    scanner.sp()
    return commands.Lsub(tag, reference, scanner.list_mailbox())


def _status(scanner: Scanner, tag: bytes) -> Command:
    # status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
    scanner.sp()
    mailbox = scanner.mailbox()
    scanner.sp()
    return commands.Status(tag, mailbox, _status_items(scanner))


STATUS_ITEMS: Final[dict[bytes, StatusItem]] = {
    b"MESSAGES": "MESSAGES",
    b"RECENT": "RECENT",
    b"UIDNEXT": "UIDNEXT",
    b"UIDVALIDITY": "UIDVALIDITY",
    b"UNSEEN": "UNSEEN",
    b"HIGHESTMODSEQ": "HIGHESTMODSEQ",  # RFC 7162 §3.1.7
    b"DELETED": "DELETED",  # RFC 9208 §4.1.4
    b"DELETED-STORAGE": "DELETED-STORAGE",  # RFC 9208 §4.1.4
}


def _status_items(scanner: Scanner) -> tuple[StatusItem, ...]:
    scanner.expect(b"(")
    items: dict[StatusItem, None] = {}
    while True:
        item = STATUS_ITEMS.get(scanner.word("a STATUS item"))
        if item is None:
            raise BadSyntax("Unknown STATUS item")
        items[item] = None
        if scanner.skip(b")"):
            return tuple(items)
        scanner.sp()


def _get_quota(scanner: Scanner, tag: bytes) -> Command:
    # getquota = "GETQUOTA" SP quota-root-name ; quota-root-name = astring      (RFC 9208 §8)
    scanner.sp()
    return commands.GetQuota(tag, scanner.astring("a quota root"))


def _append(scanner: Scanner, _tag: bytes) -> Command:
    # A whole APPEND comes from parse_append. As a CommandText it has no message, or nobody is logged in.
    scanner.pos = len(scanner.text)
    raise BadSyntax("APPEND needs a login before it, and a message as a literal")


def _expunge(scanner: Scanner, tag: bytes) -> Command:
    # uid-expunge = "UID" SP "EXPUNGE" SP sequence-set      (RFC 4315 §4)
    scanner.sp()
    return commands.Expunge(tag, scanner.sequence_set())


def _to_mailbox(make: type[commands.Copy] | type[commands.Move], *, uid: bool = False) -> Production:
    """copy = "COPY" SP sequence-set SP mailbox, and MOVE in the same way (RFC 6851 §4)."""

    def production(scanner: Scanner, tag: bytes) -> Command:
        scanner.sp()
        numbers = scanner.sequence_set()
        scanner.sp()
        return make(tag, numbers, scanner.mailbox(), uid)

    return production


def _uid(scanner: Scanner, tag: bytes) -> Command:
    # uid = "UID" SP (copy / fetch / search / store / uid-expunge / move)
    scanner.sp()
    production = UID_COMMANDS.get(scanner.word("a command after UID"))
    if production is None:
        raise BadSyntax("Unknown UID command")
    return production(scanner, tag)


UID_COMMANDS: Final[dict[bytes, Production]] = {
    b"COPY": _to_mailbox(commands.Copy, uid=True),
    b"EXPUNGE": _expunge,
    b"FETCH": lambda scanner, tag: fetch(scanner, tag, True),
    b"MOVE": _to_mailbox(commands.Move, uid=True),
    b"SEARCH": lambda scanner, tag: search(scanner, tag, True),
    b"STORE": lambda scanner, tag: store(scanner, tag, True),
}

COMMANDS: Final[dict[bytes, Production]] = {
    b"APPEND": _append,
    b"AUTHENTICATE": _authenticate,
    b"CAPABILITY": _bare(commands.Capability),
    b"CHECK": _bare(commands.Check),
    b"CLOSE": _bare(commands.Close),
    b"COPY": _to_mailbox(commands.Copy),
    b"CREATE": _create,
    b"DELETE": _of_mailbox(commands.Delete),
    b"ENABLE": _enable,
    b"EXAMINE": _examine,
    b"EXPUNGE": _bare(commands.Expunge),
    b"FETCH": fetch,
    b"GETQUOTA": _get_quota,
    b"GETQUOTAROOT": _of_mailbox(commands.GetQuotaRoot),
    b"ID": _id,
    b"IDLE": _bare(commands.Idle),
    b"LIST": _list,
    b"LOGIN": _login,
    b"LOGOUT": _bare(commands.Logout),
    b"LSUB": _lsub,
    b"MOVE": _to_mailbox(commands.Move),
    b"NAMESPACE": _bare(commands.Namespace),
    b"NOOP": _bare(commands.Noop),
    b"RENAME": _rename,
    b"SEARCH": search,
    b"SELECT": _select,
    b"STARTTLS": _bare(commands.StartTls),
    b"STATUS": _status,
    b"STORE": store,
    b"SUBSCRIBE": _of_mailbox(lambda tag, name: commands.Subscribe(tag, name, True)),
    b"UID": _uid,
    b"UNSELECT": _bare(commands.Unselect),
    b"UNSUBSCRIBE": _of_mailbox(lambda tag, name: commands.Subscribe(tag, name, False)),
}
"""Every command by name. A function starts right behind the name; the end of the text is checked for it."""
