"""A terminal of its own for a command that asks for secrets, which go by no other way."""

import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Mapping, Sequence


def on_a_terminal(
    command: Sequence[str], typed: Sequence[tuple[bytes, bytes]], environment: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Runs a command on a terminal and types each answer after its question. Gives the exit code, and the
    screen from the last question on."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal, env=environment
    )
    os.close(theirs)
    screen = b""
    try:
        for question, answer in typed:
            while question not in screen:
                screen += os.read(ours, 1024)
            os.write(ours, answer + b"\n")
            screen = screen.partition(question)[2]
        while True:
            try:
                screen += os.read(ours, 1024)
            except OSError:  # nobody has the other end any more
                break
        return process.wait(60), screen
    finally:
        os.close(ours)
