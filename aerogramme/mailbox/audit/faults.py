"""What can be wrong with an account, and what `check --repair` does about each: one list, for all who ask."""

from dataclasses import dataclass
from enum import StrEnum

Item = tuple[str, str]
"""Something that is stored: partition and key of a row, or "" and the name of an object."""


class Kind(StrEnum):
    """The kinds of faults. The values are what scripts see."""

    BODY = "body"
    PACK = "pack"
    DIGEST = "digest"
    ENTRY = "entry"
    GAP = "gap"
    LINK = "link"
    CHECKPOINT = "checkpoint"
    MISSING = "missing"
    PAST = "past"
    OBJECT = "object"
    LETTER = "letter"
    SLOT = "slot"
    KEYRING = "keyring"
    PUBLIC = "public"
    USE = "use"
    LET_GO = "let-go"
    STRANGE = "strange"
    NAME = "name"
    TABLE = "table"
    NAMELESS = "nameless"
    FOUND = "found"
    UNFINISHED = "unfinished"
    REOPENED = "reopened"
    RECOVERY = "recovery"
    NEWER = "newer"


REMEDIES: dict[Kind, str] = {
    Kind.BODY: "the message becomes one that says so, with all that is still known of it",
    Kind.PACK: "what can be read of it is stored one by one",
    Kind.DIGEST: "found elsewhere in the store, or made again from the letter",
    Kind.ENTRY: "given up and set aside; the mail that it brought is looked for",
    Kind.GAP: "given up; the mail that they brought is looked for",
    Kind.LINK: "what lay between the two is given up",
    Kind.CHECKPOINT: "a new one is written, from an older one and the log",
    Kind.MISSING: "all letters that are there, and in no mailbox, are brought to the mailbox Recovered",
    Kind.PAST: "given up: the past has a hole there, for as long as it is kept",
    Kind.OBJECT: "set aside: nothing needs it",
    Kind.LETTER: "set aside; a message in INBOX tells of it",
    Kind.SLOT: "set aside; the password that it was opens nothing any more and is taken out",
    Kind.KEYRING: "written again for all passwords",
    Kind.PUBLIC: "set aside, and written again from the keyring",
    Kind.USE: "set aside: when the password was used last is forgotten",
    Kind.LET_GO: "set aside: what it named is let go of anew",
    Kind.STRANGE: "set aside",
    Kind.NAME: "the mailbox gets the nearest name that one can have",
    Kind.TABLE: "the checkpoint that it comes from is set aside: the mailbox comes from an older one",
    Kind.NAMELESS: "the mailbox is shown as Recovered",
    Kind.FOUND: "brought to the mailbox Recovered",
    Kind.UNFINISHED: "brought to the mailbox Recovered; let go of, if messages have the same letters",
    Kind.REOPENED: "what it is opened from is written anew",
}
"""What the repair does, for each kind that it can do something about."""

BY_HAND: dict[Kind, str] = {
    Kind.RECOVERY: "`aerogramme account recovery-code` makes one; it is shown once, so not unasked",
    Kind.NEWER: "nothing is touched: the keys are older than the mail. Bring back a newer copy of the keys",
}
"""What people can do about the others."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    what     in plain words; names mailboxes, and nothing else of what is in the mail
    item     the row or object that it is about
    content  the content that it is about
    segment  the segment that it is about
    entries  (replica, seq) of the entries that it is about
    mailbox  the mailbox that it is about
    """

    kind: Kind
    what: str
    item: Item | None = None
    content: int | None = None
    segment: str = ""
    entries: tuple[tuple[int, int], ...] = ()
    mailbox: int | None = None

    @property
    def harmless(self) -> bool:
        """Whether it may well be what a crash has left: mail that nobody was told had been taken."""
        return self.kind == Kind.UNFINISHED

    @property
    def repairable(self) -> bool:
        """Whether `repair` does something about it."""
        return self.kind in REMEDIES

    @property
    def remedy(self) -> str:
        """What that is; or what somebody has to do."""
        return REMEDIES.get(self.kind) or BY_HAND[self.kind]

    def __str__(self) -> str:
        return self.what
