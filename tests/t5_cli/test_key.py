"""`aerogramme key`: what it prints, and its exit codes."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from aerogramme_cli.main import app
from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account

PAGE = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    create_account(tmp_path)
    aerogramme("deliver", ADDRESS, "--data", str(tmp_path), stdin="Subject: one\r\n\r\nbody\r\n")
    return tmp_path


def key(command: str, data: Path, *options: str, password: str = PASSWORD):
    where = [ADDRESS, "--data", str(data), "--password-stdin"]
    return aerogramme("key", command, *where, *options, stdin=password + "\n", check=False)


def test_a_rotation_and_what_is_said_of_it(data: Path) -> None:
    [first] = json.loads(key("list", data, "--json").stdout)
    assert (first["generation"], first["current"], first["published"]) == (1, True, True)
    done = key("rotate", data, "--bodies")
    assert done.returncode == 0
    words = done.stdout.decode()
    assert "1 letter drained" in words and "1 body written anew" in words
    assert "generation 2 seals everything; nothing is left under generation 1" in words

    found = json.loads(key("status", data, "--json").stdout)
    assert (found["left"], found["unfinished"], found["damaged"]) == (0, False, {})
    assert {each["generation"] for each in found["sealed"]} == {2}
    assert [each["current"] for each in found["generations"]] == [False, True]
    assert found["generations"][0]["fingerprint"] == first["fingerprint"]
    done = key("status", data)
    assert (
        done.returncode == 0
        and b"under generation 2" in done.stdout
        and b"under generation 1" not in done.stdout
    )
    table = key("list", data).stdout.decode()
    assert all(each["fingerprint"] in table for each in found["generations"])


def test_an_app_password_looks_and_changes_nothing(data: Path) -> None:
    assert key("status", data).returncode == 0
    code = aerogramme(
        "account", "app-password", "create", ADDRESS, "phone", "--data", str(data), "--password-stdin",
        stdin=PASSWORD + "\n",
    ).stdout.decode()  # fmt: skip
    [secret] = re.findall(r"\b(?:[0-9a-z]{5}-){5}[0-9a-z]{5}\b", code)
    refused = key("rotate", data, password=secret)
    assert refused.returncode == 65 and b"changes no keys" in refused.stderr
    assert key("rotate", data, password="wrong").returncode == 77
    assert len(json.loads(key("list", data, "--json", password=secret).stdout)) == 1


@pytest.mark.parametrize("line", re.findall(r"^(aerogramme .*)$", PAGE, re.MULTILINE))
def test_every_command_of_the_page_is_one(line: str) -> None:
    command: object = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[words.pop(0)]
    assert isinstance(command, typer.core.TyperCommand)
    command.make_context("aerogramme", words)  # reads the options, and runs nothing
