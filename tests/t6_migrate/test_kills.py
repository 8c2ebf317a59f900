"""An import that is killed at random moments and run again: no message is missing, and none is doubled."""

import json
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from aerogramme.migrate.origin import Origin
from aerogramme.migrate.passing import Options
from aerogramme.seal import Secret
from aerogramme_cli.import_job import Job
from aerogramme_cli.options import Where
from tests.helpers.audit import audit_data
from tests.helpers.killed_import import imports
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

KILLS = 20
FOLDERS = ("", ".Work", ".Work.2024", ".Lists")


class Folder:
    """A folder of a Maildir that Dovecot has served."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next = 1
        self.files: dict[int, Path] = {}
        for part in "cur", "new", "tmp":
            (path / part).mkdir(parents=True)

    def put(self, letter: bytes, flags: str) -> None:
        base = f"{1_600_000_000 + self.next}.M{self.next}P1.host"
        self.files[self.next] = self.path / "cur" / f"{base}:2,{flags}"
        self.files[self.next].write_bytes(letter)
        self.next += 1

    def flag(self, uid: int, flags: str) -> None:
        file = self.files[uid]
        self.files[uid] = file.rename(file.with_name(file.name.partition(":")[0] + f":2,{flags}"))

    def remove(self, uid: int) -> None:
        self.files.pop(uid).unlink()

    def write_uids(self) -> None:
        lines = [f"3 V1600000000 N{self.next} G0123456789abcdef0123456789abcdef"]
        lines += [f"{uid} :{file.name.partition(':')[0]}" for uid, file in sorted(self.files.items())]
        (self.path / "dovecot-uidlist").write_text("\n".join(lines) + "\n")


def use(folders: list[Folder], rng: random.Random, most: int) -> None:
    """Mail comes, is read, and goes."""
    for folder in folders:
        for _ in range(rng.randrange(most)):
            text = b"a word and another\n" * rng.randrange(1, 400)
            head = b"Message-ID: <%d.%d@x>\nSubject: mail\n\n" % (id(folder), folder.next)
            folder.put(head + text, rng.choice(["", "S", "RS"]))
        for uid in rng.sample(sorted(folder.files), len(folder.files) // 20):
            folder.flag(uid, rng.choice(["FS", "S", "RS"]))
        for uid in rng.sample(sorted(folder.files), len(folder.files) // 40):
            folder.remove(uid)
        folder.write_uids()


@pytest.mark.parametrize("sealed", [False, True], ids=["opened", "sealed"])
def test_twenty_kills(tmp_path: Path, sealed: bool) -> None:
    rng = random.Random(8)
    data, maildir = tmp_path / "data", tmp_path / "Maildir"
    create_account(data)
    folders = [Folder(maildir / name if name else maildir) for name in FOLDERS]
    use(folders, rng, 150)
    origin = Origin("dovecot", str(maildir))
    password = Secret(PASSWORD)
    options = Options(delete=True)
    job = Job(ADDRESS, origin, None if sealed else password, options, False)
    where = Where(data=data)
    killed = 0
    with imports() as program:
        longest = 0.5
        while killed < KILLS:
            code, used = program.run(job.to_json(where), rng.uniform(0, longest))
            assert code in (0, -signal.SIGPROF)
            if code == 0:  # it was faster: there is something to do again
                longest = used
                use(folders, rng, 60)
            killed += code != 0
        use(folders, rng, 20)
        assert program.run(job.to_json(where))[0] == 0
        compared = replace(job, secret=password, verifying=True, options=Options(delete=True, dry_run=True))
        assert program.run(compared.to_json(where))[0] == 0
    out = aerogramme(
        *("import", "dovecot", str(maildir), ADDRESS, "--data", str(data), "--verify", "--delete"),
        *("--json", "--password-stdin"),
        stdin=PASSWORD + "\n",
    ).stdout
    said = json.loads(out)
    assert said["whole"]
    counts = ("landed", "flags", "removed", "renumbered", "lost")
    assert [sum(each[name] for each in said["mailboxes"]) for name in counts] == [0] * 5
    others = ("flags", "changed", "extra")
    assert [[each[name] for name in others] for each in said["compared"]["mailboxes"]] == [[0] * 3] * 4
    assert audit_data(data, ADDRESS) == []
