"""How secrets come in: asked for on the terminal, or a line each from standard input, a descriptor, a socket.

Never from argv or the environment: other users of the machine can see those.
"""

import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from aerogramme.seal import Secret

LONGEST = 4096  # octets of a line: no password is longer, and what is longer is not a password file


class Asking(Protocol):
    """Where the secrets of one command come from."""

    def password(self, prompt: str = "Password") -> "Secret":
        """A secret that exists already."""
        ...

    def new_password(self, prompt: str = "New password") -> "Secret":
        """A secret that is to be set. Raises BadParameter when it is empty, or typed in two ways."""
        ...


def asking(from_stdin: bool, source: str | None) -> Asking:
    """What the two options say. Raises BadParameter for a source that is none, or cannot be read."""
    if source is None:
        return _Lines(0, "standard input") if from_stdin else _Terminal()
    if from_stdin:
        raise typer.BadParameter("--password-stdin and --password-from exclude each other")
    kind, _, where = source.partition(":")
    try:
        if kind == "fd" and where.isdecimal():
            os.fstat(int(where))  # is it open?
            return _Lines(int(where), source)
        if kind == "socket" and where:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
                connected.connect(where)
                return _Lines(connected.detach(), source)
    except OSError as error:
        raise typer.BadParameter(f"no secret can be read from {source}: {error.strerror}") from None
    raise typer.BadParameter("--password-from takes fd:NUMBER or socket:PATH")


def read_file(source: str, most: int, *, private: bool = False) -> bytes:
    """All of a file, of standard input (`-`), or of an open descriptor (`fd:N`); at most so many octets.
    Raises BadParameter; with `private` also for a file that others can read."""
    try:
        if private:
            check_private(source)
        descriptor = _descriptor(source)
        with open(source if descriptor is None else descriptor, "rb", closefd=descriptor is None) as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror}") from None
    if len(raw) > most:
        raise typer.BadParameter(f"{source} has more than {most} octets")
    return raw


def check_private(source: str) -> None:
    """Raises BadParameter for a file that others can read."""
    if _descriptor(source) is None and stat.S_IMODE(os.stat(source).st_mode) & 0o077:
        raise typer.BadParameter(f"{source} can be read by others: chmod 600 it")


def _descriptor(source: str) -> int | None:
    if source == "-":
        return 0
    return int(source[3:]) if source.startswith("fd:") and source[3:].isdecimal() else None


class _Terminal:
    def password(self, prompt: str = "Password") -> "Secret":
        from aerogramme.seal import Secret

        return Secret(_ask(prompt))

    def new_password(self, prompt: str = "New password") -> "Secret":
        from aerogramme.seal import Secret

        text = _ask(prompt)
        if text != _ask("Once more"):
            raise typer.BadParameter("the two passwords differ; nothing was changed")
        return Secret(_not_empty(text))


class _Lines:
    """Lines of a descriptor, which stays open: what comes after them is for others."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name

    def password(self, prompt: str = "Password") -> "Secret":
        from aerogramme.seal import Secret

        return Secret(self._line(prompt))

    def new_password(self, prompt: str = "New password") -> "Secret":
        from aerogramme.seal import Secret

        return Secret(_not_empty(self._line(prompt)))

    def _line(self, prompt: str) -> str:
        line = b""
        while not line.endswith(b"\n") and (octet := self._octet()):
            line += octet
            if len(line) > LONGEST:
                raise typer.BadParameter(f"a line of {self._name} is longer than {LONGEST} octets")
        if not line:
            raise typer.BadParameter(f"{self._name} ends before this: {prompt}")
        try:
            return line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise typer.BadParameter(f"what {self._name} gives is not UTF-8") from None

    def _octet(self) -> bytes:
        try:
            return os.read(self._descriptor, 1)
        except OSError as error:
            raise typer.BadParameter(f"{self._name} cannot be read: {error.strerror}") from None


def _not_empty(text: str) -> str:
    if not text:
        raise typer.BadParameter("an empty password protects nothing")
    return text


def _ask(prompt: str) -> str:
    # The prompt goes to the terminal, not to stdout, which may be a pipe with data in it.
    if not os.path.exists("/dev/tty") or not sys.stdin.isatty():
        raise typer.BadParameter(
            "no terminal to ask for the password: use --password-stdin or --password-from"
        )
    return str(typer.prompt(prompt, hide_input=True, err=True))
