"""The mailboxes of an account as Maildirs, for any program, or as Dovecot has them."""

from collections.abc import Iterator

from aerogramme.log.state import State
from aerogramme.mailbox.names import DELIMITER, INBOX
from aerogramme.maildir import Layout, host_of, levels_of, subscriptions_file
from aerogramme.migrate.export.dovecot_names import Spelled, spell
from aerogramme.migrate.export.maildir import Maildir, remove
from aerogramme.migrate.export.place import Place
from aerogramme.migrate.export.record import Made
from aerogramme.migrate.export.rows import Rows

UIDVALIDITY = "dovecot-uidvalidity"


class Maildirs:
    """Maildirs for mutt, mbsync and the like, with the names that a mount has."""

    def __init__(self, root: Place, account: str, state: State, layout: Layout) -> None:
        self._root, self._layout = root, layout
        self._host = host_of(account)
        self._levels = {name: [] if name == INBOX else levels_of(name, layout) for name in state.names}
        self.renamed: dict[str, str] = {}
        self.needs: list[str] = []

    def path_of(self, name: str) -> str:
        return "/".join(self._levels[name])

    def mailbox(self, rows: Rows, made: Made) -> Maildir:
        del made  # the files say all
        return self._maildir(rows, dovecot=False)

    def _maildir(self, rows: Rows, *, dovecot: bool) -> Maildir:
        levels = self._levels[rows.name]
        with self._root.folder(*levels) as place:
            if levels and self._layout == "maildir++":
                place.write("maildirfolder", [])
            return Maildir(place.again(), rows, self._host, dovecot=dovecot)

    def remove(self, path: str) -> None:
        remove(self._root, path.split("/") if path else [], self._host)

    def finish(self) -> None:
        """Nothing more: each Maildir is one by itself."""


class DovecotMaildirs(Maildirs):
    """Maildirs that Dovecot serves with the UIDs that messages have here."""

    def __init__(self, root: Place, account: str, state: State, layout: Layout) -> None:
        super().__init__(root, account, state, layout)
        self._state = state
        # Names that are subscribed, but are no mailboxes, are spelled in the same way.
        self._spelled: Spelled = spell({*state.names, *state.subscribed}, layout)
        self._levels = {name: self._spelled.folders[name] for name in state.names}
        self.renamed = {n: other for n, other in self._spelled.renamed.items() if n in state.names}
        self.needs = list(_settings(root, state, self._spelled))

    def mailbox(self, rows: Rows, made: Made) -> Maildir:
        del made
        return self._maildir(rows, dovecot=True)

    def finish(self) -> None:
        subscribed = map(self._spelled.subscription, sorted(self._state.subscribed))
        self._root.write("subscriptions", [subscriptions_file(subscribed)])
        self._note_uidvalidity()

    def _note_uidvalidity(self) -> None:
        """A mailbox that Dovecot makes has a greater UIDVALIDITY than any was given here: so that one of a
        name that there was is not taken for it (RFC 3501 §2.3.1.1). The name of the second file says it."""
        said = self._root.read(UIDVALIDITY, 8) or b""
        try:
            before = int(said, 16)
        except ValueError:  # Dovecot makes it anew from what it finds, and so it is here
            before = 0
        now = max(before, self._state.last_uidvalidity)
        self._root.write(UIDVALIDITY, [b"%08x" % now])
        self._root.write(f"{UIDVALIDITY}.{now:08x}", [])
        names = [e.name for e in self._root.entries() if e.name.startswith(f"{UIDVALIDITY}.")]
        for name in names:
            if name != f"{UIDVALIDITY}.{now:08x}":
                self._root.remove(name)


def _settings(root: Place, state: State, spelled: Spelled) -> Iterator[str]:
    """What Dovecot's configuration says for an account that is served from there."""
    layout = ":LAYOUT=fs" if spelled.layout == "fs" else ""
    yield f"mail_location = maildir:{root.path.absolute()}{layout}"
    if spelled.escaped:
        yield "mail_plugins = $mail_plugins listescape"
    yield "namespace inbox {"
    yield "  inbox = yes"
    yield f"  separator = {DELIMITER}"
    for name, mailbox in sorted(state.names.items()):
        role = state.roles.get(mailbox)
        if role is not None:
            shown = spelled.renamed.get(name, name).replace("\\", "\\\\").replace('"', '\\"')
            yield f'  mailbox "{shown}" {{'
            yield f"    special_use = {role}"
            yield "  }"
    yield "}"
