"""Ports for servers that have to be told one: they cannot take any and say which."""

import socket
from contextlib import ExitStack
from random import SystemRandom

# Below those that systems give out by themselves, to connections and to who asks for any (Linux: from 32768):
# nobody takes one between this look and the start of the server.
FIRST, STOP = 12_000, 32_000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of an address of this machine that nobody listens on, at this moment."""
    with ExitStack() as stack:
        ports: list[int] = []
        for port in SystemRandom().sample(range(FIRST, STOP), STOP - FIRST):
            if len(ports) == count:
                break
            try:
                stack.enter_context(socket.socket()).bind((host, port))
            except OSError:
                continue  # somebody has it
            ports.append(port)
        return ports
