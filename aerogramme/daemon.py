"""The running server: opens the stores, starts every listener, and ends all of it when a signal comes."""

import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from aerogramme.config import Address, Config, UnixAddress
from aerogramme.errors import BadConfiguration
from aerogramme.imap.context import Service
from aerogramme.imap.server import Server as ImapServer
from aerogramme.lmtp.server import LmtpServer
from aerogramme.mailbox.accounts import Accounts, LetterBoxes
from aerogramme.store import SqliteStores
from aerogramme.users.static import StaticDirectory

log = logging.getLogger(__name__)

# Connections that wait to be accepted: clients come back all at once after a restart.
BACKLOG = 1024


async def serve(config: Config, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM. `announce` gets a line for each open listener, with its real port.

    Raises BadConfiguration when a listener cannot be opened. Commands and deliveries in progress at the end
    get a few seconds to finish.
    """
    directory = StaticDirectory(config.users_file, config.detail_separator)
    imap_listeners = [
        listener for address in config.imap_listen for listener in await _listen(address, 0o600)
    ]
    lmtp_listeners = [
        listener
        for address in config.lmtp_listen
        for listener in await _listen(address, config.lmtp_socket_mode)
    ]
    stores = SqliteStores(config.accounts_dir)
    accounts = Accounts(stores, linger=config.linger)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with trio.open_nursery() as background:
                boxes = LetterBoxes(stores, background)
                await background.start(accounts.run)
                service = Service(
                    accounts, directory, config.max_message_size, config.max_imap_connections_per_user
                )
                async with trio.open_nursery() as listeners:
                    imap = ImapServer(service, max_connections=config.max_imap_connections)
                    lmtp = LmtpServer(directory, boxes.open, config)
                    await listeners.start(imap.serve, imap_listeners)
                    await listeners.start(lmtp.serve, lmtp_listeners)
                    for name, opened in (("IMAP", imap_listeners), ("LMTP", lmtp_listeners)):
                        for listener in opened:
                            announce(f"{name} on {_name(listener.socket)}")
                    async for number in signals:
                        log.info("%s: ending", signal.Signals(number).name)
                        break
                    listeners.cancel_scope.cancel()
                await boxes.aclose()
                background.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await stores.aclose()
            for address in (*config.imap_listen, *config.lmtp_listen):
                if isinstance(address, UnixAddress):
                    address.path.unlink(missing_ok=True)


async def _listen(address: Address, socket_mode: int) -> Sequence[trio.SocketListener]:
    try:
        if isinstance(address, UnixAddress):
            return [await _listen_unix(address, socket_mode)]
        return await trio.open_tcp_listeners(address.port, host=address.host or None, backlog=BACKLOG)
    except OSError as error:
        raise BadConfiguration(
            f"cannot listen on {address}: {error.strerror or error}",
            hint="another server may have it, or a port below 1024 needs root",
        ) from error


async def _listen_unix(address: UnixAddress, mode: int) -> trio.SocketListener:
    """A Unix socket. A file left by a server that was killed is replaced; a live one is not."""
    path = str(address.path)
    with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(path)
        raise OSError("a server answers there already")
    address.path.unlink(missing_ok=True)
    listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listening.bind(path)
    address.path.chmod(mode)
    listening.listen(BACKLOG)
    return trio.SocketListener(listening)


def _name(listening: trio.socket.SocketType) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
