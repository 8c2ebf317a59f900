"""Reads the pieces that IMAP commands are made of (RFC 3501 §9): each method bears the name of its
production.

A Scanner stands at a position in the text of one command. A method either takes its production there and
moves on, or raises BadSyntax; nothing else is ever raised. Numbers and sets are bounded by their patterns.
"""

import binascii
import re
from typing import Final

from aerogramme.errors import BadSyntax
from aerogramme.imap import dates, mutf7
from aerogramme.log.flagsets import SYSTEM
from aerogramme.mailbox.names import INBOX, is_inbox
from aerogramme.mailbox.search_keys import STAR, SequenceSet

# atom            = 1*ATOM-CHAR ; ATOM-CHAR = <any CHAR except ( ) { SP CTL % * " \ ]>
ATOM: Final = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
# ASTRING-CHAR    = ATOM-CHAR / resp-specials ; resp-specials = "]"
ASTRING_CHARS: Final = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
# list-char       = ATOM-CHAR / list-wildcards / resp-specials ; list-wildcards = "%" / "*"
LIST_CHARS: Final = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
# quoted          = DQUOTE *QUOTED-CHAR DQUOTE
# QUOTED-CHAR     = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials
# quirk_quoted_8bit: TEXT-CHAR is ASCII, but passwords and search texts come in UTF-8 (and RFC 6855 §3 allows
# it).
QUOTED: Final = re.compile(rb'"([^"\\\r\n\0]*(?:\\["\\][^"\\\r\n\0]*)*)"')
ESCAPED: Final = re.compile(rb'\\(["\\])')
# literal         = "{" number ["+"] "}" CRLF *CHAR8          (RFC 7888 §8)
LITERAL: Final = re.compile(rb"\{([0-9]{1,19})\+?\}\r\n")
# number          = 1*DIGIT ; unsigned 32 bits in RFC 3501, 63 bits in RFC 7162 §7 and RFC 9051 §9
NUMBER: Final = re.compile(rb"[0-9]{1,19}(?![0-9])")
# sequence-set    = (seq-number / seq-range) *("," sequence-set) ; seq-number = nz-number / "*"
SEQUENCE_SET: Final = re.compile(
    rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?"
    rb"(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*(?![0-9:,*])"
)
# flag            = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword / flag-extension
FLAG: Final = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+|\\\*")
# date            = date-text / DQUOTE date-text DQUOTE
DATE: Final = re.compile(rb'("?)([0-9]{1,2}-[A-Za-z]{3}-[0-9]{4})\1')
END: Final = re.compile(rb" *\Z")
BASE64: Final = re.compile(rb"[A-Za-z0-9+/]*={0,2}")

LARGEST_32: Final = (1 << 32) - 1
LARGEST_63: Final = (1 << 63) - 1

SYSTEM_FLAGS: Final = {name.lower(): name for name in (*SYSTEM, "\\Recent")}
"""RFC 3501 §2.3.2, by lower case."""


