"""Users of another server by the command line: from its files to the first login, beside a running server."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

from aerogramme.users.static import StaticDirectory
from tests.helpers.audit import audit_data
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, serving
from tests.t5_cli.test_account_end import account, deliver
from tests.t5_cli.test_invitation import bodies, login_fails

# Of PASSWORD and of others, by `doveadm pw`.
DIGEST = "LfFGIDiAnglK9PKTz/QvMEnODlyeLMeS8YIMgdHePlethzRECkfN7mJUrYXPufhUnp9ZmG3n71NKCQu0raQ1A1"
KEPT = "{SHA512-CRYPT}$6$x0PA1/djUdra.3lg$" + DIGEST
OTHER = "{PLAIN-MD5}" + hashlib.md5(b"of the first list").hexdigest()


def import_users(
    data: Path, file: Path | str, *options: str, stdin: str = "", code: int = 0
) -> subprocess.CompletedProcess[bytes]:
    done = aerogramme("import", "users", str(file), *options, "--data", str(data), stdin=stdin, check=False)
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def test_from_the_files_of_dovecot_and_postfix_to_the_first_login(tmp_path: Path) -> None:
    data, file, virtual = tmp_path / "data", tmp_path / "users", tmp_path / "virtual"
    file.write_text(
        f"{ADDRESS}:{OTHER}:1000:1000::/home/alice::userdb_quota_rule=*:storage=1G\nbob@example.org\n"
    )
    virtual.write_text(f"al@example.org {ADDRESS}\nteam@example.org {ADDRESS}, bob@example.org\n")
    with serving(data) as server:
        done = import_users(data, file, "--aliases", str(virtual))
        assert re.fullmatch(rb"bob@example\.org\t[0-9A-Z]{5}(-[0-9A-Z]{5}){5}\n", done.stdout)
        assert b"virtual:2: team@example.org leads to several" in done.stderr
        assert b"1 as md5" in done.stderr and b"made 2 (1 of them" in done.stderr
        deliver(server)
        file.write_text(f"{ADDRESS}:{KEPT}\n")  # a new password, before the switch
        assert b"renewed 1" in import_users(data, file).stderr
        assert b"waits for the first login" in account("list", "--waiting", data=data).stdout
        assert "AUTHENTICATIONFAILED" in login_fails(server, "of the first list")
        assert len(bodies(server, PASSWORD)) == 1
        deliver(server)
        assert len(bodies(server, PASSWORD)) == 2
        assert ADDRESS.encode() not in account("list", "--waiting", data=data).stdout
        file.write_text(f"{ADDRESS}:{OTHER}\n")
        assert b"1 have a password here" in import_users(data, file).stderr
        assert "AUTHENTICATIONFAILED" in login_fails(server, DIGEST)
        assert server.stop() == 0
    user = StaticDirectory(data / "users.toml").by_login("al@example.org")
    assert user is not None and (user.address, user.quota) == (ADDRESS, 1 << 30)
    assert audit_data(data, ADDRESS) == []
    for place in (*data.rglob("*"), server.log):
        if place.is_file():
            content = place.read_bytes()
            assert PASSWORD.encode() not in content and DIGEST.encode() not in content, place
    assert (data / "first-login.key").stat().st_mode & 0o777 == 0o600


def test_on_the_command_line_the_old_password_takes_the_place_of_the_code(tmp_path: Path) -> None:
    data = tmp_path / "data"
    import_users(data, "-", stdin=f"{ADDRESS}:{KEPT}\n")
    wrong = account("accept", ADDRESS, "--password-stdin", data=data, stdin="wrong\nnew\n", code=77)
    assert b"on the other server" in wrong.stderr
    early = account("passwd", ADDRESS, "--password-stdin", data=data, stdin=f"{PASSWORD}\nnew\n", code=65)
    assert b"accepted first" in early.stderr
    account("accept", ADDRESS, "--password-stdin", data=data, stdin=f"{PASSWORD}\nnew\n")
    assert audit_data(data, ADDRESS, "new") == []


def test_mistakes_are_told_and_the_others_are_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    text = f"address,password,aliases\nalice,{KEPT},al\nbob@,x,\ncarol,{{OTP}}x,\n"
    planned = import_users(data, "-", "--domain", "example.org", "--dry-run", stdin=text, code=65)
    assert [line.partition(":")[0] for line in planned.stdout.decode().splitlines()] == [
        "alice@example.org",
        "carol@example.org",
    ]
    assert not (data / "users.toml").exists() and not (data / "first-login.key").exists()
    key = tmp_path / "key"
    how = ("--domain", "example.org", "--key", str(key), "--json")
    done = import_users(data, "-", *how, stdin=text, code=65)
    assert b"-:3: " in done.stderr and b"1 line of -" in done.stderr
    alice, carol = [json.loads(line) for line in done.stdout.splitlines()]
    assert (alice["login"], alice["code"], alice["added"]) == ("password", None, ["al@example.org"])
    assert (carol["login"], carol["why"]) == ("code", "passwords cannot be checked here that are kept as OTP")
    assert carol["code"] and key.exists() and not (data / "first-login.key").exists()
    again = import_users(data, "-", "--domain", "example.org", stdin=f"alice:{OTHER}\n", code=65)
    assert b"made with another key" in again.stderr
    assert b"unknown column" in import_users(data, "-", stdin="address,home\n", code=65).stderr
    assert b"cannot be read" in import_users(data, tmp_path / "no", code=2).stderr
