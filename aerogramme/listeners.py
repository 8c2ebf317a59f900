"""Opens what servers listen on: TCP ports and Unix sockets, as the configuration names them."""

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from aerogramme.config import Address, UnixAddress
from aerogramme.errors import BadConfiguration

# Connections that wait until they are accepted. The kernel cuts it to net.core.somaxconn (4096).
BACKLOG = 1024


@asynccontextmanager
async def open_listeners(
    addresses: Sequence[Address], *, socket_mode: int = 0o660
) -> AsyncIterator[list[trio.SocketListener]]:
    """All listeners of these addresses (a host may have several), closed in the end, Unix sockets removed.

    Raises BadConfiguration if an address cannot be listened on.
    """
    listeners: list[trio.SocketListener] = []
    made: list[tuple[Path, tuple[int, int]]] = []
    try:
        for address in addresses:
            try:
                if isinstance(address, UnixAddress):
                    listeners.append(_open_unix(address.path, socket_mode))
                    made.append((address.path, _identity(address.path)))
                else:
                    listeners += await trio.open_tcp_listeners(
                        address.port, host=address.host or None, backlog=BACKLOG
                    )
            except OSError as error:
                reason = error.strerror or str(error)
                hint = _hint(address, error.errno)
                raise BadConfiguration(f"cannot listen on {address}: {reason}", hint=hint) from error
            except UnicodeError as error:  # a label that is empty, too long, or of letters that none may have
                raise BadConfiguration(f"cannot listen on {address}: that is no name of a host") from error
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()
        for path, identity in made:
            # Another server may have taken the path over meanwhile: its socket is not ours to remove.
            if path.exists() and _identity(path) == identity:
                path.unlink()


def _open_unix(path: Path, mode: int) -> trio.SocketListener:
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Before bind: the file must at no time be open to more than it will be.
        os.fchmod(listening.fileno(), mode)
        listening.bind(str(path))
        path.chmod(mode)  # the umask may have taken something away
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(listening))


def _remove_stale(path: Path) -> None:
    """Removes the socket of a server that was killed. Raises OSError if the server is alive."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name, which is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # somebody listens, and is busy
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _identity(path: Path) -> tuple[int, int]:
    info = path.lstat()
    return info.st_dev, info.st_ino


def _hint(address: Address, number: int | None) -> str:
    """What to do about the error of this number."""
    unix = isinstance(address, UnixAddress)
    match number:
        case errno.EADDRINUSE:
            return "another program listens there, or another aerogramme"
        case errno.EACCES if unix:
            return "its folder must be one in which the server may make files"
        case errno.EACCES:
            return "ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE"
        case errno.ENOENT if unix:
            return "its folder must be there first"
        case _:
            return ""