class Scanner:
    """A position in the text of a command."""

    __slots__ = ("pos", "text")

    def __init__(self, text: bytes, pos: int = 0) -> None:
        self.text = text
        self.pos = pos

    def at(self, octets: bytes) -> bool:
        """Whether these octets come next. Nothing is taken."""
        return self.text.startswith(octets, self.pos)

    def skip(self, octets: bytes) -> bool:
        """Takes these octets if they come next, and says whether they did."""
        if self.text.startswith(octets, self.pos):
            self.pos += len(octets)
            return True
        return False

    def expect(self, octets: bytes) -> None:
        """Takes these octets."""
        if not self.text.startswith(octets, self.pos):
            raise BadSyntax(f"Expected {_NAMES.get(octets) or octets.decode('ascii')}{self._where()}")
        self.pos += len(octets)

    def sp(self) -> None:
        """SP."""
        self.expect(b" ")

    def at_end(self) -> bool:
        """Whether nothing more comes. quirk_trailing_space: some clients leave a space there."""
        return END.match(self.text, self.pos) is not None

    def end(self) -> None:
        """The end of the command."""
        if not self.at_end():
            raise BadSyntax(f"Expected the end of the command{self._where()}")

    def take(self, pattern: re.Pattern[bytes], name: str) -> bytes:
        """What the pattern matches here."""
        found = pattern.match(self.text, self.pos)
        if found is None:
            raise BadSyntax(f"Expected {name}{self._where()}")
        self.pos = found.end()
        return found[0]

    def word(self, name: str) -> bytes:
        """An atom that is a keyword of the grammar, in upper case."""
        return self.take(ATOM, name).upper()

    def atom(self) -> bytes:
        """atom."""
        return self.take(ATOM, "an atom")

    def string(self, name: str = "a string") -> bytes:
        """string = quoted / literal."""
        found = QUOTED.match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
            return ESCAPED.sub(rb"\1", found[1]) if b"\\" in found[1] else found[1]
        found = LITERAL.match(self.text, self.pos)
        if found is None:
            raise BadSyntax(f"Expected {name}{self._where()}")
        start = found.end()
        stop = start + int(found[1])
        value = self.text[start:stop]
        if stop > len(self.text):
            raise BadSyntax("The literal is cut short")
        if 0 in value:  # CHAR8 = %x01-ff
            raise BadSyntax("A literal cannot contain NUL")
        self.pos = stop
        return value

    def astring(self, name: str = "a string") -> bytes:
        """astring = 1*ASTRING-CHAR / string."""
        found = ASTRING_CHARS.match(self.text, self.pos)
        if found is None:
            return self.string(name)
        self.pos = found.end()
        return found[0]

    def nstring(self) -> bytes | None:
        """nstring = string / nil."""
        if self.text[self.pos : self.pos + 3].upper() == b"NIL":
            self.pos += 3
            return None
        return self.string()

    def name(self, octets: bytes) -> str:
        """A mailbox name or pattern as text: modified UTF-7 (RFC 3501 §5.1.3), or UTF-8."""
        try:
            # quirk_raw_utf8: 8-bit octets are no modified UTF-7, but can be meant in one way only.
            if not octets.isascii():
                return octets.decode("utf-8")
            return mutf7.decode(octets)
        except ValueError:
            raise BadSyntax("The mailbox name is not valid modified UTF-7") from None

    def mailbox(self) -> str:
        """mailbox = "INBOX" / astring ; INBOX is case-insensitive."""
        name = self.name(self.astring("a mailbox name"))
        if len(name) > 1 and name[-1] == "/":
            # RFC 3501 §6.3.3: in CREATE it declares that names below will be made, and need not be
            # remembered. quirk_trailing_delimiter: Thunderbird puts it elsewhere, too.
            name = name[:-1]
        return INBOX if is_inbox(name) else name

    def list_mailbox(self) -> str:
        """list-mailbox = 1*list-char / string."""
        found = LIST_CHARS.match(self.text, self.pos)
        if found is None:
            return self.name(self.string("a mailbox pattern"))
        self.pos = found.end()
        return self.name(found[0])

    def number(self, largest: int = LARGEST_63) -> int:
        """number, up to `largest`."""
        value = int(self.take(NUMBER, "a number"))
        if value > largest:
            raise BadSyntax(f"The number is too large{self._where()}")
        return value

    def nz_number(self, largest: int = LARGEST_63) -> int:
        """nz-number: above zero."""
        value = self.number(largest)
        if value == 0:
            raise BadSyntax(f"The number cannot be zero{self._where()}")
        return value

    def sequence_set(self) -> SequenceSet:
        """sequence-set."""
        text = self.take(SEQUENCE_SET, "a set of numbers")
        if text.isdigit():
            number = _seq_number(text)
            return SequenceSet(((number, number),))
        ranges = []
        for part in text.split(b","):
            left, colon, right = part.partition(b":")
            first = _seq_number(left)
            last = _seq_number(right) if colon else first
            # RFC 3501 §9, seq-range: 2:4 and 4:2 are equivalent.
            ranges.append((first, last) if first <= last else (last, first))
        return SequenceSet(tuple(ranges))

    def flag(self) -> str:
        """flag: a system flag in the RFC's spelling, a keyword or an unknown system flag as it is written."""
        text = self.take(FLAG, "a flag").decode("ascii")
        return SYSTEM_FLAGS.get(text.lower(), text) if text[0] == "\\" else text

    def flag_list(self) -> tuple[str, ...]:
        """flag-list = "(" [flag *(SP flag)] ")"."""
        self.expect(b"(")
        flags: list[str] = []
        while not self.skip(b")"):
            if flags:
                self.sp()
            flags.append(self.flag())
        return tuple(flags)

    def date(self) -> int:
        """date, as days since 1970-01-01."""
        found = DATE.match(self.text, self.pos)
        if found is None:
            raise BadSyntax(f"Expected a date such as 1-Feb-1994{self._where()}")
        self.pos = found.end()
        try:
            return dates.parse_date(found[2])
        except ValueError:
            raise BadSyntax("There is no such date") from None

    def date_time(self) -> int:
        """date-time, as unix seconds."""
        text = self.take(QUOTED, "a date and time")
        try:
            return dates.parse_date_time(text[1:-1])
        except ValueError:
            raise BadSyntax("There is no such date and time") from None

    def base64(self) -> bytes:
        """base64, decoded."""
        text = self.take(BASE64, "base64")
        try:
            return binascii.a2b_base64(text, strict_mode=True) if text else b""
        except binascii.Error:
            raise BadSyntax("That is not base64") from None

    def _where(self) -> str:
        # The text itself is not repeated: it may hold a password.
        return f" at octet {self.pos}" if self.pos < len(self.text) else " at the end of the command"


_NAMES: Final = {b" ": "a space"}


def _seq_number(text: bytes) -> int:
    # seq-number = nz-number / "*"
    if text == b"*":
        return STAR
    number = int(text)
    if number > LARGEST_32:
        raise BadSyntax("The number is too large")
    return number
