"""A few mailboxes as a client of a Dovecot leaves them: what sources are read from, and compared with."""

from tests.helpers.dovecot import Dovecot, append

BOXES = ["INBOX", "INBOX/below", "Sent", "Lists/trio/2024", "Entw&APw-rfe", "a b/R&-D/&Jjo-!"]
NAMES = ["INBOX", "INBOX/below", "Sent", "Lists/trio/2024", "Entwürfe", "a b/R&D/☺!"]
KEYWORDS = ("$Forwarded", "work", "NonJunk", *(f"k{n}" for n in range(30)))


def letter(number: int) -> bytes:
    """Letters with all kinds of line ends, short and long."""
    head = f"Subject: {number}\r\nMessage-ID: <{number}@example.org>\n\n".encode()
    ends = [b"\n", b"\r\n", b"\r", b"\r\r\n"]
    lines = [f"line {n} of {number} ".encode() * (n % 7) + ends[(n * number) % 4] for n in range(number * 3)]
    return head + b"".join(lines) + (b"x" * 300_000 if number % 20 == 7 else b"") + b"end"


def fill(server: Dovecot) -> None:
    """Real use, in little: messages come, get flags, are copied, moved and removed."""
    with server.imap() as client:
        for box in BOXES[1:]:
            client.create(f'"{box}"')
        client.subscribe('"Sent"')
        client.subscribe('"a b/R&-D/&Jjo-!"')
        for number in range(60):
            flags = [KEYWORDS[number % len(KEYWORDS)], KEYWORDS[number // 2]]
            flags += ["\\Seen"] * (number % 2) + ["\\Answered", "\\Draft"] * (number % 3 == 0)
            date = f"{number % 28 + 1:02}-Mar-{2000 + number % 25} 10:{number:02}:00 +0200"
            append(client, BOXES[number % len(BOXES)], letter(number), flags, date)
        client.select("INBOX")
        client.uid("STORE", "2:4", "+FLAGS", "(\\Flagged late)")
        client.uid("COPY", "1:3", '"Sent"')
        client.uid("COPY", "1:3", "INBOX")
        client.uid("STORE", "5:6", "+FLAGS", "(\\Deleted)")
        client.expunge()
        client.uid("MOVE", "7", '"Lists/trio/2024"')
        client.select("Sent")
        client.uid("STORE", "*", "+FLAGS", "(\\Deleted)")
        client.expunge()  # the last is gone: only UIDNEXT knows of it
