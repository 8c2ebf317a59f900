"""Where the mail of one account comes from: as a command says it, and can say it to another process."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aerogramme.errors import Unreadable
from aerogramme.migrate.sources.dbox import dbox
from aerogramme.migrate.sources.eml import Eml
from aerogramme.migrate.sources.imap.access import Access, Proof, Security
from aerogramme.migrate.sources.imap.source import CONNECTIONS, ImapSource
from aerogramme.migrate.sources.maildir import maildir
from aerogramme.migrate.sources.maildir.maildir import Layout, Maildir
from aerogramme.migrate.sources.mbox import mbox
from aerogramme.migrate.sources.mbox.listing import Options as MboxOptions
from aerogramme.migrate.sources.mbox.mbox import Mbox
from aerogramme.migrate.sources.naming import Naming
from aerogramme.migrate.sources.source import Source
from aerogramme.migrate.sources.special_use import chosen
from aerogramme.seal import Secret

Kind = Literal["dovecot", "maildir", "mbox", "eml", "imap"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Every kind of source takes what it knows of.

    where         a path, or a host
    prefix, under, utf8, escape, roles, guess   as in naming.Naming
    layout, control, index, inbox, alt   as in Dovecot's mail_location; "" where that does not say
    attached      its mail_attachment_dir
    into          the mailbox for what is in no folder: a single mbox, letters that are in PATH itself
    utc           times in an mbox that name no zone are UTC
    final         nothing writes to the source any more
    login         the login name; with `owner`, that of a master user, and the mail is the owner's
    password      of that, or a `token` of OAuth 2
    port, security, ca, connections, views   as in imap.access.Access and ImapSource; 0 and "" for the usual
    """

    kind: Kind
    where: str
    prefix: str = ""
    under: str = ""
    utf8: bool = False
    escape: str = ""
    roles: tuple[str, ...] = ()
    guess: bool = True
    layout: Layout | None = None
    control: str = ""
    index: str = ""
    inbox: str = ""
    alt: str = ""
    attached: str = ""
    into: str = ""
    utc: bool = False
    final: bool = False
    login: str = ""
    owner: str = ""
    password: str = ""
    token: bool = False
    port: int = 0
    security: str = Security.TLS
    ca: str = ""
    connections: int = CONNECTIONS
    views: bool = False

    def __repr__(self) -> str:
        return f"Origin({self.kind!r}, {self.where!r})"

    @property
    def name(self) -> str:
        """What tells it from other sources of the same account, whatever else is said of it."""
        return json.dumps([self.kind, self.where, self.login, self.owner, self.prefix, self.under, self.into])

    def to_json(self) -> str:
        """With the password: for a pipe to another process of ours, and nothing else."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Origin":
        """What `to_json` has given."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"roles": tuple(values["roles"])})

    def open(self) -> Source:
        """The source; nothing is sent or locked yet. Raises Refused, Unreadable."""
        if self.kind == "imap":
            return self._imap()
        path = Path(self.where)
        try:
            return self._files(path)
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}") from error

    def _files(self, path: Path) -> Source:
        if not path.exists():
            raise Unreadable(f"there is no {path}", hint=_NO_PATH)
        if path.is_dir():
            with os.scandir(path):  # else one that may not be read would be none of all that is known
                pass
        if self.kind == "dovecot" and dbox.looks_like(path):
            return dbox.Dbox(
                path,
                self._naming(),
                index=_path(self.index),
                control=_path(self.control),
                alt=_path(self.alt),
                attached=_path(self.attached),
            )
        if self.kind == "eml":
            return Eml(path, self._naming(), self.into)
        if self.kind != "mbox" and (self.kind == "maildir" or maildir.looks_like(path)):
            return self._maildir(path)
        if self.kind == "dovecot" and (inner := _store_in(path)) is not None:
            # Its other files may look like mailboxes: an import of those would seem to be whole.
            raise Unreadable(f"{path} is not the mail itself, which is in {inner}", hint="give that path")
        if self.kind == "mbox" or mbox.looks_like(path):
            return self._mbox(path)
        raise Unreadable(
            f"{path} is neither a Maildir, nor a dbox, nor mbox files of Dovecot",
            hint="it is the folder of mail_location, such as ~/Maildir or ~/mdbox, for one user",
        )

    def _naming(self) -> Naming:
        return Naming(
            prefix=self.prefix,
            under=self.under,
            utf8=self.utf8,
            escape=self.escape,
            roles=chosen(self.roles),
            guess=self.guess,
        )

    def _maildir(self, path: Path) -> Source:
        options = maildir.Options(
            layout=self.layout,
            control=_path(self.control),
            index=_path(self.index),
            inbox=_path(self.inbox),
            settled=self.final or self.kind == "maildir",
        )
        return Maildir(path, self._naming(), options)

    def _mbox(self, path: Path) -> Source:
        options = MboxOptions(
            dovecot=self.kind == "dovecot", inbox=_path(self.inbox), name=self.into, utc=self.utc
        )
        return Mbox(path, self._naming(), options)

    def _imap(self) -> Source:
        access = Access(
            self.where,
            self.login,
            Secret(self.password),
            owner=self.owner,
            port=self.port,
            security=Security(self.security),
            proof=Proof.TOKEN if self.token else Proof.PASSWORD,
            ca=_path(self.ca),
        )
        return ImapSource(access, self._naming(), connections=self.connections, views=self.views)


def _store_in(path: Path) -> Path | None:
    """A Maildir, or a dbox, that is in a folder."""
    inside = (each for each in sorted(path.iterdir()) if not each.is_symlink()) if path.is_dir() else ()
    return next((each for each in inside if maildir.looks_like(each) or dbox.looks_like(each)), None)


_NO_PATH = "%u, %n and %d in a path stand for user@domain, user and domain"


def _path(text: str) -> Path | None:
    return Path(text) if text else None
