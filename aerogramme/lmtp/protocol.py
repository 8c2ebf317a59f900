"""LMTP without I/O: octets in, events out; decisions in, octets out.

    protocol.receive(octets)
    while (event := protocol.next_event()) is not None:
        …                                # RecipientAsked: accept() or refuse(); MessageEnds: finish()
    send(protocol.take_output())

What needs nobody's decision is answered here: syntax, sequence, sizes, limits. Commands may come in any
number at once (PIPELINING); each is looked at only after the events before it have been dealt with, so the
answers stand in order. Whatever comes in, there are answers and events, never an exception.
`docs/protocol.md` lists the RFCs.
"""

import re
from collections.abc import Callable, Sequence

from aerogramme.lmtp.address import Mailbox, take_path
from aerogramme.lmtp.events import (
    Envelope,
    Event,
    MessageBegins,
    MessageData,
    MessageDropped,
    MessageEnds,
    RecipientAsked,
)
from aerogramme.lmtp.lineends import LineEnds

# RFC 5321 §4.5.3.1.4 has 512 octets and RFC 6531 §3.1 adds to it; Postfix takes and sends up to 2048.
MAX_LINE = 2048
# A peer that talks nonsense for so long in a row will not come to its senses. Postfix: 20 errors.
MAX_UNKNOWN_IN_A_ROW = 20
# RFC 5321 §4.1.1.11 (and RFC 1870 §3) give sizes up to 20 digits.
MAX_DIGITS = 20

Reply = bytes
"""A reply without its CR LF: code, enhanced status code (RFC 2034), text."""

OK_SENDER = b"250 2.1.0 Sender ok"
OK_RECIPIENT = b"250 2.1.5 Recipient ok"
NO_SUCH_USER = b"550 5.1.1 There is no such user here"
TOO_MANY_RECIPIENTS = b"452 4.5.3 Too many recipients: send the rest in another transaction"
FULL = b"552 5.2.2 The mailbox is full"
FULL_NOW = b"452 4.2.2 The mailbox is full: try again later"
TOO_LARGE = b"552 5.3.4 The message is larger than this server takes"
OUR_FAULT = b"451 4.3.0 A fault of this server: try again later"
NO_RECIPIENTS = b"503 5.5.1 No recipient was accepted"
NEEDS_MAIL = b"503 5.5.1 MAIL comes first"


