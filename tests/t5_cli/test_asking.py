"""Where secrets come from: a terminal, standard input, a descriptor, a socket; and how that can go wrong."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from aerogramme_cli.asking import LONGEST, asking
from tests.helpers.server import PROGRAM
from tests.helpers.terminal import on_a_terminal


@contextmanager
def source(octets: bytes) -> Iterator[str]:
    """One that gives these octets."""
    reading, writing = os.pipe()
    try:
        os.write(writing, octets)
        os.close(writing)
        yield f"fd:{reading}"
    finally:
        os.close(reading)


@pytest.fixture
def lines() -> Iterator[str]:
    with source("älteres Wort\r\nnew one\nthe rest".encode()) as lines:
        yield lines


def test_a_line_each_in_the_order_in_which_they_are_asked_for(lines: str) -> None:
    secrets = asking(False, lines)
    assert secrets.password().reveal() == "älteres Wort".encode()
    assert secrets.new_password().reveal() == b"new one"
    assert secrets.password("Recovery code").reveal() == b"the rest"
    with pytest.raises(typer.BadParameter, match="ends before this: Recovery code"):
        secrets.password("Recovery code")


def test_a_socket_that_sends_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def send() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"first\nsecond\n")

        sender = threading.Thread(target=send)
        sender.start()
        secrets = asking(False, f"socket:{path}")
        assert (secrets.password().reveal(), secrets.new_password().reveal()) == (b"first", b"second")
        sender.join()
    with pytest.raises(typer.BadParameter, match="Connection refused"):
        asking(False, f"socket:{path}")


@pytest.mark.parametrize("where", ["fd:", "fd:x", "fd:-1", "socket:", "file:x", "", "secret"])
def test_a_source_that_is_none(where: str) -> None:
    with pytest.raises(typer.BadParameter, match="takes fd:NUMBER or socket:PATH"):
        asking(False, where)


def test_a_descriptor_that_is_not_open() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(typer.BadParameter, match="Bad file descriptor"):
        asking(False, f"fd:{reading}")


def test_one_source_only() -> None:
    with pytest.raises(typer.BadParameter, match="exclude"):
        asking(True, "fd:0")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"\n", "an empty password"),
        (b"\xff\n", "not UTF-8"),
        (b"x" * (LONGEST + 1), "longer than"),
        (b"", "ends before"),
    ],
)
def test_what_cannot_be_a_new_password(octets: bytes, said: str) -> None:
    with source(octets) as lines, pytest.raises(typer.BadParameter, match=said):
        asking(False, lines).new_password()


@pytest.mark.parametrize(("again", "code"), [(b"geheim", 0), (b"gehiem", 2)])
def test_on_a_terminal_a_new_password_is_typed_twice_and_not_shown(
    tmp_path: Path, again: bytes, code: int
) -> None:
    data = tmp_path / "data"
    command = [str(PROGRAM), "account", "create", "alice@example.org", "--data", str(data)]
    typed = [
        (b"New password: ", b"geheim"),
        (b"Once more: ", again),
    ]  # after the blank no more is thrown away
    returned, screen = on_a_terminal(command, typed)
    assert returned == code, screen
    assert b"geheim" not in screen and (b"differ" in screen) == bool(code)
    assert (data / "users.toml").exists() == (code == 0)


def test_nothing_is_asked_for_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "account", "create", "alice@example.org", "--data", tmp_path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 2 and b"--password-from" in done.stderr
    assert sys.executable.encode() not in done.stderr  # a mistake is no stack
