"""Writes the test vectors of tests/vectors/log: `python -m tests.make_log_vectors`.

What an account stores besides keys and bodies, sealed; `says` is what it says, as JSON. As for the others
(make_vectors.py), a vector that exists is never written again.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from aerogramme.log import bundle, checkpoint, segment
from aerogramme.log.entry import (
    NO_LINK,
    Add,
    Again,
    Claim,
    Entry,
    Flags,
    MailboxOp,
    Remove,
    SegmentRef,
    Subscribe,
    Touch,
    link,
)
from aerogramme.log.entry_bytes import encode
from aerogramme.log.state import State
from aerogramme.mailbox.body_record import BodyRecord, Place
from aerogramme.seal import Binding, ContentKey, Keyring
from aerogramme.seal.strict import pack
from tests.helpers.vectors import FOLDER, Vector
from tests.make_vectors import ACCOUNT, SECRETS, Field, generations, secrets_field

LOG = FOLDER / "log"
CLOCK, REPLICA, OTHER = 0x1A20000000000000, 0xABCDEF0123, 0x1122334455
INBOX, FIRST = REPLICA << 24 | 1, REPLICA << 24 | 2
GROUP = {"subject": [b"one", b"", "zwei, größer".encode()], "sent": [b"19000", b"-1", b"20000"]}
CONTENTS = [FIRST, FIRST + 1, FIRST + 2]
SAYS_GROUP = {"": CONTENTS} | {name: [value.hex() for value in values] for name, values in GROUP.items()}
RECORD = BodyRecord(ContentKey.from_bytes(bytes(range(32))), 70_000, 123_456)
PLACED = RECORD._replace(place=Place("00112233445566778899aabbccddeeff", 1 << 40))
SAYS_RECORD = {"key": bytes(range(32)).hex(), "sealed": 70_000, "size": 123_456}


def keyring() -> Keyring:
    return Keyring(ACCOUNT, generations(SECRETS), (), 0)


def write(name: str, stored: bytes, /, says: Any, **fields: Field) -> None:
    path = LOG / f"{name}.txt"
    if not path.exists():
        shown = {k: v.hex() if isinstance(v, bytes) else str(v) for k, v in fields.items()}
        head = {"expect": "success", **shown, "says": json.dumps(says, ensure_ascii=True)}
        path.write_text(Vector(name, head, stored).text())


def sealed(name: str, kind: str, bound: str, plain: bytes, says: Any) -> None:
    stored = keyring().seal(kind, bound, plain)
    write(name, stored, says, what=kind, account=ACCOUNT, kind=kind, name=bound, secrets=secrets_field())


def first_entry() -> tuple[Entry, dict[str, Any]]:
    ref = SegmentRef("0f" * 16, CONTENTS, ("digest",), {"digest": segment.pack_group(CONTENTS, GROUP)})
    ids = [FIRST, FIRST + 1, FIRST + 2]
    flags = [("\\Seen", "$Label"), (), ()]
    ops = (
        MailboxOp(INBOX, name="INBOX", deleted=False, uidvalidity=1_700_000_000),
        Add(INBOX, ids, [1, 2, 4], [1_700_000_000, 0, 1_700_000_002], [10, 20, 1 << 31], flags, ids, ref),
        Subscribe("INBOX/Größe", True),
    )
    says = {
        "previous": NO_LINK.hex(),
        "seen": [[OTHER, 7]],
        "silent": [OTHER],
        "holes": [[OTHER, 3]],
        "floor": 12345,
        "ops": [
            {"mailbox": INBOX, "name": "INBOX", "role": None, "deleted": False, "uidvalidity": 1_700_000_000},
            {
                "add": INBOX,
                "ids": ids,
                "uids": [1, 2, 4],
                "dates": [1_700_000_000, 0, 1_700_000_002],
                "sizes": [10, 20, 1 << 31],
                "flags": [["\\Seen", "$Label"], [], []],
                "contents": ids,
                "segment": {"name": "0f" * 16, "contents": ids, "groups": ["digest"]},
            },
            {"subscribe": "INBOX/Größe", "on": True},
        ],
    }
    seen, holes = {OTHER: 7}, ((OTHER, 3),)
    return Entry(CLOCK, REPLICA, 1, NO_LINK, ops, seen, frozenset([OTHER]), holes, 12345), says


def second_entry(first: Entry) -> tuple[Entry, dict[str, Any]]:
    late = Entry(CLOCK - 5, OTHER, 8, NO_LINK, (Touch(INBOX, [FIRST]),))
    previous = link(first.key, encode(first))
    ops = (
        Claim(INBOX, [FIRST + 1], [9]),
        Flags(INBOX, [FIRST, FIRST + 1], ("\\Flagged",), ("\\Seen",)),
        Remove(INBOX, [FIRST + 2]),
        Again(late.key, encode(late)),
    )
    nothing: dict[str, Any] = {"seen": [], "silent": [], "holes": [], "floor": 0}
    touched = {"previous": NO_LINK.hex(), **nothing, "ops": [{"touch": INBOX, "ids": [FIRST]}]}
    says = {
        "previous": previous.hex(),
        **nothing,
        "ops": [
            {"claim": INBOX, "ids": [FIRST + 1], "uids": [9]},
            {"flags": INBOX, "ids": [FIRST, FIRST + 1], "on": ["\\Flagged"], "off": ["\\Seen"]},
            {"remove": INBOX, "ids": [FIRST + 2]},
            {"again": late.key, "entry": touched},
        ],
    }
    return Entry(CLOCK + 1, REPLICA, 2, previous, ops), says


def log() -> None:
    first, says = first_entry()
    sealed("entry-first", "entry", first.key, encode(first), says)
    again = f"{first.key}.00000003"
    sealed("entry-sealed-again", "entry", again, encode(first), says)
    sealed("entry-object", "entry", f"entry/{first.key}", encode(first), says)
    second, says = second_entry(first)
    sealed("entry-second", "entry", second.key, encode(second), says)
    name = f"segment/{'0f' * 16}/digest"
    sealed("segment-group", "segment", name, segment.pack_group(CONTENTS, GROUP), SAYS_GROUP)

    state = State()
    state.apply(first)
    state.apply(second)
    state.cut, state.lost = {REPLICA: 1}, {(OTHER, 7)}
    state.segments[0] = replace(state.segments[0], inline=None)  # as large ones are
    row = {
        "uids": [1, 9],
        "ids": [FIRST, FIRST + 1],
        "modseqs": [CLOCK + 1, CLOCK + 1],
        "flags": [["\\Flagged", "$Label"], ["\\Flagged"]],
        "sizes": [10, 20],
        "dates": [1_700_000_000, 0],
        "contents": [FIRST, FIRST + 1],
        "facts": [
            ["\\Flagged", [FIRST, FIRST + 1], [(CLOCK + 1) << 1 | 1] * 2],
            ["\\Seen", [FIRST, FIRST + 1], [(CLOCK + 1) << 1] * 2],
        ],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "INLINE_ROWS", 0)
        patch.setattr(bundle, "LONG", 0)
        patch.setattr(bundle, "FEW", 0)
        taken = checkpoint.take(state, keyring()).objects
        (piece_name, piece), (bundle_name, listed), (name, manifest) = taken
    fields: dict[str, Field] = {"account": ACCOUNT, "secrets": secrets_field()}
    write("piece", piece, row, what="piece", kind="piece", name=piece_name, **fields)
    of = {"0f" * 16: [FIRST, FIRST + 1, FIRST + 2]}
    write("bundle", listed, of, what="bundle", kind="bundle", name=bundle_name, **fields)
    table = {
        "mailbox": INBOX,
        "attributes": [
            ["deleted", CLOCK, False],
            ["name", CLOCK, "INBOX"],
            ["uidvalidity", CLOCK, 1_700_000_000],
        ],
        "top": 9,
        "highestmodseq": CLOCK + 1,
        "pieces": [[0, piece_name]],
        "rows": None,
        "tombs": [[FIRST + 2], [4], [CLOCK + 1]],
        "claims": [[FIRST + 1, [2, 9]]],
    }
    system = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"]
    says = {
        "clock": CLOCK + 1,
        "floor": CLOCK + 1 - (24 * 60 * 60 * 1000 << 20),
        "trails": [[REPLICA, 1, [CLOCK, CLOCK + 1], 12345], [OTHER, 1, [0] * 7 + [CLOCK - 5], 0]],
        "mailboxes": [table],
        "subscriptions": [["INBOX/Größe", CLOCK << 1 | 1]],
        "flags": [*([flag, 0] for flag in system), ["$Label", CLOCK]],
        "uidvalidity": 1_700_000_000,
        "segments": [{"name": "0f" * 16, "contents": None, "groups": ["digest"]}],
        "bundles": [bundle_name],
        "damaged": [],
        "cut": [[REPLICA, 1]],
        "lost": [[OTHER, 7]],
    }
    write("checkpoint", manifest, says, what="checkpoint", kind="checkpoint", name=name, **fields)


def mailbox() -> None:
    key = f"{1_700_000_000_123:012x}-{FIRST:016x}"
    envelope = [1_700_000_000_123, "a@example.org", "größe+box@example.org", "box"]
    plain = pack([1, RECORD.to_bytes(), *envelope])
    stored = keyring().incoming_public().seal(plain, Binding(ACCOUNT, "letter", key))
    says = dict(zip(("arrival", "sender", "recipient", "detail"), envelope, strict=True))
    fields: dict[str, Field] = {"account": ACCOUNT, "kind": "letter", "name": key, "secrets": secrets_field()}
    write("letter", stored, {"record": SAYS_RECORD, **says}, what="letter", **fields)
    write("record-alone", RECORD.to_bytes(), SAYS_RECORD, what="body record")
    place = {"pack": PLACED.place.pack, "offset": 1 << 40} if PLACED.place else {}
    write("record-in-a-pack", PLACED.to_bytes(), {**SAYS_RECORD, **place}, what="body record")
    sealed("use", "use", f"{'ab' * 16}-0123456789abcdef", pack([1, 19_675]), {"day": 19_675})


if __name__ == "__main__":
    LOG.mkdir(exist_ok=True)
    log()
    mailbox()
