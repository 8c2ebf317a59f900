"""docs/mount.md says nothing that is not so: commands, options, errors, the unit and the script for fstab."""

import configparser
import errno
import os
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from aerogramme_cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "mount.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
UNIT = configparser.ConfigParser(interpolation=None)
UNIT.optionxform = str  # type: ignore[assignment, method-assign]
UNIT.read_string(BLOCKS["ini"])
COMMANDS = [
    *re.findall(r"^ +(aerogramme .*)$", PAGE, re.MULTILINE),
    UNIT["Service"]["ExecStart"],
    UNIT["Service"]["ExecStop"],
]


def command(line: str) -> tuple[typer.core.TyperCommand, list[str]]:
    found: object = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while isinstance(found, typer.core.TyperGroup):
        found = found.commands[words.pop(0)]
    assert isinstance(found, typer.core.TyperCommand)
    return found, words


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line: str) -> None:
    found, words = command(line)
    found.make_context("aerogramme", words)  # reads the options, and runs nothing


def test_every_option_is_there() -> None:
    found, _ = command("aerogramme mount")
    ours = {name for parameter in found.params for name in parameter.opts if name.startswith("--")}
    shown = set(re.findall(r"^\| `(--[^|]+) \|", PAGE, re.MULTILINE))
    named = {name for cell in shown for name in re.findall(r"--[a-z-]+", cell)} | {"--rw"}
    assert named == ours - {"--config", "--data", "--store", "--help"}


def test_the_errors_are_those_of_the_mount() -> None:
    shown = set(re.findall(r"^\| (E[A-Z]+) \|", PAGE, re.MULTILINE))
    assert all(hasattr(errno, name) for name in shown)
    if find_spec("pyfuse3"):
        from aerogramme_fuse.errnos import ERRORS

        assert {errno.errorcode[number] for number in ERRORS.values()} < shown


def test_fstab(tmp_path: Path) -> None:
    """The script, called as mount.fuse3 does."""
    script = BLOCKS["sh"].replace("/etc/aerogramme", str(tmp_path)).replace("exec aerogramme", "exec echo")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "alice@example.org").write_text("a password\n")
    file = tmp_path / "script"
    file.write_text(script)
    os.chmod(file, 0o700)
    line = BLOCKS["fstab"].split()
    program, _, address = line[0].partition("#")
    assert program.endswith("aerogramme-fstab") and len(line) == 6
    for options, writable in (line[3], False), ("rw,noauto", True):
        called = [str(file), address, line[1], "-o", options]
        done = subprocess.run(called, capture_output=True, text=True, check=True)
        words = shlex.split(done.stdout)
        context = command(" ".join(["aerogramme", *words]))[0].make_context("aerogramme", words[1:])
        assert context.params["address"] == address
        assert context.params["mountpoint"] == Path(line[1])
        assert context.params["writable"] is writable
