"""docs/stores.md and accounts.md say nothing that is not so: commands, addresses, what the check prints."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from aerogramme.store.check_bucket import BucketCheck
from aerogramme.store.place import Place
from aerogramme_cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "stores.md").read_text(encoding="utf-8")
ACCOUNTS = (DOCS / "accounts.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:\$ )?(aerogramme .*)$", PAGE + ACCOUNTS, re.MULTILINE)
PLACES = re.findall(r"(?<![A-Z/])((?:sqlite|garage|s3):[^\s'`\"]+)", PAGE)


def test_the_page_has_commands_and_addresses() -> None:
    assert len(COMMANDS) > 12 and len(PLACES) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line: str) -> None:
    command: object = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[words.pop(0)]
    assert isinstance(command, typer.core.TyperCommand)
    command.make_context("aerogramme", words)  # reads the options, and runs nothing


@pytest.mark.parametrize("address", PLACES)
def test_every_address_is_one(address: str) -> None:
    Place.parse(address)


def test_what_the_check_prints_is_what_it_does() -> None:
    titles = ["the address makes sense"]
    place = Place.parse("garage:http://127.0.0.1:3900/mail?k2v=http://127.0.0.1:3904")
    titles += [title for title, _ in BucketCheck(place, create=False).steps()]
    shown = re.findall(r"^[✓✗·] ([^:\n]+)", PAGE, re.MULTILINE)
    assert shown == titles[: len(shown)] and len(shown) == 6