class LmtpProtocol:
    """The server's side of one connection."""

    def __init__(self, hostname: str, *, max_size: int, max_recipients: int) -> None:
        self.client = ""
        """What the peer calls itself (LHLO), "" before it has."""
        self.closed = False
        """After this nothing is read any more: send the output, and hang up."""
        self._hostname = hostname.encode("ascii")
        self._max_size = max_size
        self._max_recipients = max_recipients
        self._input = b""
        self._at = 0
        self._output: list[bytes] = [b"220 ", self._hostname, b" Aerogramme LMTP\r\n"]
        self._events: list[Event] = []
        self._step: Callable[[], bool] = self._command
        self._line_too_long = False
        self._unknown_in_a_row = 0
        self._asked: Mailbox | None = None
        self._envelope: Envelope | None = None
        self._fresh = False  # of DATA nothing was taken yet, not even the CR LF that we put before it
        self._begun = False  # MessageBegins was told, and neither MessageEnds nor MessageDropped
        self._ended = False  # MessageEnds was told, and finish() is awaited
        self._chunking = False  # the transaction has had a BDAT
        self._failed: Reply | None = None  # why the message is swallowed
        self._line_ends = LineEnds()
        self._size = 0
        self._chunk_left = 0
        self._chunk_size = 0
        self._last_chunk = False
        self._refusal: Reply = b""

    # What the server calls

    def receive(self, data: bytes) -> None:
        """Octets from the peer. All events of those before must have been taken."""
        self._input = self._input[self._at :] + data if self._at < len(self._input) else data
        self._at = 0

    def next_event(self) -> Event | None:
        """The next thing to be dealt with; None when more input is needed, or the connection is over."""
        assert self._asked is None and not self._ended, "the last event has not been answered"
        while not self._events:
            if self.closed or not self._step():
                return None
        event = self._events.pop(0)
        if isinstance(event, RecipientAsked):
            self._asked = event.mailbox
        elif isinstance(event, MessageEnds):
            self._ended = True
        return event

    def accept(self) -> None:
        """Takes the recipient asked for."""
        assert self._asked is not None and self._envelope is not None
        self._envelope.recipients.append(self._asked)
        self._asked = None
        self._reply(OK_RECIPIENT)

    def refuse(self, reply: Reply) -> None:
        """Does not take the recipient asked for, and says why."""
        assert self._asked is not None
        self._asked = None
        self._reply(reply)

    def finish(self, replies: Sequence[Reply]) -> None:
        """What became of the message, for each recipient in order (RFC 2033 §4.2)."""
        assert self._ended and self._envelope is not None and len(replies) == len(self._envelope.recipients)
        self._ended = False
        for reply in replies:
            self._reply(reply)
        self._forget()

    def hang_up(self, reply: Reply) -> None:
        """Says a last word (RFC 5321 §3.8) and ends the connection; a message that has begun is dropped."""
        self._forget()
        self._reply(reply)
        self.closed = True

    def take_output(self) -> bytes:
        """What is to be sent to the peer now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    # Steps: each consumes some input and returns True, or returns False when it needs more

    def _command(self) -> bool:
        end = self._input.find(b"\n", self._at)
        if end < 0:
            if len(self._input) - self._at > MAX_LINE:
                self._line_too_long = True
                self._input, self._at = b"", 0
            return False
        line = self._input[self._at : end + 1]
        self._at = end + 1
        if self._line_too_long or len(line) > MAX_LINE:
            self._line_too_long = False
            self._unknown(b"500 5.5.2 The line is too long")
        elif not line.endswith(b"\r\n"):
            # RFC 5321 §2.3.8: only CR LF ends a line. Answered at once, for it may be a person with netcat.
            self._unknown(b"500 5.5.2 Lines end with CR LF here, not with LF alone")
        else:
            self._obey(line[:-2])
        return True

    def _data(self) -> bool:
        # The input begins with a CR LF of its own: the message starts at the beginning of a line.
        end = self._input.find(b"\r\n.\r\n", self._at)
        if end >= 0:
            # Nothing else ends a message: not LF . LF, nor any mixture. Where a program before us sees text
            # and we saw an end, the text would go on as commands.
            self._message(self._unstuff(self._input[self._at : end + 2]))
            self._at = end + 5
            self._step = self._command
            self._message_ends()
            return True
        stop = len(self._input)
        for held in (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r"):
            if self._input.endswith(held):
                stop -= len(held)
                break
        if stop <= self._at:
            return False
        self._message(self._unstuff(self._input[self._at : stop]))
        self._at = stop
        return True

    def _unstuff(self, data: bytes) -> bytes:
        # RFC 5321 §4.5.2. Only after CR LF: this is where the peer has put the dots in.
        data = data.replace(b"\r\n.", b"\r\n")
        if self._fresh:
            self._fresh = False
            data = data[2:]
        return data

    def _chunk(self) -> bool:
        if self._chunk_left:
            data = self._input[self._at : self._at + self._chunk_left]
            if not data:
                return False
            self._at += len(data)
            self._chunk_left -= len(data)
            self._message(data)
            return True
        self._step = self._command
        if self._last_chunk:
            self._message_ends()
        elif self._failed is not None:
            self._reply(self._failed)
        else:
            self._reply(b"250 2.0.0 %d octets received" % self._chunk_size)
        return True

    def _refused_chunk(self) -> bool:
        # RFC 3030 §2: a chunk that is refused is read all the same, and thrown away.
        taken = min(self._chunk_left, len(self._input) - self._at)
        self._at += taken
        self._chunk_left -= taken
        if self._chunk_left:
            return False
        self._step = self._command
        self._reply(self._refusal)
        return True

    # The message

    def _begin(self) -> None:
        assert self._envelope is not None
        self._begun = True
        self._events.append(MessageBegins(self._envelope))

    def _message(self, data: bytes) -> None:
        if self._failed is None and data:
            self._pass_on(self._line_ends.feed(data))

    def _pass_on(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_size:
            self._fail(TOO_LARGE)
        elif data:
            self._events.append(MessageData(data))

    def _message_ends(self) -> None:
        if self._failed is None:
            self._pass_on(self._line_ends.finish())
        if self._failed is None:
            self._begun = False
            self._events.append(MessageEnds())
            return
        # RFC 2033 §4.2: one reply for each recipient that was accepted, whatever became of the message.
        assert self._envelope is not None
        for _ in self._envelope.recipients:
            self._reply(self._failed)
        self._forget()

    def _fail(self, reply: Reply) -> None:
        self._failed = reply
        if self._begun:
            self._begun = False
            self._events.append(MessageDropped())

    def _forget(self) -> None:
        """RFC 5321 §4.1.1.5: the transaction is over, and there is none."""
        if self._begun:
            self._begun = False
            self._events.append(MessageDropped())
        self._envelope = None
        self._chunking = False
        self._failed = None
        self._line_ends = LineEnds()
        self._size = 0

    # Commands

    def _obey(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        handler = _COMMANDS.get(verb)
        if handler is not None:
            self._unknown_in_a_row = 0
            handler(self, argument.strip(b" \t"))
        elif verb in _HTTP:
            # A web page can make a browser on this machine talk to us, and what it posts could hold commands.
            self.hang_up(b"421 4.7.0 This is no web server")
        elif verb in (b"EHLO", b"HELO"):
            self._unknown(b"500 5.5.1 This is LMTP: say LHLO")  # RFC 2033 §4.1
        else:
            self._unknown(b"500 5.5.1 There is no such command")

    def _unknown(self, reply: Reply) -> None:
        self._reply(reply)
        self._unknown_in_a_row += 1
        if self._unknown_in_a_row >= MAX_UNKNOWN_IN_A_ROW:
            self.hang_up(b"421 4.7.0 Too many lines that are no commands")

    def _reply(self, reply: Reply) -> None:
        self._output.append(reply + b"\r\n")

    def _lhlo(self, argument: bytes) -> None:
        # RFC 5321 §4.1.1.1 wants a domain or an address literal. It only goes into a Received field, so
        # whatever can stand there will do.
        if not re.fullmatch(rb"[!-'*-\[\]-~]{1,255}", argument):
            self._reply(b"501 5.5.4 LHLO wants the name of the client")
            return
        self.client = argument.decode("ascii")
        self._forget()
        lines = (
            self._hostname,
            b"PIPELINING",  # RFC 2920
            b"8BITMIME",  # RFC 6152
            b"SMTPUTF8",  # RFC 6531
            b"ENHANCEDSTATUSCODES",  # RFC 2034
            b"CHUNKING",  # RFC 3030
            b"SIZE %d" % self._max_size,  # RFC 1870
        )
        self._output.extend(b"250-%b\r\n" % line for line in lines[:-1])
        self._output.append(b"250 %b\r\n" % lines[-1])

    def _mail(self, argument: bytes) -> None:
        if not self.client:
            self._reply(b"503 5.5.1 LHLO comes first")
            return
        if self._envelope is not None:
            self._reply(b"503 5.5.1 There is a transaction already")
            return
        sender: Mailbox | None = None
        text = _after(b"FROM:", argument)
        if text is not None and text.startswith("<>"):
            rest = text[2:]
        elif text is not None and (taken := take_path(text)) is not None:
            sender, rest = taken
        else:
            self._reply(b"501 5.1.7 The syntax is MAIL FROM:<address>")
            return
        envelope = Envelope(sender)
        if refusal := _mail_parameters(rest, envelope):
            self._reply(refusal)
        elif sender is not None and not envelope.smtputf8 and not sender.isascii():
            self._reply(b"550 5.6.7 An address beyond ASCII needs SMTPUTF8")  # RFC 6531 §3.5
        elif envelope.size is not None and envelope.size > self._max_size:
            self._reply(TOO_LARGE)  # RFC 1870 §6.1
        else:
            self._envelope = envelope
            self._reply(OK_SENDER)

    def _rcpt(self, argument: bytes) -> None:
        envelope = self._envelope
        if envelope is None:
            self._reply(NEEDS_MAIL)
            return
        if self._chunking:
            self._reply(b"503 5.5.1 The message has begun already")
            return
        text = _after(b"TO:", argument)
        taken = take_path(text) if text is not None else None
        if taken is None:
            self._reply(b"501 5.1.3 The syntax is RCPT TO:<address>")
            return
        mailbox, rest = taken
        if rest.strip():
            self._reply(b"555 5.5.4 There are no parameters of RCPT here")
        elif not envelope.smtputf8 and not mailbox.isascii():
            self._reply(b"553 5.6.7 An address beyond ASCII needs SMTPUTF8")  # RFC 6531 §3.5
        elif len(envelope.recipients) >= self._max_recipients:
            self._reply(TOO_MANY_RECIPIENTS)  # RFC 5321 §4.5.3.1.10
        else:
            self._events.append(RecipientAsked(mailbox, envelope.size))

    def _data_command(self, argument: bytes) -> None:
        if argument:
            self._reply(b"501 5.5.4 DATA has no parameters")
        elif self._envelope is None:
            self._reply(NEEDS_MAIL)
        elif self._chunking:
            self._reply(b"503 5.5.1 DATA cannot follow BDAT")  # RFC 3030 §2
        elif not self._envelope.recipients:
            self._reply(NO_RECIPIENTS)  # RFC 2033 §4.2 demands 503
        else:
            self._reply(b"354 Go ahead; CR LF . CR LF ends the message")
            self._input, self._at = b"\r\n" + self._input[self._at :], 0
            self._fresh = True
            self._step = self._data
            self._begin()

    def _bdat(self, argument: bytes) -> None:
        # bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CR LF (RFC 3030 §2)
        match = re.fullmatch(rb"([0-9]{1,%d})(?: +(LAST))?" % MAX_DIGITS, argument, re.IGNORECASE)
        if match is None:
            # Nobody knows where the chunk ends, and it must not be taken for commands.
            self._reply(b"501 5.5.4 The syntax is BDAT size [LAST]")
            self.hang_up(b"421 4.5.0 What follows cannot be told from commands")
            return
        self._chunk_left = self._chunk_size = int(match[1])
        self._last_chunk = match[2] is not None
        if self._envelope is None or not self._envelope.recipients:
            self._refusal = NO_RECIPIENTS if self._envelope else NEEDS_MAIL
            self._step = self._refused_chunk
            return
        self._step = self._chunk
        if not self._chunking:
            self._chunking = True
            self._begin()
        if self._failed is None and self._size + self._chunk_size > self._max_size:
            self._fail(TOO_LARGE)

    def _rset(self, argument: bytes) -> None:
        if argument:
            self._reply(b"501 5.5.4 RSET has no parameters")
            return
        self._forget()
        self._reply(b"250 2.0.0 The transaction is forgotten")

    def _noop(self, _argument: bytes) -> None:
        self._reply(b"250 2.0.0 Nothing done")

    def _vrfy(self, argument: bytes) -> None:
        if argument:
            self._reply(b"252 2.5.0 Ask with RCPT")  # RFC 5321 §3.5.3 and §7.3
        else:
            self._reply(b"501 5.5.4 VRFY wants an address")

    def _expn(self, _argument: bytes) -> None:
        self._reply(b"502 5.5.1 There are no lists here")

    def _help(self, _argument: bytes) -> None:
        self._reply(b"214 2.0.0 LHLO MAIL RCPT DATA BDAT RSET VRFY NOOP HELP QUIT; RFC 2033")

    def _quit(self, argument: bytes) -> None:
        if argument:
            self._reply(b"501 5.5.4 QUIT has no parameters")
            return
        self.hang_up(b"221 2.0.0 Goodbye")


_COMMANDS: dict[bytes, Callable[[LmtpProtocol, bytes], None]] = {
    b"LHLO": LmtpProtocol._lhlo,
    b"MAIL": LmtpProtocol._mail,
    b"RCPT": LmtpProtocol._rcpt,
    b"DATA": LmtpProtocol._data_command,
    b"BDAT": LmtpProtocol._bdat,
    b"RSET": LmtpProtocol._rset,
    b"NOOP": LmtpProtocol._noop,
    b"VRFY": LmtpProtocol._vrfy,
    b"EXPN": LmtpProtocol._expn,
    b"HELP": LmtpProtocol._help,
    b"QUIT": LmtpProtocol._quit,
}
_HTTP = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH", b"CONNECT", b"TRACE")


def _after(keyword: bytes, argument: bytes) -> str | None:
    """The text after FROM: or TO:. A space after the colon is against RFC 5321 §4.1.1.2, and common."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    try:
        return argument[len(keyword) :].lstrip(b" ").decode("utf-8")
    except UnicodeDecodeError:
        return None


def _mail_parameters(text: str, envelope: Envelope) -> Reply | None:
    """Puts esmtp-params (RFC 5321 §4.1.2) into the envelope, or returns the reply that refuses them."""
    if text and not text.startswith(" "):
        return b"501 5.5.4 A space comes before parameters"
    seen: set[str] = set()
    for parameter in text.split():
        keyword, equals, value = parameter.partition("=")
        keyword = keyword.upper()
        if keyword in seen:
            return b"501 5.5.4 A parameter is there twice"
        seen.add(keyword)
        if keyword == "SIZE":  # RFC 1870 §3
            if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
                return b"501 5.5.4 SIZE is a number of octets"
            envelope.size = int(value)
        elif keyword == "BODY":  # RFC 6152 §2. Both are one to us: eight bits are stored as they come.
            if value.upper() not in ("7BIT", "8BITMIME"):
                return b"501 5.5.4 BODY is 7BIT or 8BITMIME"
        elif keyword == "SMTPUTF8":  # RFC 6531 §3.4: without a value
            if equals:
                return b"501 5.5.4 SMTPUTF8 has no value"
            envelope.smtputf8 = True
        else:
            return b"555 5.5.4 There is no such parameter of MAIL here"  # RFC 5321 §4.1.1.11
    return None
