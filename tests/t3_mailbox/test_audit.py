"""The audit sees every fault it names: each is made, and found."""

import os
from array import array

import pytest

from aerogramme.log.entry import MailboxOp
from aerogramme.log.journal import Draft
from aerogramme.mailbox.audit import bodies as audit_bodies
from aerogramme.mailbox.audit.account import audit
from aerogramme.mailbox.body_record import body_name
from aerogramme.mailbox.keys import keys
from aerogramme.seal import IncomingPublic
from tests.helpers.damage import other_end
from tests.t3_mailbox.conftest import World, public_key, put

ID = "00" * 16


@pytest.fixture
async def broken(world: World):
    """An account with two messages. What the final audit finds is what the test has made."""
    account = await world.open()
    await put(account, "INBOX", b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n", flags=["\\Seen"])
    assert await audit(account) == []
    yield account
    world.expected = await world.audit()


def table(**columns):
    """Changes the table in memory only: the account that is opened anew has none of it."""

    def act(account) -> None:
        for name, value in columns.items():
            setattr(account.find("INBOX"), name, value)

    return act


@pytest.mark.parametrize(
    ("act", "finding"),
    [
        (table(uids=array("I", [2, 1])), "the UIDs are not unique and ascending"),
        (table(uids=array("I", [1, 1])), "the UIDs are not unique and ascending"),
        (table(uids=array("I", [0, 1])), "a UID is 0"),
        (table(uids=array("I", [1])), "the columns differ in length"),
        (table(uids=array("I", [1, 9])), "UIDNEXT 3 is not above the UID 9"),
        (table(ids=array("Q", [5, 5])), "a message is there twice"),
        (table(highestmodseq=1), "a MODSEQ is 0 or above HIGHESTMODSEQ"),
        (table(highestmodseq=1 << 63), "HIGHESTMODSEQ has more than 63 bits"),
        (table(modseqs=array("Q", [0, 1])), "a MODSEQ is 0 or above HIGHESTMODSEQ"),
        (table(flags=array("I", [0, 99])), "a message has a flagset that does not exist"),
        (table(flags=array("I", [0, 0])), "opened anew, the column flags differs"),
        (table(uidvalidity=0), "UIDVALIDITY is 0"),
        (table(sizes=array("I", [14, 15])), "the body has 16 octets"),
        (table(contents=array("Q", [1, 2])), "content 1 has no place in a segment"),
        (table(told=50), None),  # UIDNEXT may be told higher than it was stored
    ],
)
async def test_faults_of_a_table(broken, act, finding) -> None:
    act(broken)
    found = [line for line in await audit(broken) if "INBOX" in line or "content" in line]
    assert (finding is None and not found) or any(finding in line for line in found), found


async def test_a_name_that_no_mailbox_can_have(broken) -> None:
    mailbox = broken.state.names["Trash"]
    await broken.journal.commit(lambda _: Draft([MailboxOp(mailbox, name="a//b")]))
    assert any("no mailbox can have this name" in line for line in await audit(broken))
    await broken.journal.commit(lambda _: Draft([MailboxOp(mailbox, name="inbox/x")]))
    assert any("not in its canonical form" in line for line in await audit(broken))


async def test_no_inbox_and_uidvalidities(broken) -> None:
    inbox = broken.state.names["INBOX"]
    await broken.journal.commit(lambda _: Draft([MailboxOp(inbox, name="gone")]))
    # In memory only: in the log two of one kind do not last, the rules give the later another.
    broken.find("Trash").uidvalidity = broken.find("Sent").uidvalidity
    found = await audit(broken)
    assert "there is no INBOX" in found
    assert "two mailboxes have one UIDVALIDITY" in found
    await broken.journal.commit(lambda _: Draft([MailboxOp(inbox, name="INBOX")]))


async def test_faults_of_objects_and_rows(world: World, broken) -> None:
    data = world.stores._accounts[ID]
    first, second = (body_name(content) for content in broken.find("INBOX").contents)
    whole = data.objects[first]
    data.objects[first] = data.objects[second]
    assert any("the body does not open" in line for line in await audit(broken)), "swapped"
    data.objects[first] = whole + b"x"
    assert any("the body does not open" in line for line in await audit(broken)), "longer"
    del data.objects[first]
    assert any("the body is missing" in line for line in await audit(broken))
    data.objects[first] = whole
    assert await audit(broken) == []

    log = data.partitions["log"].rows
    key = max(log)
    log[key] = log[key][:-1]
    assert any("the column uids differs" in line for line in await audit(broken))


async def test_faults_of_keys(world: World, broken) -> None:
    rows = world.stores._accounts[ID].partitions[keys.PARTITION].rows
    before = dict(rows)
    slots = [key for key in rows if key.startswith(keys.SLOT)]
    [public] = [key for key in rows if key.startswith(keys.PUBLIC)]
    [keyring] = [key for key in rows if key.startswith(keys.KEYRING)]

    async def found_after(**changed: bytes | None) -> str:
        for key, value in changed.items():
            if value is None:
                del rows[key]
            else:
                rows[key] = value
        found = "\n".join(await audit(broken))
        rows.clear()
        rows.update(before)
        return found

    assert "has no row" in await found_after(**{slots[0]: None})
    assert "the slot has the name of another" in await found_after(**{slots[0]: before[slots[1]]})
    assert "this is not a slot" in await found_after(**{slots[0]: os.urandom(2000)})
    assert "there is no public key" in await found_after(**{public: None})
    assert "an incoming key is damaged" in await found_after(**{public: other_end(before[public])})
    assert "nobody knows what this is" in await found_after(strange=b"x")
    assert "there is no keyring" in await found_after(**{keyring: None})
    other = await world.open("11" * 16)
    theirs = await public_key(other.store, other.id)
    assert "has the name of another" in await found_after(**{public: theirs.to_bytes()})
    ours = await public_key(broken.store, ID)
    forged = IncomingPublic(ours.account, ours.generation, theirs.key).to_bytes()
    assert "not that of the keyring" in await found_after(**{public: forged})
    named = f"{keys.PUBLIC}{theirs.generation:08x}"
    strange = IncomingPublic(ours.account, theirs.generation, theirs.key).to_bytes()
    assert "not that of the keyring" in await found_after(**{named: strange})
    assert await audit(broken) == []


async def test_a_digest_that_is_not_that_of_its_letter(world: World, broken, monkeypatch) -> None:
    real = broken.journal.segments.pack

    def pack(contents, groups):
        groups["digest"]["subject"] = [b"forged" for _ in groups["digest"]["subject"]]
        return real(contents, groups)

    monkeypatch.setattr(broken.journal.segments, "pack", pack)
    await put(broken, "INBOX", b"Subject: three\r\n\r\n")
    assert any("field subject of the digest" in line for line in await audit(broken))


async def test_the_bodies_in_memory_at_once_are_bounded(account, monkeypatch) -> None:
    await put(account, "INBOX", *(os.urandom(1000) for _ in range(20)))
    monkeypatch.setattr(audit_bodies, "BATCH_OCTETS", 4000)
    read, most = account.store.get_many, 0

    async def get_many(wanted):
        nonlocal most
        got = await read(wanted)
        if str(wanted[0]).startswith("body/"):
            most = max(most, sum(map(len, got)))
        return got

    monkeypatch.setattr(account.store, "get_many", get_many)
    assert await audit(account) == []
    assert 1000 < most <= 4000
