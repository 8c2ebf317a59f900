"""Makes every line of a message end with CR LF and nothing else, and leaves no NUL in it.

RFC 5322 §2.3 allows CR and LF only together, and IMAP cannot carry NUL (RFC 3501 §9, CHAR8). Messages with
bare ones exist all the same, and programs disagree about what they mean: where one sees a line, another
sees none. That is how a message hides a header, or a whole second message, from a filter. After this there
is nothing to disagree about:

    LF without CR          a line end: CR LF, which is how all mail programs show it
    CR CR LF               a line end: CR LF (text that went twice through a conversion of line ends)
    CR without LF          a space, so that what follows it can never begin a line (as Postfix does since 3.9)
    NUL                    a question mark: what stands beside it is never joined to something new

Ordinary messages cost three counts over their octets and are not copied.
"""

import re

_CRS = re.compile(rb"\r{2,}")
_LF = re.compile(rb"\r?\n")
_CR = re.compile(rb"\r(?!\n)")


class LineEnds:
    """A message passes through in chunks, split anywhere. It holds back no more than one CR."""

    def __init__(self) -> None:
        self._held_cr = False

    def feed(self, data: bytes) -> bytes:
        if self._held_cr:
            data = b"\r" + data
            self._held_cr = False
        if data.endswith(b"\r"):
            self._held_cr = True
            data = data[:-1]
            # Of a run of CRs one is held: it stands for all of them, whatever follows.
            data = data.rstrip(b"\r")
        return _clean(data)

    def finish(self) -> bytes:
        """What was held back, when the message ends."""
        held, self._held_cr = self._held_cr, False
        return b" " if held else b""


def _clean(data: bytes) -> bytes:
    if (pairs := data.count(b"\r\n")) != data.count(b"\n") or pairs != data.count(b"\r"):
        # Three passes, each linear: one pattern for all would look at a run of CRs again from each of them.
        data = _CR.sub(b" ", _LF.sub(b"\r\n", _CRS.sub(b"\r", data)))
    if b"\0" in data:
        data = data.replace(b"\0", b"?")
    return data
