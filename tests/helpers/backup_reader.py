"""A second reader of backups, written from docs/format.md: it shares no code with Aerogramme."""

import json
from hashlib import blake2b
from pathlib import Path


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=32).hexdigest()


def read_snapshot(account: Path, number: int) -> tuple[dict[str, object], dict[str, bytes]]:
    """What a snapshot says, and its items by name. AssertionError where the page is not kept to."""
    [file] = (account / "snapshots").glob(f"{number:08}-*.json")
    text = file.read_bytes()
    assert file.name == f"{number:08}-{_hash(text)}.json"
    said = json.loads(text)
    assert said.pop("version") == 1 and said["account"] == account.name and said["number"] == number
    items: dict[str, bytes] = {}
    for volume, runs in said.pop("volumes").items():
        index = (account / "volumes" / f"{volume}.index").read_bytes()
        assert _hash(index) == volume
        head, *lines = index.decode("ascii").removesuffix("\n").split("\n")
        data = (account / "volumes" / f"{volume}.data").read_bytes()
        assert head == f"aerogramme volume 1 {account.name} {len(data)}"
        wanted = {n for first, count in runs for n in range(first, first + count)}
        at = 0
        for n, line in enumerate(lines):
            digest, octets, name = line.split(" ", 2)
            body = data[at : at + int(octets)]
            at += int(octets)
            assert _hash(body) == digest
            if n in wanted:
                assert name not in items
                items[name] = body
        assert at == len(data) and (not wanted or max(wanted) < len(lines))
    assert said["objects"] == sum(name.startswith("o/") for name in items)
    assert said["rows"] == sum(name.startswith("r/") for name in items)
    assert said["octets"] == sum(map(len, items.values()))
    return said, items
