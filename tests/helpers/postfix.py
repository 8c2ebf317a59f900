"""A stand-in for Postfix, as far as a move needs it: it keeps mail, hands it over by LMTP, and heeds its
configuration once it has read it again. Its commands are programs."""

import email
import json
import smtplib
import sys
from email.message import Message
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMANDS = ("postconf", "postfix", "postqueue")


class Postfix:
    """Its configuration and its queue are files in `folder`, as the commands come from other processes."""

    def __init__(self, folder: Path) -> None:
        self._config, self._running = folder / "main.json", folder / "running.json"
        self._queue = folder / "queue"

    @classmethod
    def install(cls, folder: Path, programs: Path, transport: str) -> "Postfix":
        """Makes one that delivers with this transport, and its commands in the folder `programs`."""
        postfix = cls(folder)
        postfix._queue.mkdir(parents=True)
        postfix._config.write_text(json.dumps({"virtual_transport": transport}))
        postfix._reload()
        for name in COMMANDS:
            command = programs / name
            words = f"-m tests.helpers.postfix {folder} {name}"
            command.write_text(f'#!/bin/sh\ncd {REPOSITORY} && exec {sys.executable} {words} "$@"\n')
            command.chmod(0o755)
        return postfix

    def send(self, recipient: str, subject: str) -> None:
        """Somebody sends a letter."""
        letter = Message()
        letter["To"], letter["Subject"] = recipient, subject
        letter["Message-ID"] = f"<{subject.replace(' ', '.')}@example.net>"
        letter.set_payload("hi\n")
        number = len(list(self._queue.parent.glob("queue/*")))
        path = self._queue / f"{number:04}"
        path.write_bytes(letter.as_bytes())
        self._deliver(path)

    def queued(self) -> int:
        """How many letters wait."""
        return len(list(self._queue.iterdir()))

    def settings(self) -> dict[str, str]:
        """What main.cf says."""
        found: dict[str, str] = json.loads(self._config.read_text())
        return found

    def run(self, command: str, *words: str) -> None:
        """As the command of that name. Raises ValueError for what Postfix has and this has not."""
        match command, *words:
            case "postconf", "-e", line:
                name, _, value = line.partition("=")
                self._config.write_text(json.dumps(self.settings() | {name.strip(): value.strip()}))
            case "postconf", "-X", name:
                rest = {key: value for key, value in self.settings().items() if key != name}
                self._config.write_text(json.dumps(rest))
            case "postconf", "-h", name:
                print(self.settings().get(name, ""))
            case "postfix", "reload":
                self._reload()
            case "postqueue", "-f":
                for path in sorted(self._queue.iterdir()):
                    self._deliver(path)
            case "postqueue", "-j":  # nothing is active: it delivers at once, or not
                for path in sorted(self._queue.iterdir()):
                    print(json.dumps({"queue_name": "deferred", "queue_id": path.name}))
            case _:
                raise ValueError(f"{command} {' '.join(words)}")

    def _reload(self) -> None:
        self._running.write_text(self._config.read_text())

    def _deliver(self, path: Path) -> None:
        running = json.loads(self._running.read_text())
        transport, _, nexthop = running["virtual_transport"].partition(":")
        if transport in running.get("defer_transports", "").split():
            return
        _, host, port = nexthop.split(":")
        content = path.read_bytes()
        recipient = email.message_from_bytes(content)["To"]
        try:
            with smtplib.LMTP(host, int(port), timeout=60) as lmtp:
                lmtp.sendmail("somebody@example.net", [recipient], content)
        except (OSError, smtplib.SMTPException):
            return
        path.unlink()


if __name__ == "__main__":
    Postfix(Path(sys.argv[1])).run(*sys.argv[2:])
