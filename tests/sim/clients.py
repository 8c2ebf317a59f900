"""Mail programs: what they know is what servers have told them, and they go from one server to another."""

import re
from functools import partial
from typing import TYPE_CHECKING

import trio

from aerogramme.log.table import Table
from tests.helpers.believer import _numbers
from tests.helpers.imap_grammar import Response
from tests.helpers.transcript import Client
from tests.sim.belief import HEADER, Belief, Box, mail
from tests.sim.ledger import Change, Mail
from tests.sim.senders import LOST
from tests.sim.servers import PASSWORD, USER, Process

if TYPE_CHECKING:
    from tests.sim.world import World

KINDS = ("plain", "condstore", "qresync")
NAMES = ("INBOX", "INBOX", "INBOX", "Archive", "Work")
FLAGS = (b"\\Seen", b"\\Flagged", b"\\Deleted")


class Program:
    """One mail program of a person: it remembers mailboxes, and has one session at a time."""

    def __init__(self, world: "World", person: str, name: str, kind: str) -> None:
        self.world, self.person, self.name, self.kind = world, person, name, kind
        self.boxes: dict[str, Box] = {}
        self.process: Process | None = None
        self.belief: Belief | None = None
        self.selected = ""  # the mailbox that is open
        self.read = 0.0  # all that was acknowledged before was told when it was opened

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"

    # --- life

    async def live(self) -> None:
        world = self.world
        while world.another_step():
            await world.pause(world.pace)
            try:
                await self.step()
            except LOST:
                world.tell(f"{self}: the connection is lost")
                await self.hang_up()
        await self.hang_up()

    async def step(self) -> None:
        random = self.world.random
        if self.belief is None:
            await self.connect(random.choice(self.world.servers).process)
        if self.belief is None:
            return
        if not self.selected:
            await self.open(random.choice(NAMES))
        elif not self.belief.complete or self.unnumbered():
            await self.fetch_new()
        else:
            [action] = random.choices(list(ACTIONS), list(ACTIONS.values()))
            await action(self)

    async def connect(self, process: Process | None) -> None:
        if process is None:
            return
        self.process, self.belief = process, Belief(Client(process.imap()))
        await self.belief.client.line()
        if (await self.do(b"LOGIN %b %b" % (USER.encode(), PASSWORD.encode()))).kind != "OK":
            await self.hang_up()
        elif self.kind != "plain":
            await self.do(b"ENABLE " + self.kind.upper().encode())

    async def hang_up(self) -> None:
        """Without a word."""
        belief = self.belief
        self.belief, self.process, self.selected = None, None, ""
        if belief is not None:
            await trio.aclose_forcefully(belief.client.stream)

    async def do(self, command: bytes) -> Response:
        """One command, and what all of them have in common."""
        assert self.belief is not None and self.process is not None
        where = self.process.machine.name
        shown = command.split(b"\r\n")[0].decode()
        self.world.commands += 1
        self.world.tell(f"{self} > {where}: {shown}")
        response = await self.belief.do(command)
        code = b"" if response.code is None else response.code
        self.world.tell(f"{self} < {where}: {response.kind} {code.decode() or response.text.decode()}")
        assert response.kind in ("OK", "NO"), f"{shown}: {response.text!r}"
        assert not code.startswith((b"SERVERBUG", b"CORRUPTION")), f"{shown}: {response.text!r}"
        if self.selected:
            self.absorb()
        return response

    # --- what is known of mailboxes

    def absorb(self) -> None:
        """The mailbox as it was told, once all of it was."""
        belief, box = self.belief, self.boxes[self.selected]
        assert belief is not None
        for uid, number in belief.numbers.items():
            self.world.ledger.named(self.person, box.validity, uid, number)
            box.numbers[uid] = number
        belief.numbers.clear()
        if not belief.complete:
            return
        uids = belief.uids
        assert uids == sorted(set(uids)), f"UIDs are not ascending: {uids}"
        for uid in uids:
            assert uid in box.mails or uid >= box.uidnext, f"UID {uid} appears below UIDNEXT {box.uidnext}"
        box.mails = {uid: belief.flags_of(uid) or frozenset() for uid in uids}
        box.uidnext = max(box.uidnext, belief.uidnext, max(uids, default=0) + 1)
        if self.kind != "plain":
            box.modseq = belief.modseq
        self.look(box)

    def look(self, box: Box) -> None:
        """Which messages the UIDs are, behind the server's back."""
        table = self.table(box.validity)
        for uid, flags in box.mails.items() if table is not None else ():
            row = table.row_of_uid(uid)
            if row is not None:
                self.world.ledger.is_message(self.person, box.validity, uid, table.ids[row])
                self.world.ledger.seen(table.ids[row], _names(flags))

    def table(self, validity: int) -> Table | None:
        """A mailbox in the server that this program is connected to."""
        account = None if self.process is None or self.process.link.dead else self.process.account
        tables = () if account is None else account.state.tables.values()
        return next((table for table in tables if table.uidvalidity == validity), None)

    def message(self, uid: int) -> int | None:
        return self.world.ledger.message(self.person, self.boxes[self.selected].validity, uid)

    def numbers_of(self, uids: list[int]) -> list[int]:
        return [self.boxes[self.selected].numbers[uid] for uid in uids]

    def unnumbered(self) -> list[int]:
        box = self.boxes[self.selected]
        return [uid for uid in box.mails if uid not in box.numbers]

    # --- opening a mailbox: what has changed since the program had it open

    async def open(self, name: str) -> bool:
        """SELECT, what the program's kind needs to be up to date, and a check against the whole."""
        belief, box = self.belief, self.boxes.get(name)
        assert belief is not None
        belief.messages.clear()
        belief.vanished.clear()
        belief.uidvalidity = belief.uidnext = belief.modseq = belief.compared = 0
        self.selected = ""
        since = trio.current_time()
        command = b'SELECT "%b"' % name.encode()
        if self.kind == "qresync" and box is not None:
            command += b" (QRESYNC (%d %d))" % (box.validity, max(box.modseq, 1))
        response = await self.do(command)
        if response.kind == "NO":
            if response.code == b"NONEXISTENT":
                self.boxes.pop(name, None)
            return False
        if box is None or box.validity != belief.uidvalidity:
            known, box = None, Box(belief.uidvalidity)
        else:
            known = box
        self.boxes[name] = box
        if self.kind == "qresync" and known is not None:
            belief.remember(known)
        elif self.kind != "plain" and known is not None:
            await self.ask_what_changed(known)
        elif known is not None:
            await self.ask_from_uidnext(known)
        self.selected, self.read = name, since
        self.absorb()
        if not await self.compare(known):
            return False
        if belief.complete and not self.unnumbered():
            self.world.ledger.check(box.validity, since, self.picture(box))
        return True

    async def compare(self, known: Box | None) -> bool:
        """The whole of the open mailbox: where it is not what is `known`, that will be told yet."""
        belief, modseq = self.belief, self.kind != "plain"
        assert belief is not None
        if modseq and known is not None:
            belief.told_again = partial(self.told_again, known.validity, belief.modseq)
            belief.compared = belief.modseq
        what = b"FLAGS MODSEQ " if modseq else b"FLAGS "
        response = await self.do(b"UID FETCH 1:* (" + what + HEADER + b")")
        belief.compared = 0
        return response.kind == "OK"

    def told_again(self, validity: int, modseq: int, uid: int) -> bool:
        """FETCH has the flags as they are, before the rules have been kept. What they ask for is said by now,
        or is being said: then the client is told once more."""
        table = self.table(validity)
        if table is None or self.process is None or self.process.account is None:
            return True
        row = table.row_of_uid(uid)
        return row is None or table.modseqs[row] > modseq or not self.process.account.journal.settled

    async def ask_what_changed(self, known: Box) -> None:
        """CONDSTORE: the UIDs that are there, then what has a MODSEQ above the one remembered."""
        belief = self.belief
        assert belief is not None
        await self.do(b"UID SEARCH ALL")
        await self.do(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % max(known.modseq, 1))
        for message in belief.messages:
            if message.uid is not None and message.flags is None:
                assert message.uid in known.mails, f"the new UID {message.uid} was not told of as changed"
                message.flags = known.mails[message.uid]

    async def ask_from_uidnext(self, known: Box) -> None:
        """RFC 4549: new messages first, then the flags of the old ones."""
        await self.do(b"UID FETCH %d:* (FLAGS)" % known.uidnext)
        if known.uidnext > 1:
            await self.do(b"UID FETCH 1:%d (FLAGS)" % (known.uidnext - 1))

    def picture(self, box: Box) -> dict[int, Mail]:
        """The mailbox as this program knows it."""
        ledger, person = self.world.ledger, self.person
        validity = box.validity
        return {
            uid: Mail(
                ledger.message(person, validity, uid), ledger.number(person, validity, uid), _names(flags)
            )
            for uid, flags in box.mails.items()
        }

    async def fetch_new(self) -> None:
        """Messages that were told by EXISTS alone."""
        assert self.belief is not None
        missing = [seq for seq, m in enumerate(self.belief.messages, 1) if m.uid is None or m.flags is None]
        if missing:
            await self.do(b"FETCH %d:%d (UID FLAGS %b)" % (missing[0], missing[-1], HEADER))
        elif unnumbered := self.unnumbered():
            await self.do(b"UID FETCH %b (%b)" % (_set(unnumbered), HEADER))

    # --- what people do

    def some(self) -> list[int]:
        """Some messages of the open mailbox of which all is known."""
        box, random = self.boxes[self.selected], self.world.random
        known = [uid for uid in box.mails if self.message(uid) is not None]
        return sorted(random.sample(known, min(len(known), random.choice([1, 1, 2, 3]))))

    async def look_around(self) -> None:
        """All that was told while the mailbox is open makes the mailbox."""
        belief, box = self.belief, self.boxes[self.selected]
        assert belief is not None
        if (await self.do(b"NOOP")).kind == "OK" and belief.complete and self.kind != "plain":
            await self.compare(box)

    async def read_mail(self) -> None:
        """A mail is what was sent, with a head from the server that took it in."""
        belief, box = self.belief, self.boxes[self.selected]
        uids = [uid for uid in self.some() if uid in box.numbers]
        if uids and belief is not None:
            belief.bodies.clear()
            await self.do(b"UID FETCH %b (BODY.PEEK[])" % _set(uids))
            for uid, body in belief.bodies.items():
                assert body.endswith(mail(box.numbers[uid])), f"UID {uid} has the body {body!r}"

    async def another_mailbox(self) -> None:
        await self.open(self.world.random.choice(NAMES))

    async def another_server(self) -> None:
        if self.world.random.random() < 0.5:
            await self.do(b"LOGOUT")
        await self.hang_up()

    async def break_off(self) -> None:
        """The connection breaks while a command is under way."""
        uids = self.some()
        if uids and self.belief is not None:
            self.change_flags(uids, {b"\\Seen": True})
            self.world.tell(f"{self}: breaks off a STORE of {uids}")
            await self.belief.begin(b"UID STORE %b +FLAGS (\\Seen)" % _set(uids))
        await self.hang_up()

    async def idle(self) -> None:
        assert self.belief is not None
        self.world.tell(f"{self}: idles")
        await self.belief.idle()
        await trio.sleep(self.world.random.uniform(0, 4 * self.world.pace))
        await self.belief.done()
        self.absorb()

    def change_flags(self, uids: list[int], wanted: dict[bytes, bool]) -> dict[int, list[Change]]:
        ledger, changes = self.world.ledger, {}
        for uid in uids:
            message = self.message(uid)
            assert message is not None
            changes[uid] = [
                ledger.changing(message, flag.decode(), on, self.read)
                for flag, on in wanted.items()
                if flag != b"\\Deleted"
            ]
        if wanted.get(b"\\Deleted"):
            ledger.deletable(self.numbers_of(uids))
        return changes

    async def store(self, flag: bytes = b"") -> None:
        belief, random = self.belief, self.world.random
        uids = self.some()
        if not uids or belief is None:
            return
        flag = flag or random.choice(FLAGS)
        mode = b"+" if flag == b"\\Deleted" else random.choice([b"+", b"-", b""])
        wanted = {flag: mode != b"-"} if mode else {each: each == flag for each in FLAGS}
        silent = random.random() < 0.3
        unless = b""
        if self.kind != "plain" and random.random() < 0.3:
            unless = b"(UNCHANGEDSINCE %d) " % belief.modseq
        changes = self.change_flags(uids, wanted)
        item = b"FLAGS.SILENT" if silent else b"FLAGS"
        response = await self.do(b"UID STORE %b %b%b%b (%b)" % (_set(uids), unless, mode, item, flag))
        code = response.code or b""
        if response.kind != "OK" or (silent and code):
            return
        left = set(_numbers(code[len(b"MODIFIED ") :])) if code.startswith(b"MODIFIED") else set()
        for uid in uids:
            flags = belief.flags_of(uid)
            if flags is None or uid in left or any((name in flags) != on for name, on in wanted.items()):
                continue  # it is gone, or somebody else was there just then
            for change in changes[uid]:
                change.done = trio.current_time()

    async def delete(self) -> None:
        """Two commands, and somebody may come between."""
        await self.store(b"\\Deleted")
        await self.expunge()

    async def expunge(self) -> None:
        belief, box = self.belief, self.boxes[self.selected]
        assert belief is not None
        deleted = [uid for uid, flags in box.mails.items() if b"\\Deleted" in flags]
        before = set(belief.uids)
        command = (
            b"EXPUNGE" if not deleted or self.world.random.random() < 0.5 else b"UID EXPUNGE " + _set(deleted)
        )
        if (await self.do(command)).kind == "OK":
            self.are_removed(before.intersection(deleted).difference(belief.uids))

    def are_removed(self, uids: set[int]) -> None:
        """These have left in answer to a command that removes. Some may have only another UID now."""
        box = self.boxes[self.selected]
        table = self.table(box.validity)
        for uid in uids:
            message = self.message(uid)
            if table is not None and message is not None and table.tombs.find(message) is not None:
                self.world.ledger.removed(box.validity, message)

    async def copy(self) -> None:
        await self.place(b"COPY")

    async def move(self) -> None:
        await self.place(b"MOVE")

    async def place(self, command: bytes) -> None:
        belief, box, ledger = self.belief, self.boxes[self.selected], self.world.ledger
        uids = [uid for uid in self.some() if uid in box.numbers]
        if not uids or belief is None:
            return
        numbers = dict(zip(uids, self.numbers_of(uids), strict=True))
        ledger.copied.update(numbers.values())
        if command == b"MOVE":
            ledger.leaving(box.validity, numbers.values())
        before, belief.placed = set(uids), b""
        target = self.world.random.choice(NAMES)
        response = await self.do(b"UID %b %b %b" % (command, _set(uids), target.encode()))
        if response.kind != "OK":
            return
        code = belief.placed if command == b"MOVE" else response.code or b""
        if code.startswith(b"COPYUID "):
            _, validity, sources, targets = code.split(b" ")
            for source, uid in zip(_numbers(sources), _numbers(targets), strict=True):
                ledger.named(self.person, int(validity), uid, numbers[source])
                ledger.placed(int(validity), numbers[source])
        if command == b"MOVE":
            self.are_removed(before.difference(belief.uids))

    async def append(self) -> None:
        world, ledger, number = self.world, self.world.ledger, self.world.new_number()
        target = world.random.choice(NAMES)
        text = mail(number)
        response = await self.do(b"APPEND %b {%d+}\r\n%b" % (target.encode(), len(text), text))
        if response.kind != "OK":
            return
        if found := re.fullmatch(rb"APPENDUID (\d+) (\d+)", response.code or b""):
            ledger.named(self.person, int(found[1]), int(found[2]), number)
            ledger.placed(int(found[1]), number)
        elif target in ("INBOX", "Archive") and target in self.boxes:  # the store was away just then
            ledger.placed(self.boxes[target].validity, number)

    async def make(self) -> None:
        await self.do(b"CREATE Work")

    async def rename(self) -> None:
        await self.do(b"RENAME Work Done%d" % self.world.new_number())

    async def drop(self) -> None:
        """DELETE of what others may be filling."""
        self.world.ledger_doubts_other_mailboxes()
        await self.do(b"DELETE Work")

    async def ask_status(self) -> None:
        """A program that asks before it opens: where HIGHESTMODSEQ is what it knows, nothing has changed."""
        name = self.world.random.choice(NAMES)
        box, belief = self.boxes.get(name), self.belief
        assert belief is not None
        response = await self.do(b"STATUS %b (UIDVALIDITY UIDNEXT MESSAGES HIGHESTMODSEQ)" % name.encode())
        if response.kind != "OK" or box is None or name == self.selected or self.kind == "plain":
            return
        told = belief.status
        if (told[b"UIDVALIDITY"], told[b"HIGHESTMODSEQ"]) == (box.validity, box.modseq):
            assert told[b"MESSAGES"] == len(box.mails), "the MODSEQ is known, the mails are not"


ACTIONS = {
    Program.look_around: 8,
    Program.read_mail: 4,
    Program.another_mailbox: 14,
    Program.another_server: 8,
    Program.break_off: 3,
    Program.idle: 6,
    Program.store: 16,
    Program.delete: 6,
    Program.expunge: 3,
    Program.copy: 5,
    Program.move: 6,
    Program.append: 20,
    Program.make: 2,
    Program.rename: 1,
    Program.drop: 1,
    Program.ask_status: 3,
}
"""What people do, and how often."""


def _set(uids: list[int]) -> bytes:
    return b",".join(b"%d" % uid for uid in uids)


def _names(flags: frozenset[bytes]) -> frozenset[str]:
    return frozenset(flag.decode() for flag in flags)
