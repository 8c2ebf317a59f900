"""The tables agree with each other and with the docs."""

import inspect
from pathlib import Path

import pytest

from aerogramme.imap import commands
from aerogramme.imap.capabilities import CAPABILITIES, capabilities
from aerogramme.imap.commands import Command
from aerogramme.imap.states import ANY, AUTHENTICATED, NOT_AUTHENTICATED, RULES, SELECTED, State, refusal

ALL = {value for _, value in inspect.getmembers(commands, inspect.isclass) if issubclass(value, Command)} - {
    Command
}


def test_every_command_has_its_rule() -> None:
    assert set(RULES) == ALL


@pytest.mark.parametrize("command", sorted(ALL, key=str), ids=lambda command: command.__name__)
def test_nothing_but_before_login_what_needs_none(command: type[Command]) -> None:
    before = {"Capability", "Noop", "Logout", "Id", "StartTls", "Authenticate", "Login"}
    assert (refusal(command, State.NOT_AUTHENTICATED) is None) == (command.__name__ in before)
    assert refusal(command, State.LOGOUT) is not None


def test_what_needs_a_mailbox() -> None:
    needs = {
        command.__name__
        for command in ALL
        if refusal(command, State.AUTHENTICATED) == "Select a mailbox first"
    }
    assert needs == {"Check", "Close", "Unselect", "Expunge", "Search", "Fetch", "Store", "Copy", "Move"}
    assert all(refusal(command, State.SELECTED) is None for command in ALL if command.__name__ in needs)


def test_who_is_logged_in_does_not_log_in_again() -> None:
    for command in commands.Login, commands.Authenticate, commands.StartTls:
        assert refusal(command, State.AUTHENTICATED) == "You are logged in already"
        assert refusal(command, State.SELECTED) == "You are logged in already"


def test_capabilities() -> None:
    before = capabilities(authenticated=False, may_login=True).split()
    assert before[0] == b"IMAP4rev1"
    assert {b"AUTH=PLAIN", b"SASL-IR", b"LITERAL+"} <= set(before)
    assert b"QRESYNC" not in before
    closed = capabilities(authenticated=False, may_login=False).split()
    assert b"LOGINDISABLED" in closed
    assert b"AUTH=PLAIN" not in closed
    without = capabilities(authenticated=False, may_login=True, may_bind=True, scram=False).split()
    assert [word for word in without if word.startswith(b"AUTH=")] == [b"AUTH=PLAIN"]
    after = capabilities(authenticated=True, may_login=True).split()
    assert {b"IMAP4rev1", b"QRESYNC", b"CONDSTORE", b"MOVE", b"UIDPLUS", b"SPECIAL-USE"} <= set(after)
    assert not any(word.startswith(b"AUTH=") for word in after)


def docs() -> str:
    return (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def test_the_docs_name_every_capability_with_its_rfc() -> None:
    rows = [line.split(" | ") for line in docs().splitlines() if line.startswith("| ")]
    for entry in CAPABILITIES:
        rfc = entry.rfc.removeprefix("RFC ")
        assert any(f"`{entry.name}`" in row[2] and rfc in row[0] for row in rows if len(row) == 4)


def test_the_docs_have_the_table_of_commands() -> None:
    names = {
        ANY: "any",
        NOT_AUTHENTICATED: "not authenticated",
        AUTHENTICATED: "authenticated, selected",
        SELECTED: "selected",
    }
    text = docs()
    for rule in RULES.values():
        assert f"| {names[rule.states]} | {rule.rfc} |" in text
