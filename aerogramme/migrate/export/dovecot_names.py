r"""Folders as Dovecot looks for them: names in modified UTF-7, and what its layouts do not bear, with its
plugin listescape, as "\" and two hexadecimal digits. (A mount and a plain Maildir have names of their own,
for which no plugin is needed: aerogramme/maildir.py.)

What even that plugin cannot help is called otherwise: names that are too long, and in the layout fs levels
that Dovecot has other uses for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from aerogramme.imap import mutf7
from aerogramme.mailbox.names import DELIMITER, INBOX
from aerogramme.maildir import LONGEST, MADE, PARTS, Layout
from aerogramme.migrate.export.record import NAMES as OURS

ESCAPE = "\\"  # the default of listescape_char


@dataclass(slots=True)
class Spelled:
    """How the mailboxes of an account are spelled.

    folders   name -> folders, one below the other; none for INBOX
    escaped   Dovecot needs the plugin listescape to read them
    renamed   name -> what Dovecot calls it, where that is another name
    """

    layout: Layout
    escaped: bool
    folders: dict[str, list[str]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def subscription(self, name: str) -> str:
        """What stands for a name in the file of subscriptions (maildir.subscriptions_file)."""
        name = self.renamed.get(name, name)
        return _escaped(name, self.layout) if self.escaped else name


def spell(names: Iterable[str], layout: Layout) -> Spelled:
    """The folders of these mailboxes."""
    names = list(names)
    spelled = Spelled(layout, any(_needs_escape(name, layout) for name in names))
    others = [name for name in names if _name(name, spelled) != name]
    taken = set(names).difference(others)
    for name in sorted(taken.union(others)):
        shown = name
        if name in others:
            shown = _name(name, spelled)
            while shown in taken:
                shown += "_"
            taken.add(shown)
            spelled.renamed[name] = shown
        spelled.folders[name] = [] if name == INBOX else _folders(shown, spelled)
    return spelled


def _needs_escape(name: str, layout: Layout) -> bool:
    """ "~" at the beginning is a home to Dovecot; "." separates levels in Maildir++."""
    return name.startswith("~") or (layout == "maildir++" and "." in name)


def _escaped(name: str, layout: Layout) -> str:
    special = (ESCAPE, ".") if layout == "maildir++" else (ESCAPE,)
    name = "".join(f"{ESCAPE}{ord(letter):02x}" if letter in special else letter for letter in name)
    levels = name.split(DELIMITER)
    return DELIMITER.join(f"{ESCAPE}7e{each[1:]}" if each.startswith("~") else each for each in levels)


def _folders(name: str, spelled: Spelled) -> list[str]:
    text = _escaped(name, spelled.layout) if spelled.escaped else name
    levels = [mutf7.encode(level).decode() for level in text.split(DELIMITER)]
    return ["." + ".".join(levels)] if spelled.layout == "maildir++" else levels


def _name(name: str, spelled: Spelled) -> str:
    """The name under which it can be a folder."""
    if name == INBOX:
        return name
    if spelled.layout == "fs":
        name = DELIMITER.join(f"{level}_" if _reserved(level) else level for level in name.split(DELIMITER))
    if any(len(folder) > LONGEST for folder in _folders(name, spelled)):
        return f"Mailbox {sha256(name.encode()).hexdigest()[:8]}"
    return name


def _reserved(level: str) -> bool:
    """Folders and files that Dovecot, or an export, has in that of a mailbox."""
    return level in (*PARTS, *MADE, *OURS, "maildirsize") or level.startswith(("dovecot.", "dovecot-"))
