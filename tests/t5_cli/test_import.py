"""`aerogramme import` of mail: one account and many, what is said, and exit codes."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import typer

from aerogramme.errors import Refused, Unreadable
from aerogramme.migrate import origin
from aerogramme.migrate.moving import Outcome
from aerogramme.migrate.origin import Origin
from aerogramme.migrate.passing import Options
from aerogramme.migrate.report import Report
from aerogramme.migrate.sources.source import Fault
from aerogramme.migrate.verifying import Verified
from aerogramme.seal import Secret
from aerogramme_cli import import_many, import_shown
from aerogramme_cli.import_accounts import Line, read_list
from aerogramme_cli.import_imap import _host
from aerogramme_cli.import_job import Far, Job
from aerogramme_cli.import_running import secret_of
from aerogramme_cli.options import Where
from aerogramme_cli.variables import expanded
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

OTHER = "bob@example.org"


def maildir(path: Path, count: int, *, flags: str = "S") -> Path:
    """A Maildir as Dovecot has it, with UIDs 1, 2, 3 …"""
    for part in "cur", "new", "tmp":
        (path / part).mkdir(parents=True, exist_ok=True)
    lines = [f"3 V1600000000 N{count + 1} G0123456789abcdef0123456789abcdef"]
    for uid in range(1, count + 1):
        file = path / "cur" / f"{1_600_000_000 + uid}.M1P1.host:2,{flags}"
        file.write_bytes(b"Message-ID: <%d@x>\nSubject: %d\n\nhello\n" % (uid, uid))
        os.utime(file, (1_600_000_000 + uid,) * 2)
        lines.append(f"{uid} :{1_600_000_000 + uid}.M1P1.host")
    (path / "dovecot-uidlist").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    create_account(tmp_path / "data")
    return tmp_path / "data"


def run(data: Path, *args: str, code: int = 0, stdin: str = PASSWORD + "\n"):
    """Exit code, and what is on standard output and standard error."""
    given = () if {"--sealed", "--accounts"} & set(args) else ("--password-stdin",)
    done = aerogramme("import", *args, "--data", str(data), *given, stdin=stdin, check=False)
    assert done.returncode == code, done
    return done.stdout.decode(), done.stderr.decode()


def test_dovecots_mail_comes_in_and_is_compared(data: Path, tmp_path: Path) -> None:
    source = maildir(tmp_path / "Maildir", 30)
    out, _ = run(data, "dovecot", str(source), ADDRESS, "--dry-run")
    assert "would come" in out and "INBOX" in out
    out, _ = run(data, "dovecot", str(source), ADDRESS)
    assert "30 messages taken over" in out
    (source / "cur" / "1600000007.M1P1.host:2,S").rename(source / "cur" / "1600000007.M1P1.host:2,FS")
    (source / "cur" / "1600000008.M1P1.host:2,S").unlink()
    out, _ = run(data, "dovecot", str(source), ADDRESS, "--delete", "--verify", "--json")
    said = json.loads(out)
    [mailbox] = said["mailboxes"]
    assert (mailbox["landed"], mailbox["flags"], mailbox["removed"], mailbox["keeps"]) == (0, 1, 1, True)
    assert said["whole"] and said["compared"]["mailboxes"][0]["here"] == 29


def test_what_cannot_be_read_is_said_and_is_the_exit_code(data: Path, tmp_path: Path) -> None:
    source = maildir(tmp_path / "Maildir", 3)
    (source / "cur" / "1600000002.M1P1.host:2,S").write_bytes(b"\x28\xb5\x2f\xfdcut")  # zstd
    out, err = run(data, "dovecot", str(source), ADDRESS, code=65)
    assert "2 messages taken over" in out
    assert "1600000002.M1P1.host" in err and "(LOST)" in err and "not all mail" in err
    _, err = run(data, "dovecot", str(source), ADDRESS, "--dry-run", "--verify", code=65)
    assert "1600000002.M1P1.host" in err


def test_what_makes_no_sense(data: Path) -> None:
    for args, code in (
        (("dovecot", "/nowhere", ADDRESS), 65),
        (("dovecot", ".", "nobody@example.org"), 67),
        (("dovecot", "."), 2),
        (("dovecot", ".", ADDRESS, "--sealed", "--verify"), 2),
        (("imap", "localhost:0", ADDRESS), 2),
    ):
        _, err = run(data, *args, code=code)
        assert "rror" in err


def test_what_only_comparing_has_found_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(Report(ADDRESS), Verified(ADDRESS))
    assert outcome.compared is not None
    outcome.report.fault(Fault("INBOX", "it is odd", "so be it"))
    outcome.compared.faults += [
        Fault("INBOX", "it is odd", "so be it"),
        Fault("Work", "it is gone", "the rest of the mailbox is left out", lost=True),
    ]
    import_shown.show_faults(outcome.plain())
    said = capsys.readouterr().err
    assert said.count("it is odd") == 1 and f"{ADDRESS}: Work: it is gone" in said


def test_a_path_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in "dovecot", "maildir", "mbox", "eml":
        with pytest.raises(Unreadable, match="cannot be read: File name too long"):
            Origin(kind, str(tmp_path / ("x" * 300))).open()

    def scandir(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(origin.os, "scandir", scandir)  # root may read all
    with pytest.raises(Unreadable, match="cannot be read: Permission denied"):
        Origin("dovecot", str(tmp_path)).open()


@pytest.mark.parametrize("inside", ["Maildir/cur", "mdbox/mailboxes", "sdbox/mailboxes/INBOX/dbox-Mails"])
def test_the_home_in_place_of_the_mail_is_refused(tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).mkdir(parents=True)
    (tmp_path / "notes").write_bytes(
        b"From a@example.com Mon Jan  1 00:00:00 2024\n\nThis looks like an mbox.\n"
    )
    with pytest.raises(Unreadable) as refused:
        Origin("dovecot", str(tmp_path)).open()
    assert str(tmp_path / inside.partition("/")[0]) in str(refused.value)


def test_one_import_of_an_account_at_a_time(data: Path, tmp_path: Path) -> None:
    source = maildir(tmp_path / "Maildir", 1)
    run(data, "dovecot", str(source), ADDRESS)
    [lock] = (data / "import").glob("*.lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _, err = run(data, "dovecot", str(source), ADDRESS, code=75)
    assert "another import" in err


def test_many_accounts_at_a_time(data: Path, tmp_path: Path) -> None:
    """With a password, without, and such as there is not; one of them has something that cannot be read."""
    create_account(data, OTHER)
    third = "carol@example.org"
    create_account(data, third)
    for address in ADDRESS, OTHER, third:
        maildir(tmp_path / "mail" / "example.org" / address.partition("@")[0], 20)
    passwords = tmp_path / "passwords"
    passwords.write_text(f"{OTHER} {PASSWORD}\n")
    passwords.chmod(0o600)
    accounts = tmp_path / "accounts"
    accounts.write_text(f"# all of them\n{ADDRESS}\n{OTHER}\n{third}\n")
    pattern = str(tmp_path / "mail" / "%d" / "%n")
    out, _ = run(
        data, "dovecot", pattern, "--accounts", str(accounts), "--passwords-from", str(passwords), code=65
    )
    assert "1 of 3 accounts are whole" in out and "its password is not given" in out
    accounts.write_text(f"{ADDRESS}, {tmp_path}/mail/example.org/alice\nnobody@example.org\n{third}\n")
    out, _ = run(data, "dovecot", pattern, "--accounts", str(accounts), "--sealed", "--json", code=65)
    said = {each["address"]: each for each in map(json.loads, out.splitlines())}
    assert {address: each["whole"] for address, each in said.items()} == {
        ADDRESS: True,
        "nobody@example.org": False,
        third: True,
    }
    assert said[third]["mailboxes"][0]["landed"] == 20
    # Where something is there already, UIDs are new ones, and that is said.
    maildir(tmp_path / "other", 3)
    accounts.write_text(f"{OTHER}, {tmp_path}/other\n")
    with_password = ("--accounts", str(accounts), "--passwords-from", str(passwords))
    (tmp_path / "other" / "dovecot-uidlist").unlink()
    out, _ = run(data, "maildir", pattern, *with_password)
    assert "with new UIDs" not in out  # they are the same letters
    maildir(tmp_path / "other", 22)
    (tmp_path / "other" / "dovecot-uidlist").unlink()
    out, _ = run(data, "maildir", pattern, *with_password)
    assert "2 with new UIDs" in out
    # Alice comes: her mail is there, and another run finds nothing to do.
    out, _ = run(data, "dovecot", pattern, ADDRESS, "--verify", "--json")
    said = json.loads(out)
    assert said["whole"] and said["mailboxes"][0]["landed"] == 0


def test_the_key_of_import_users_opens_accounts_whose_users_have_not_come(tmp_path: Path) -> None:
    data, key = tmp_path / "data", str(tmp_path / "data" / "first-login.key")
    lines = f"{ADDRESS},{{PLAIN-MD5}}{hashlib.md5(PASSWORD.encode()).hexdigest()}\n{OTHER}\n"
    run(data, "dovecot", ".", "--accounts", "-", "--key", key, stdin=lines, code=2)
    assert not (data / "first-login.key").exists()
    aerogramme("import", "users", "-", "--data", str(data), stdin=lines)
    for address in ADDRESS, OTHER:
        maildir(tmp_path / "mail" / address, 20)
        aerogramme("deliver", address, "--data", str(data), stdin="Subject: new\n\nhi\n")
    both = ("dovecot", str(tmp_path / "mail" / "%u"), "--accounts", "-", "--key", key)
    out, _ = run(data, *both, "--verify", "--json", stdin=f"{ADDRESS}\n{OTHER}\n")
    for said in map(json.loads, out.splitlines()):
        assert said["whole"] and said["compared"]["mailboxes"][0]["here"] == 20  # what was delivered waits
    aerogramme(
        "account", "accept", ADDRESS, "--data", str(data), "--password-stdin", stdin=f"{PASSWORD}\n" * 2
    )
    out, _ = run(data, *both, stdin=f"{ADDRESS}\n{OTHER}\n", code=65)
    assert "its user has come" in out and "1 of 2 accounts are whole" in out
    for given, code in (("--all", 65), (OTHER, 0)):
        out_of = ("export", "maildir", str(tmp_path / "out" / "%n"), given, "--data", str(data), "--key", key)
        done = aerogramme(*out_of, check=False)
        assert done.returncode == code and b"21 messages" in done.stdout
        assert (ADDRESS.encode() in done.stderr) == (code == 65)


def test_lists_of_accounts(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("\ufeffaddress,source,password\n\n# not this\na@x, /mail/a\n b@x \n")
    assert read_list(str(path), passwords=False) == [Line("a@x", "/mail/a"), Line("b@x")]
    path.write_text('a@x,login,"pass, word"\n')
    with pytest.raises(typer.BadParameter, match="address, source"):
        read_list(str(path), passwords=False)
    with pytest.raises(typer.BadParameter, match="chmod 600"):
        read_list(str(path), passwords=True)
    path.chmod(0o600)
    [line] = read_list(str(path), passwords=True)
    assert line == Line("a@x", "login", "pass, word") and "pass" not in repr(line)
    for text in "", "# none\n", ",x\n", "a@x\nA@X\n", 'a@x,"b\n', "a\xff":
        path.write_text(text, encoding="latin-1")
        with pytest.raises(typer.BadParameter):
            read_list(str(path), passwords=False)
    with pytest.raises(typer.BadParameter):
        read_list(str(tmp_path / "none"), passwords=False)


def test_variables_in_paths() -> None:
    assert expanded("/%d/%n/%u/%%", "A.b@X.org") == "/X.org/A.b/A.b@X.org/%"
    assert expanded("%Ln-%Ld", "A.b@X.org") == "a.b-x.org"
    for template in "%h", "%", "%L", "%L%":
        with pytest.raises(typer.BadParameter):
            expanded(template, "a@x")
    for template, address in ("%n", "../x@y"), ("%n", "..@y"), ("%n", "a/b@y"), ("%d", "a"):
        with pytest.raises(Refused):
            expanded(template, address)


def test_paths_of_nobody(data: Path, tmp_path: Path) -> None:
    _, err = run(data, "maildir", "~nobody-is-called-so/Maildir", ADDRESS, code=2)
    assert "~nobody-is-called-so" in err
    # An address that is like the home of somebody is none.
    create_account(data, "~root@example.org")
    maildir(tmp_path / "~root@example.org", 2)
    out, _ = run(data, "maildir", str(tmp_path / "%u"), "~root@example.org")
    assert "2 messages taken over" in out


def test_an_address_of_which_no_path_can_be_made_does_not_keep_the_others(data: Path, tmp_path: Path) -> None:
    create_account(data, "a/b@example.org")
    maildir(tmp_path / "alice", 2)
    accounts = f"{ADDRESS}\na/b@example.org\n"
    given = ("maildir", str(tmp_path / "%n"), "--accounts", "-", "--sealed", "--json")
    out, _ = run(data, *given, stdin=accounts, code=65)
    said = {each["address"]: each for each in map(json.loads, out.splitlines())}
    assert said[ADDRESS]["whole"] and "cannot be a part of a path" in said["a/b@example.org"]["error"]


def test_names_of_mailboxes_are_shown_as_they_are(data: Path, tmp_path: Path) -> None:
    name = "[/b] :x: [red]"
    run(data, "maildir", str(maildir(tmp_path / "Maildir", 1)), ADDRESS, "--under", name)
    shown = aerogramme("account", "show", ADDRESS, "--data", str(data), "--password-stdin", stdin=PASSWORD)
    assert name in shown.stdout.decode()


def test_a_password_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("it is\r\nthis\n")
    with pytest.raises(typer.BadParameter, match="chmod 600"):
        secret_of(str(file))
    file.chmod(0o600)
    assert secret_of(str(file)).reveal() == b"it is"
    for text in b"", b"\nx\n", b"\xff\n":
        file.write_bytes(text)
        with pytest.raises(typer.BadParameter):
            secret_of(str(file))


def test_hosts_and_ports() -> None:
    assert _host("mail.example.org") == ("mail.example.org", 0)
    assert _host("mail.example.org:1143") == ("mail.example.org", 1143)
    assert _host("[::1]:143") == ("::1", 143) and _host("[::1]") == ("::1", 0) == _host("::1")
    for text in "x:0", "x:65536", "x:y", "[::1", "[::1]x":
        with pytest.raises(typer.BadParameter):
            _host(text)


def test_a_process_that_dies_takes_one_account_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process here does one account, and dies over the next."""
    program = (
        "import sys\n"
        'sys.stdin.readline(); print(\'{"progress": {"part": 0.5, "words": ""}}\', flush=True)\n'
        "print('{\"done\": {}}', flush=True)\n"
        "sys.stdin.readline(); sys.exit(3)\n"
    )

    async def start() -> trio.Process:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return await trio.lowlevel.open_process([sys.executable, "-c", program], **pipes)

    monkeypatch.setattr(import_many, "_start", start)
    jobs = [Job(f"{n}@x", Origin("maildir", "."), None, Options(), False) for n in range(7)]
    ended: list[str] = []

    def shown(address: str, far: Far | None) -> None:
        if far is None:
            ended.append(address)

    done = trio.run(import_many.run_many, Where(), jobs, 2, shown)
    assert [each.address for each in done] == [job.address for job in jobs]
    assert sorted(ended) == [job.address for job in jobs]  # each of them once
    failed = [each for each in done if each.plain is None]
    assert 2 <= len(failed) <= 4 and all(each.code == import_many.FAILED for each in failed)


def test_a_job_goes_to_a_process_and_no_password_into_a_repr() -> None:
    origin = Origin("imap", "host", login="a", password="pass1", roles=("x=Sent",))
    job = Job("a@x", origin, Secret("pass2"), Options(delete=True, only=("A", "B")), True)
    again, where = Job.from_json(job.to_json(Where(data=Path("/data"))))
    assert again == job and where == Where(data=Path("/data"))
    assert "pass" not in repr(job)
