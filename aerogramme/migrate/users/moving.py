"""Users of another server get accounts here, with the passwords that they have.

Theory of operation. An account is made with two invitations: one that the user's old password opens, or a
code where its hash is not known; and one of the key of whoever moves them (key.py). It takes mail from then
on. The first login with the old password accepts the invitation (mailbox/keys/invitations.py).

Made again, with a newer list: whoever is not there yet is made, passwords that have changed on the other
server are renewed where nobody has come yet, and aliases that are new are added. Nothing is taken away.

The users file names an account once it is made, some hundred at a time. What a crash leaves are accounts that
nobody has the name of; they are made again.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import trio

from aerogramme.errors import (
    AerogrammeError,
    AlreadyExists,
    AuthenticationFailed,
    NoSuchUser,
    Refused,
    Unavailable,
)
from aerogramme.mailbox.account import Account
from aerogramme.mailbox.keys import passwords
from aerogramme.mailbox.keys.keys import StoredKeys
from aerogramme.migrate.users.aliases import Names
from aerogramme.migrate.users.key import ImportKey
from aerogramme.migrate.users.lists import Entry
from aerogramme.seal import Argon2Params, Code
from aerogramme.store.port import Stores
from aerogramme.together import in_parallel
from aerogramme.users.directory import User, canonical, canonical_domain
from aerogramme.users.static import StaticDirectory

AT_ONCE = 8  # accounts made at once: a distant store takes its time for each
BATCH = 200  # accounts that are written into the users file at once

Done = Literal["made", "renewed", "waiting", "there", "failed"]
"""`waiting`: it was made before, the user has not come, and the password is the same; `there`: the user has a
password here."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line of the list. `code`: the invitation, where there is no hash; shown now and
    never again. `weak`: how the password is hashed, if that is guessed quickly."""

    line: int
    address: str
    done: Done
    account: str = ""
    code: Code | None = field(default=None, repr=False)
    why: str = ""
    weak: str = ""
    added: tuple[str, ...] = ()  # aliases, and domains with an @ in front
    left: tuple[str, ...] = ()  # names that the lists give to this user, and that are another's


class Movers:
    """Moves a list of users. `told` is called with each outcome once it is durable, in the order of the list
    but for some hundreds that are under way together."""

    def __init__(
        self,
        directory: StaticDirectory,
        stores: Stores,
        key: ImportKey,
        told: Callable[[Outcome], None],
        params: Argon2Params | None = None,
    ) -> None:
        self._directory = directory
        self._stores = stores
        self._key = key
        self._told = told
        self._params = params
        self._made: list[tuple[Outcome, User]] = []
        self._named: list[tuple[Outcome, User]] = []  # with the names that they have from now on
        self._outcomes: list[Outcome] = []
        self.failed: list[AerogrammeError] = []

    async def move(self, entries: Sequence[Entry], names: Mapping[str, Names]) -> None:
        """`names`: further names by main address (aliases.py). What fails with one user does not keep the
        others; `failed` has it. Raises BadConfiguration when the users file cannot be written."""
        taken = {canonical(entry.address) for entry in entries}
        todo = [(entry, _wanted(entry, names.get(entry.address, Names()), taken)) for entry in entries]
        try:
            for begin in range(0, len(todo), BATCH):
                await in_parallel(self._one, todo[begin : begin + BATCH], AT_ONCE)
                self._write()
        finally:
            self._write()  # also what was made when somebody pressed Ctrl-C

    async def _one(self, todo: tuple[Entry, "_Wanted"]) -> None:
        entry, wanted = todo
        try:
            found = self._directory.owner(entry.address)
            if found is None:
                await self._make(entry, wanted)
            else:
                await self._again(entry, wanted, found)
        except (AlreadyExists, Refused, AuthenticationFailed, NoSuchUser, Unavailable) as error:
            self._fail(entry.line, entry.address, error)

    async def _make(self, entry: Entry, wanted: "_Wanted") -> None:
        code = None if entry.hashed else Code.generate("invitation")
        user, left = self._named_for(User(entry.address, secrets.token_hex(16), quota=entry.quota), wanted)
        store = await self._stores.open(user.account, create=True)
        try:
            by = entry.hashed if code is None else code.secret
            assert by is not None
            key = self._key.of(user.account)
            unlocked = await passwords.create_invited(store, user.account, key, by, self._params)
        except BaseException:
            with trio.CancelScope(shield=True):
                await store.aclose()
            raise
        account = await Account.open(store, user.account, unlocked)
        await account.aclose()
        outcome = Outcome(
            entry.line,
            user.address,
            "made",
            user.account,
            code,
            entry.why,
            _weak(entry),
            (*user.aliases, *(f"@{domain}" for domain in user.catch_all)),
            left,
        )
        self._made.append((outcome, user))

    async def _again(self, entry: Entry, wanted: "_Wanted", found: User) -> None:
        if found.deleted is not None:
            raise AlreadyExists(f"it belongs to {found.address}, which is deleted and not erased yet")
        if canonical(found.address) != canonical(entry.address):
            raise AlreadyExists(f"it is an alias of {found.address} here")
        done: Done = "there" if found.end_to_end else await self._renew(entry, found)
        waits = done in ("renewed", "waiting")
        user, left = self._named_for(found, wanted)
        added = (
            *user.aliases[len(found.aliases) :],
            *(f"@{domain}" for domain in user.catch_all[len(found.catch_all) :]),
        )
        why, weak = (entry.why, _weak(entry)) if waits else ("", "")
        outcome = Outcome(entry.line, user.address, done, user.account, None, why, weak, added, left)
        if added:
            self._named.append((outcome, user))
        else:
            self._outcomes.append(outcome)

    async def _renew(self, entry: Entry, user: User) -> Done:
        store = await self._stores.open(user.account)
        try:
            if entry.hashed is None:
                slots = (await StoredKeys.read(store)).slots.values()
                return "there" if any(slot.kind == "password" for slot in slots) else "waiting"
            key = self._key.of(user.account)
            renewed = await passwords.renew_invitation(store, user.account, key, entry.hashed, self._params)
        except AlreadyExists:
            return "there"
        finally:
            with trio.CancelScope(shield=True):
                await store.aclose()
        return "renewed" if renewed else "waiting"

    def _named_for(self, user: User, wanted: "_Wanted") -> tuple[User, tuple[str, ...]]:
        """The user with the names that are nobody's yet; and those that are somebody else's."""
        aliases, domains, left = list(user.aliases), list(user.catch_all), list(wanted.left)
        for name in wanted.aliases:
            owner = self._directory.owner(name)
            if owner is None:
                aliases.append(name)
            elif owner.account != user.account:
                left.append(name)
        for domain in wanted.catch_all:
            owner = self._catcher(domain)
            if owner is None:
                domains.append(domain)
            elif owner.account != user.account:
                left.append(f"@{domain}")
        return replace(user, aliases=tuple(aliases), catch_all=tuple(domains)), tuple(left)

    def _catcher(self, domain: str) -> User | None:
        wanted = canonical_domain(domain)
        for user in self._directory.users():
            if any(canonical_domain(each) == wanted for each in user.catch_all):
                return user
        return None

    def _write(self) -> None:
        """What the users file is to say, all at once; one by one where somebody else has written into it
        meanwhile."""
        made, self._made = sorted(self._made, key=_line), []
        named, self._named = self._named, []
        if made:
            try:
                self._directory.add(*(user for _, user in made))
            except AlreadyExists:
                made = [each for each in made if self._add(*each)]
        if named:
            self._directory.change_all({user.address: partial(_renamed, user) for _, user in named})
        outcomes, self._outcomes = [*self._outcomes, *(each for each, _ in (*made, *named))], []
        for outcome in sorted(outcomes, key=lambda each: each.line):
            self._told(outcome)

    def _add(self, outcome: Outcome, user: User) -> bool:
        try:
            self._directory.add(user)
        except AlreadyExists as error:  # its account stays behind, and nobody has the name of it
            self._fail(outcome.line, user.address, error)
            return False
        return True

    def _fail(self, line: int, address: str, error: AerogrammeError) -> None:
        self.failed.append(error)
        self._outcomes.append(Outcome(line, address, "failed", why=str(error)))


def _line(made: tuple[Outcome, User]) -> int:
    return made[0].line


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The names that the lists give a user; `left`: those that they have given another before."""

    aliases: tuple[str, ...]
    catch_all: tuple[str, ...]
    left: tuple[str, ...]


def _wanted(entry: Entry, more: Names, taken: set[str]) -> _Wanted:
    aliases: list[str] = []
    domains: list[str] = []
    left: list[str] = []
    for name in (*entry.aliases, *more.aliases):
        if canonical(name) == canonical(entry.address):
            continue
        (left if canonical(name) in taken else aliases).append(name)
        taken.add(canonical(name))
    for domain in more.catch_all:
        form = f"@{canonical_domain(domain)}"
        if form in taken:
            left.append(f"@{domain}")
        else:
            domains.append(domain)
        taken.add(form)
    return _Wanted(tuple(aliases), tuple(domains), tuple(left))


def _renamed(wanted: User, user: User) -> User:
    return replace(user, aliases=wanted.aliases, catch_all=wanted.catch_all)


def _weak(entry: Entry) -> str:
    if entry.hashed is None or not entry.hashed.setting.weak:
        return ""
    return entry.hashed.setting.text.partition(":")[0]
