"""What people leave behind in a Dovecot after years: mail in many mailboxes, moved, flagged, deleted."""

import imaplib
from collections.abc import Sequence
from random import Random

from tests.helpers.dovecot_daemon import Daemon
from tests.helpers.wire import deliver, lines_ended

# As IMAP writes them (RFC 3501 §5.1.3); nested, and with what is special in IMAP, Maildir++, or a shell.
NAMES = (
    "Drafts",
    "Sent",
    "Sent/2019",
    "Sent/2019/Q1",
    "Trash",
    "Junk",
    "Archive",
    "Archive/2020",
    "Archive/2021",
    "R&-D",
    "&ANY-ffentlich",
    "&ANY-ffentlich/Stra&AN8-e",
    "&ZeVnLIqe-",
    "&ZeVnLIqe-/&ZXcwbjDhMPww6w-",
    "&BB8EQAQ4BDIENQRC-",
    "with space",
    "with space/and more space",
    "tilde~",
    "it's",
    "semi;colon",
    "hash#tag",
    "a+b=c",
    "(brackets) {braces} [more]",
    "Lists/debian-announce",
    "Lists/debian-devel",
    "Lists/python-dev",
    "INBOX2",
    "x" * 60,
    "Old Messages",
    "Empty",
)
KEYWORDS = ("$Forwarded", "NonJunk", "$label1", "Work", "Projekt_A", "to-do")


def quoted(name: str) -> str:
    """A name as a command has it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fill(daemon: Daemon, mails: Sequence[bytes], seed: int) -> None:
    """All of these mails, and what is done with them: some are gone in the end."""
    random = Random(seed)
    by_lmtp = len(mails) // 2
    deliver(daemon.lmtp_port, mails[:by_lmtp])
    client = daemon.imap()
    for name in NAMES:
        _done(client.create(quoted(name)))
        if random.random() < 0.7:
            _done(client.subscribe(quoted(name)))
    _done(client.subscribe("INBOX"))
    full = [name for name in NAMES if name != "Empty"]
    for mail in mails[by_lmtp:]:
        flags = " ".join(_some(random))
        date = imaplib.Time2Internaldate(random.randrange(800_000_000, 1_790_000_000))
        _done(client.append(quoted(random.choice(full)), f"({flags})", date, lines_ended(mail)))
    uids = list(range(1, by_lmtp + 1))
    random.shuffle(uids)
    _done(client.select("INBOX"))
    for name in full:  # most of what came in is put somewhere
        moved, uids = uids[: by_lmtp // 40], uids[by_lmtp // 40 :]
        command = "MOVE" if random.random() < 0.5 else "COPY"
        if moved:
            _done(client.uid(command, ",".join(map(str, moved)), quoted(name)))
    for name in ("INBOX", *full):
        _done(client.select(quoted(name)))
        found = client.uid("SEARCH", "ALL")[1][0].split()
        for uid in random.sample(found, len(found) // 3):
            change, flags = random.choice(["+FLAGS", "FLAGS", "-FLAGS"]), " ".join(_some(random))
            _done(client.uid("STORE", uid.decode(), change, f"({flags})"))
        for uid in random.sample(found, len(found) // 10):
            _done(client.uid("STORE", uid.decode(), "+FLAGS", "(\\Deleted)"))
        if random.random() < 0.8:
            _done(client.expunge())
        _done(client.close() if random.random() < 0.3 else client.unselect())
    client.logout()


def _some(random: Random) -> list[str]:
    flags = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", *KEYWORDS]
    return random.sample(flags, random.choice([0, 0, 1, 1, 2, 4]))


def _done(answer: tuple[str, list[object]]) -> None:
    assert answer[0] == "OK", answer
