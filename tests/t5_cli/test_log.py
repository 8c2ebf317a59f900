"""`aerogramme log show` and `log verify`: on an account with a history that happened at known times."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
import trio

from aerogramme.config import Config
from aerogramme.log import reading
from aerogramme.log.journal import Journal
from aerogramme.mailbox.account import Account
from aerogramme.seal import Secret
from aerogramme.store.port import Row
from aerogramme.store.sqlite import SqliteStore
from aerogramme_cli import common, main
from tests.helpers.packed import letters
from tests.helpers.server import ADDRESS, PASSWORD, PROGRAM, aerogramme, create_account
from tests.t3_mailbox.conftest import put

MORNING = int(
    datetime(2100, 1, 1, 8, 12, tzinfo=UTC).timestamp()
)  # entries have later clocks than those before
MINUTE = 60


@contextmanager
def at(*, minutes: int = 0) -> Iterator[None]:
    """Who opens an account meanwhile does so on that morning."""
    with pytest.MonkeyPatch.context() as patch:
        defaults = Journal.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
        patch.setitem(defaults, "now_ms", lambda: (MORNING + minutes * MINUTE) * 1000)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """08:12 mails come; 08:13 a flag; 08:14 a mailbox is made, 08:15 a mail copied and one moved there;
    08:16 it is renamed, and a checkpoint written; 08:17 an expunge; 08:18 it is deleted, and another gets the
    name it had at first. Each minute is another server's."""
    data = tmp_path_factory.mktemp("log") / "data"
    create_account(data)
    config = Config.for_data(data)

    async def minute(number: int) -> None:
        user = common.user_of(config, ADDRESS)
        async with common.open_account(config, user, Secret(PASSWORD)) as account:
            await HISTORY[number](account)

    for number in range(len(HISTORY)):
        with at(minutes=number):
            trio.run(minute, number)
    return data


async def mails_come(account: Account) -> None:
    await put(account, "INBOX", *letters(0, 3))


async def a_flag(account: Account) -> None:
    inbox = account.find("INBOX")
    await account.store_flags(inbox, [1, 3], "+", ["\\Seen", "work"])


async def a_mailbox_is_made(account: Account) -> None:
    await account.create_mailbox("Trips/2100")


async def copied_and_moved(account: Account) -> None:
    await account.copy(account.find("INBOX"), [1], "Trips/2100")
    await account.move(account.find("INBOX"), [2], "Trips/2100")


async def renamed(account: Account) -> None:
    await account.rename_mailbox("Trips/2100", "Travel")
    await account.fold(force=True)


async def expunged(account: Account) -> None:
    inbox = account.find("INBOX")
    await account.store_flags(inbox, [1], "+", ["\\Deleted"])
    await account.expunge(inbox)


async def deleted(account: Account) -> None:
    await account.delete_mailbox("Travel")
    await account.create_mailbox("Trips/2100")


HISTORY = [mails_come, a_flag, a_mailbox_is_made, copied_and_moved, renamed, expunged, deleted]


