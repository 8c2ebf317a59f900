"""The paths of MAIL and RCPT: who a message is from, and whom it is for."""

import ipaddress
import re
from dataclasses import dataclass

# RFC 5321 §4.1.2 and RFC 6531 §3.3, by their names there. What is beyond ASCII is taken, but for controls and
# the separators of lines and paragraphs, which some readers of a header would take for the end of a line.
# A set says what is not in it: one that names a million characters takes `re` milliseconds, at each start.
_NOT_UTF8 = "\x7f-\x9f\u2028\u2029"
_NOT_ATEXT_OR_DOT = rf'\0- "(),:;<>@\[\\\]{_NOT_UTF8}'
_NOT_ATEXT = f".{_NOT_ATEXT_OR_DOT}"
# Dot-string = Atom *("."  Atom). Dots in other places are taken too: Japanese mobile carriers have given out
# such addresses, Postfix takes them, and a message that has come so far would bounce for a dot.
_DOT_STRING = f"[^{_NOT_ATEXT_OR_DOT}]+"
# QcontentSMTP = qtextSMTP / quoted-pairSMTP
_QUOTED_STRING = rf'"(?:[^\0-\x1f"\\{_NOT_UTF8}]|\\[ -~])*"'
# sub-domain = Let-dig [Ldh-str]; the underscore is not in the grammar, but in names of real hosts.
_SUB_DOMAIN = rf"[^\0-,./:-@\[-^`{{-~{_NOT_UTF8}]+"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
_ADDRESS_LITERAL = r"\[[!-Z^-~]+\]"
# A-d-l = At-domain *( "," At-domain ): must be accepted, should be ignored (RFC 5321 §4.1.2 and appendix C).
_SOURCE_ROUTE = rf"@{_DOMAIN}(?:,@{_DOMAIN})*:"
# The domain may be missing: RFC 5321 §4.1.1.3 asks for <Postmaster>, and local programs send from <root>.
_PATH = re.compile(
    rf"<(?:{_SOURCE_ROUTE})?(?P<local>{_DOT_STRING}|{_QUOTED_STRING})"
    rf"(?:@(?P<domain>{_DOMAIN}|{_ADDRESS_LITERAL}))?>"
)
_ONLY_DOT_STRING = re.compile(rf"[^{_NOT_ATEXT}]+(?:\.[^{_NOT_ATEXT}]+)*")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address in an envelope: the local part without its quotes, and the domain, or "" without one."""

    local: str
    domain: str

    @property
    def plain(self) -> str:
        """The address without quotes, as users are looked up."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    def __str__(self) -> str:
        """The address as it may stand in a header or an envelope (RFC 5321 §4.1.2): quoted where needed."""
        local = self.local
        if not _ONLY_DOT_STRING.fullmatch(local):
            local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
        return f"{local}@{self.domain}" if self.domain else local

    def isascii(self) -> bool:
        return self.local.isascii() and self.domain.isascii()


def take_path(text: str) -> tuple[Mailbox, str] | None:
    """The Forward-path or Reverse-path that a text begins with, and what follows it; None if there is none.

    The null path `<>` is none: only MAIL may have it.
    """
    match = _PATH.match(text)
    if match is None:
        return None
    local, domain = match["local"], match["domain"] or ""
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if domain.startswith("[") and not _is_literal(domain[1:-1]):
        return None
    return Mailbox(local, domain), text[match.end() :]


def _is_literal(text: str) -> bool:
    """RFC 5321 §4.1.3. Of tagged literals only IPv6 has ever been registered."""
    try:
        if text[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(text[5:])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
