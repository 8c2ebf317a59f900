"""Quota and retention on the command line, beside a server that runs."""

import json
import smtplib
from pathlib import Path

import pytest

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account, serving

MAIL = b"From: bob@example.net\nSubject: Hi\n\n" + b"Hello\n" * 100


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, str]:
    create_account(tmp_path / "data")
    return "--data", str(tmp_path / "data")


def listed(where: tuple[str, str], *options: str) -> dict:
    [user] = json.loads(aerogramme("account", "list", *where, "--json", *options).stdout)
    return user


def test_what_is_set_is_shown_and_taken_back(where):
    assert (listed(where)["quota"], listed(where)["retention"]) == (None, 7 * 86400)
    done = aerogramme("account", "set", ADDRESS, "--quota", "5G", "--retention", "30d", *where)
    assert b"a quota of 5.00 GiB, a retention of 30d" in done.stderr
    assert (listed(where)["quota"], listed(where)["retention"]) == (5 << 30, 30 * 86400)
    text = (Path(where[1]) / "users.toml").read_text()
    assert 'quota = "5G"\nretention = "30d"\n' in text
    aerogramme("account", "set", ADDRESS, "--quota", "100000", *where)
    shown = aerogramme("account", "show", ADDRESS, *where, "--password-stdin", stdin=PASSWORD + "\n")
    assert b"0 B in 0 messages; the quota is 97.7 KiB, 0% are used" in shown.stdout
    assert b"retention 30d" in shown.stdout
    aerogramme("account", "set", ADDRESS, "--quota", "default", "--retention", "default", *where)
    assert "quota" not in (Path(where[1]) / "users.toml").read_text()
    assert (listed(where)["quota"], listed(where)["retention"]) == (None, 7 * 86400)


def test_the_configuration_says_what_holds_for_the_others(where, tmp_path):
    config = tmp_path / "aerogramme.toml"
    config.write_text(f'data = "{where[1]}"\n[accounts]\nquota = "1G"\nretention = "2w"\n')
    of = ("--config", str(config))
    [user] = json.loads(aerogramme("account", "list", *of, "--json").stdout)
    assert (user["quota"], user["retention"]) == (1 << 30, 14 * 86400)
    done = aerogramme("account", "set", ADDRESS, "--quota", "none", *of)
    assert b"no quota, a retention of 14d" in done.stderr
    [user] = json.loads(aerogramme("account", "list", *of, "--json").stdout)
    assert user["quota"] is None


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ((), b"nothing to set"),
        (("--quota", "0"), b"a quota is a size"),
        (("--quota", "much"), b"a quota is a size"),
        (("--retention", "5m"), b"a retention is from 1d to 3650d"),
        (("--retention", "soon"), b"not a duration"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(where, options, what):
    before = (Path(where[1]) / "users.toml").read_text()
    done = aerogramme("account", "set", ADDRESS, *options, *where, check=False)
    assert done.returncode == 2
    assert what in b" ".join(done.stderr.replace("│".encode(), b" ").split())
    assert (Path(where[1]) / "users.toml").read_text() == before
    assert aerogramme("account", "set", "x@y.z", "--quota", "1G", *where, check=False).returncode == 67


def test_a_full_account_gets_nothing_by_deliver_either(where, tmp_path):
    aerogramme("account", "set", ADDRESS, "--quota", "1500", *where)
    aerogramme("deliver", ADDRESS, *where, stdin=MAIL)
    full = aerogramme("deliver", ADDRESS, *where, stdin=MAIL, check=False)
    assert full.returncode == 65
    assert b"the account is full" in full.stderr and b"account set --quota" in full.stderr
    config = tmp_path / "aerogramme.toml"
    config.write_text(f'data = "{where[1]}"\n[accounts]\nover_quota = "defer"\n')
    assert aerogramme("deliver", ADDRESS, "--config", str(config), stdin=MAIL, check=False).returncode == 75
    usage = listed(where, "--usage")["usage"]
    assert (usage["messages"], usage["noted"]) == (1, None)
    assert len(MAIL) < usage["octets"] < 1500
    lines = aerogramme("account", "list", "--usage", *where).stdout
    assert b" of 1.46 KiB in 1 messages (never noted)" in lines
    shown = aerogramme(
        "account", "show", ADDRESS, *where, "--password-stdin", "--json", stdin=PASSWORD + "\n"
    )
    assert json.loads(shown.stdout)["usage"] == {"octets": usage["octets"], "messages": 1}


def test_a_running_server_goes_by_it_at_once_and_remembers_what_it_has_delivered(where):
    data = Path(where[1])
    large = MAIL + b"x" * 10_000
    with serving(data) as server:
        with server.lmtp() as lmtp:
            aerogramme("account", "set", ADDRESS, "--quota", "15K", *where)
            lmtp.sendmail("bob@example.net", [ADDRESS], large)
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                lmtp.sendmail("bob@example.net", [ADDRESS], large)
            assert refused.value.recipients[ADDRESS] == (552, b"5.2.2 The mailbox is full")
            lmtp.sendmail("bob@example.net", [ADDRESS], MAIL)
        imap = server.imap()
        imap.select()
        root, quota = imap.getquotaroot("INBOX")[1]
        assert root == [b'"INBOX" ""']
        assert quota == [b'"" (STORAGE 12 15)']
        assert imap.append("INBOX", None, None, large)[1][0].startswith(b"[OVERQUOTA]")
        assert imap.append("INBOX", None, None, MAIL)[0] == "OK"
        imap.logout()
        assert server.stop() == 0
    usage = listed(where, "--usage")["usage"]
    assert usage["messages"] >= 1 and usage["octets"] >= len(MAIL)