@pytest.fixture
def log(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `aerogramme log …` for the account, and gives the exit code and both outputs."""

    def run(command: str, *options: str) -> tuple[int, str, str]:
        there, here = os.pipe()
        os.write(here, f"{PASSWORD}\n".encode())
        os.close(here)
        argv = ["aerogramme", "log", command, ADDRESS, "--data", str(data), "--password-from", f"fd:{there}"]
        monkeypatch.setattr(sys, "argv", [*argv, *options])
        try:
            with pytest.raises(SystemExit) as ended:
                main.main()
        finally:
            os.close(there)
        code = ended.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


def said(output: str) -> list[str]:
    """Minute and words of each line of that morning, but for what is subscribed and the UIDVALIDITY."""
    return [
        f"{line[11:16]} {line.partition(': ')[2].partition(' (UIDVALIDITY')[0]}"
        for line in output.splitlines()
        if line.startswith("2100-01-01 08:") and not line.endswith(" subscribed")
    ]


TOLD = [
    "08:12 3 messages added to INBOX (UID 1-3, 288 bytes)",
    "08:13 2 messages of INBOX: +\\Seen +work (UID 1, 3)",
    "08:14 mailbox Trips made",
    "08:14 mailbox Trips/2100 made",
    "08:15 1 message copied to Trips/2100 (UID 1)",
    "08:15 1 message moved from INBOX (UID 2) to Trips/2100 (UID 2)",
    "08:16 mailbox Trips/2100 renamed to Travel",
    "08:17 1 message of INBOX: +\\Deleted (UID 1)",
    "08:17 1 message removed from INBOX (UID 1)",
    "08:18 mailbox Travel deleted",
    "08:18 2 messages removed from Travel (UID 1-2)",
    "08:18 mailbox Trips/2100 made",
]


def test_a_morning_in_plain_words(log) -> None:
    code, out, err = log("show")
    assert (code, err) == (0, "")
    assert said(out) == TOLD
    first, *_ = out.splitlines()
    assert " server " in first and "mailbox INBOX made (UIDVALIDITY " in first
    assert "mailbox Sent made, is for sent mail (UIDVALIDITY " in out and "INBOX subscribed" in out


@pytest.mark.parametrize(
    ("options", "minutes"),
    [
        ("--since 2100-01-01T08:16", "16 17 17 18 18 18"),
        ("--since 2100-01-01T08:13 --until 2100-01-01T08:14:00", "13 14 14"),
        ("--until 2100-01-01T08:11:59", ""),
        ("--until yesterday", ""),
        ("--mailbox inbox", "12 13 15 17 17"),
        ("--mailbox Travel", "16 18 18"),  # it is gone, and had that name for two minutes
        ("--mailbox Travel --since 2100-01-01T08:17", "18 18"),
        ("--mailbox Trips/2100", "14 15 15 16 18"),  # two had the name, one after the other
        ("--mailbox Trips/2100 --kind add", "15 15"),
        ("--mailbox INBOX --message 1", "12 13 17 17"),
        ("--mailbox INBOX --message 2", "12 15"),
        ("--mailbox Trips/2100 --message 2", "15"),
        ("--kind remove --kind flags", "13 15 17 17 18"),
        ("--kind claim --kind touch --kind again", ""),
    ],
)
def test_what_is_asked_for(log, options: str, minutes: str) -> None:
    code, out, err = log("show", *options.split())
    assert (code, [line[3:5] for line in said(out)]) == (0, minutes.split())
    assert err == ("" if out else "nothing of that is in the log\n")


def test_a_name_is_that_of_the_time(log) -> None:
    """Also where what gave it is further back than is asked for."""
    _, out, _ = log("show", "--since", "2100-01-01T08:15", "--until", "2100-01-01T08:15")
    assert said(out) == TOLD[4:6]
    _, out, _ = log("show", "--since", "2100-01-01T08:18")
    assert said(out) == TOLD[9:]


@pytest.mark.parametrize("chosen", ["--kind remove", "--kind add", "--mailbox INBOX", "--mailbox Trips/2100"])
def test_half_of_a_move_is_called_one(log, chosen: str) -> None:
    """What was moved did not go, and is no copy: also where only one of the mailboxes is asked for."""
    _, out, _ = log("show", *chosen.split(), "--since", "2100-01-01T08:15", "--until", "2100-01-01T08:15")
    assert TOLD[5] in said(out) and not any("removed" in line for line in said(out))


def shown(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_json(log) -> None:
    _, out, _ = log("show", "--json", "--since", "2100-01-01")
    added, flagged, *rest = shown(out)
    made = rest[0]["operations"][1]  # Trips/2100, which was renamed later
    assert added["time"] == "2100-01-01T08:12:00+00:00"
    assert len(added["replica"]) == 10 and added["seq"] == 1 and added["modseq"] == MORNING * 1000 << 20
    (add,) = added["operations"]
    assert {name: add[name] for name in ("op", "mailbox", "messages", "uids", "octets")} == {
        "op": "add",
        "mailbox": "INBOX",
        "messages": 3,
        "uids": [1, 2, 3],
        "octets": 288,
    }
    (flags,) = flagged["operations"]
    assert flags["set"] == ["\\Seen", "work"] and flags["uids"] == [1, 3]
    assert flags["ids"] == [add["ids"][0], add["ids"][2]]
    (gone,) = [op for each in rest for op in each["operations"] if op.get("deleted")]
    assert (gone["op"], gone["mailbox"], gone["mailbox_id"]) == ("mailbox", "Travel", made["mailbox_id"])

    for which in (add["ids"][0], "0x" + add["ids"][0].upper()):
        _, out, _ = log("show", "--message", which)
        assert [line[3:5] for line in said(out)] == ["12", "13", "17", "17"]
    _, out, _ = log("show", "--json", "--replica", flagged["replica"][:7].upper())
    assert [each["key"] for each in shown(out)] == [flagged["key"]]


def test_times_of_this_machine(log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()
    try:
        _, out, _ = log("show", "--local", "--since", "2100-01-01T10:12", "--until", "2100-01-01T10:13")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [line[:19] for line in out.splitlines()] == ["2100-01-01 10:12:00", "2100-01-01 10:13:00"]


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        ("--since tomorrow", 2, "'tomorrow' is no time"),
        ("--since 1h --until 2h", 2, "--until is before --since"),
        ("--message 1", 2, "add --mailbox"),
        ("--message xyz", 2, "is no UID"),
        ("--replica xyz", 2, "beginning of a replica"),
        ("--follow --until now", 2, "no --until"),
        ("--kind nonsense", 2, "nonsense"),
        ("--mailbox Nowhere", 66, "no mailbox has the name Nowhere"),
    ],
)
def test_mistakes(log, options: str, code: int, why: str) -> None:
    ended, out, err = log("show", *options.split())
    assert (ended, out) == (code, "") and why in " ".join(err.replace("│", " ").split())


def test_it_goes_through_the_log_a_page_at_a_time(log, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few entries are in memory at once, all are shown."""
    monkeypatch.setattr(reading, "PAGE", 2)
    asked: list[int] = []
    real = SqliteStore.page

    async def page(self: SqliteStore, partition: str, after: str, limit: int) -> Sequence[Row]:
        rows = await real(self, partition, after, limit)
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(SqliteStore, "page", page)
    _, out, _ = log("show")
    assert said(out) == TOLD
    assert max(asked) == 2 and sum(asked) > len(TOLD) / 2


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    """The account, to be changed."""
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data"


def test_an_entry_that_cannot_be_read_is_shown_as_such(own: Path) -> None:
    [file] = (own / "accounts").glob("*.sqlite")
    with closing(connect(file)) as database, database:
        sql = "SELECT key FROM rows WHERE part = 'log' ORDER BY key LIMIT 1 OFFSET 2"
        [(key,)] = database.execute(sql).fetchall()
        database.execute("UPDATE rows SET value = substr(value, 2) WHERE key = ?", (key,))
        database.execute(
            "UPDATE rows SET key = 'nonsense' WHERE key = (SELECT max(key) FROM rows WHERE part = 'log')"
        )
    where = (ADDRESS, "--data", str(own), "--password-stdin")
    out = aerogramme("log", "show", *where, stdin=PASSWORD).stdout.decode()
    assert "08:13 entry 1 cannot be read: " in "\n".join(said(out))
    assert "entry nonsense: a row of the log has an impossible key" in out
    out = aerogramme("log", "show", *where, "--json", "--kind", "damaged", stdin=PASSWORD).stdout.decode()
    damaged, nonsense = shown(out)
    assert damaged["key"] == key and damaged["operations"] == [] and "damaged" in damaged
    assert nonsense["key"] == "nonsense" and nonsense["time"] is None
    out = aerogramme("log", "show", *where, "--kind", "flags", stdin=PASSWORD).stdout.decode()
    assert [line[3:5] for line in said(out)] == ["17"]


# --- log verify


def test_a_sound_log(log) -> None:
    code, out, err = log("verify", "--bodies")
    assert (code, out) == (0, "") and "all is there and opens (" in err
    code, out, err = log("verify", "--json")
    assert (code, err.count("\n")) == (0, 1)
    (told,) = shown(out)
    assert told["problems"] == 0 and told["notes"] == [] and told["looked"]["entries"] > 8


def test_what_is_damaged_or_missing_is_a_line_each_and_an_exit_code(own: Path) -> None:
    [file] = (own / "accounts").glob("*.sqlite")
    with closing(connect(file)) as database, database:
        keys = [key for (key,) in database.execute("SELECT key FROM rows WHERE part = 'log' ORDER BY key")]
        database.execute("UPDATE rows SET value = substr(value, 2) WHERE key = ?", (keys[2],))
        database.execute("DELETE FROM rows WHERE key = ?", (keys[3],))
    where = (ADDRESS, "--data", str(own), "--password-stdin")
    found = aerogramme("log", "verify", *where, stdin=PASSWORD, check=False)
    assert found.returncode == 65
    lines = found.stdout.decode().splitlines()
    assert any(f"entry {keys[2]} cannot be read" in line for line in lines)
    assert any(f"replica {keys[3][17:27]}: entry 1 is missing" in line for line in lines)
    assert b"are not as they should be" in found.stderr and b"aerogramme check" in found.stderr
    found = aerogramme("log", "verify", *where, "--json", stdin=PASSWORD, check=False)
    *problems, told = shown(found.stdout.decode())
    assert found.returncode == 65 and told["problems"] == len(problems) == len(lines)
    assert {each["problem"] for each in problems} == {"entry", "gap"}


def test_a_store_that_has_gone_back_in_time_is_named_as_such(own: Path) -> None:
    where = (ADDRESS, "--data", str(own), "--password-stdin")
    aerogramme("account", "show", *where, stdin=PASSWORD)
    [file] = (own / "accounts").glob("*.sqlite")
    with closing(connect(file)) as database, database:
        sql = "DELETE FROM rows WHERE part = 'log' AND key = (SELECT max(key) FROM rows WHERE part = 'log')"
        database.execute(sql)
    found = aerogramme("log", "verify", *where, stdin=PASSWORD, check=False)
    assert found.returncode == 79 and b"account trust" in found.stderr
    [line] = found.stdout.decode().splitlines()
    assert line.endswith("is gone: the store has gone back in time")


# --- log show --follow


@pytest.fixture
def following(own: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `log show --follow`; what is left running ends with the test."""
    with ExitStack() as started:

        def start(*options: str) -> subprocess.Popen[bytes]:
            command = [PROGRAM, "log", "show", ADDRESS, "--data", str(own), "--password-stdin", "--follow"]
            process = started.enter_context(
                subprocess.Popen([*command, *options], stdin=-1, stdout=-1, stderr=-1)
            )
            started.callback(process.kill)
            assert process.stdin
            process.stdin.write(f"{PASSWORD}\n".encode())
            process.stdin.close()
            return process

        yield start


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_what_comes_is_followed_until_ctrl_c(
    own: Path, following: Callable[..., subprocess.Popen[bytes]], how: tuple[str, ...]
) -> None:
    process = following("--since", "2100-01-01T08:18", "--kind", "add", "--kind", "mailbox", *how)
    assert process.stdout and process.stderr
    before = [process.stdout.readline().decode() for _ in range(2)]
    assert "Travel" in before[0] and "Trips" in before[1]
    for n in range(2):
        aerogramme("deliver", ADDRESS, "--data", str(own), stdin=f"Subject: {n}\n\nhello\n")
        where = (ADDRESS, "--data", str(own), "--password-stdin")
        aerogramme("account", "show", *where, stdin=PASSWORD)  # opens, and so drains
        line = process.stdout.readline().decode()
        if how:
            (add,) = json.loads(line)["operations"]
            assert add["mailbox"] == "INBOX" and add["uids"] == [4 + n]
        else:
            assert f"1 message added to INBOX (UID {4 + n}, " in line
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


@pytest.mark.parametrize("kind", ["s3", pytest.param("garage", marks=pytest.mark.garage)])
def test_on_a_distant_store(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    store = request.getfixturevalue(kind)
    where = (ADDRESS, "--data", str(tmp_path / "data"), "--store", store)
    create_account(tmp_path / "data", store=store)
    for n in range(3):
        aerogramme("deliver", *where, stdin=f"Subject: {n}\n\nhello\n")
    found = aerogramme("log", "verify", *where, "--password-stdin", "--bodies", stdin=PASSWORD)
    assert found.stdout == b"" and b"3 bodies" in found.stderr and b"3 letters" in found.stderr
    aerogramme("account", "show", *where, "--password-stdin", stdin=PASSWORD)  # opens, and so drains
    out = aerogramme("log", "show", *where, "--password-stdin", "--since", "1h", stdin=PASSWORD).stdout
    assert b"3 messages added to INBOX (UID 1-3, " in out
    found = aerogramme("log", "verify", *where, "--password-stdin", "--bodies", stdin=PASSWORD)
    assert found.stdout == b"" and b"3 bodies, 2 entries" in found.stderr, found.stderr
