"""Test vectors: text files whose head names the outcome, for any implementation of docs/format.md.

key: value        one a line; bytes in hex; the first is `expect`
                  (an empty line)
base64            what is stored
"""

import base64
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "vectors"

OUTCOMES = ("success", "header failure", "payload failure", "wrong password")
"""header failure: refused before anything is opened; payload failure: it does not open to what it should."""


@dataclass(frozen=True)
class Vector:
    name: str
    fields: dict[str, str]
    stored: bytes

    def raw(self, field: str) -> bytes:
        return bytes.fromhex(self.fields[field])

    def text(self) -> str:
        head = "".join(f"{key}: {value}".rstrip() + "\n" for key, value in self.fields.items())
        return head + "\n" + base64.encodebytes(self.stored).decode()


def read(path: Path) -> Vector:
    head, _, body = path.read_text().partition("\n\n")
    lines = (line.partition(":") for line in head.splitlines())
    fields = {key: value.strip() for key, _, value in lines}

    assert fields["expect"] in OUTCOMES, path
    return Vector(path.stem, fields, base64.b64decode(body))


def all_vectors() -> list[Vector]:
    return [read(path) for path in sorted(FOLDER.glob("*.txt"))]
