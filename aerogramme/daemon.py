"""The running server: opens the stores, starts every listener, and ends all of it when a signal comes."""

import logging
import resource
import signal
from collections.abc import Callable

import trio

from aerogramme.config import Config
from aerogramme.errors import BadConfiguration
from aerogramme.housekeeping import end_deleted, note_usage, purge_deleted
from aerogramme.imap.context import Service
from aerogramme.imap.server import Server as ImapServer
from aerogramme.listeners import open_listeners
from aerogramme.lmtp.server import AT_ONCE, LmtpServer
from aerogramme.mailbox.accounts import Accounts
from aerogramme.mailbox.incoming.letterboxes import LetterBoxes
from aerogramme.mailbox.incoming.rooms import Rooms
from aerogramme.mailbox.keys.seen import Seen
from aerogramme.mailbox.policy import Policy
from aerogramme.store import DESCRIPTORS_MAX
from aerogramme.store.bucket import THREADS
from aerogramme.store.place import Place
from aerogramme.users.deletion import Retention
from aerogramme.users.salts import Salts, installation_secret
from aerogramme.users.static import StaticDirectory

log = logging.getLogger(__name__)

# Listeners, connections that are told that there are too many, the users file, the cache, trio's, the log.
DESCRIPTORS_FOR_THE_REST = 100
# Of each account that is open, Garage is asked for what comes in two partitions, on a connection each; and a
# session waits for two requests at most.
POLLS, REQUESTS = 2, 2


async def serve(config: Config, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM. `announce` gets a line for each open listener, with its real port.

    Raises BadConfiguration when a listener cannot be opened. Commands and deliveries in progress at the end
    get a few seconds to finish.
    """
    reading = bool(config.imap_listen or config.imap_tls_listen)
    if not reading and not config.lmtp_listen:
        raise BadConfiguration("there is nothing to listen on", hint="imap.listen and lmtp.listen are empty")
    allow_descriptors(config)
    directory = StaticDirectory(config.users_file, config.detail_separator, config.login_domain)
    # Who only takes mail is asked for no salt, and keeps no secret at all.
    salts = Salts(installation_secret(config.data / "scram.key") if reading else b"")
    tls = config.open_tls()
    stores = config.open_stores()

    def policy_of(account: str) -> Policy:
        user = directory.by_account(account)
        return config.policy if user is None else user.policy(config.policy)

    accounts = Accounts(
        stores,
        linger=config.linger,
        seen=Seen(config.data / "seen"),
        policy_of=policy_of,
        chores=[note_usage],
    )
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with (
                open_listeners(config.imap_listen) as imap_listeners,
                open_listeners(config.imap_tls_listen) as imap_tls_listeners,
                open_listeners(config.lmtp_listen, socket_mode=config.lmtp_socket_mode) as lmtp_listeners,
                trio.open_nursery() as background,
            ):
                boxes = LetterBoxes(stores, background)
                rooms = Rooms(boxes.store)
                await background.start(accounts.run)
                background.start_soon(end_deleted, directory, accounts)
                background.start_soon(purge_deleted, directory, stores, Retention(config.deleted_retention))
                service = Service(
                    accounts,
                    directory,
                    config.max_message_size,
                    config.max_imap_connections_per_user,
                    config.imap_plaintext_login,
                    salts,
                    tls,
                    config.imap_scram,
                )
                imap = ImapServer(
                    service,
                    max_connections=config.max_imap_connections,
                    max_before_login=config.max_imap_connections_before_login,
                )
                lmtp = LmtpServer(directory, boxes.open, config, rooms)
                async with trio.open_nursery() as listeners:
                    if reading:
                        await listeners.start(imap.serve, imap_listeners, imap_tls_listeners)
                    if lmtp_listeners:
                        listeners.start_soon(rooms.run)
                        await listeners.start(lmtp.serve, lmtp_listeners)
                    for name, opened in (
                        ("IMAP", imap_listeners),
                        ("IMAPS", imap_tls_listeners),
                        ("LMTP", lmtp_listeners),
                    ):
                        for listener in opened:
                            announce(f"{name} on {_name(listener)}")
                    async for number in signals:
                        log.info("%s: ending", signal.Signals(number).name)
                        break
                    listeners.cancel_scope.cancel()
                await rooms.aclose()
                await boxes.aclose()
                background.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await stores.aclose()


def allow_descriptors(config: Config) -> None:
    """Lets this process have as many open files as its limits of connections come to, as far as it may.

    Else a stranger who opens IMAP connections and leaves them idle, all within their limit, would keep the
    stores from being opened: mostly 1,024 descriptors are allowed until a process asks for more.
    """
    wanted = config.max_imap_connections + config.max_lmtp_connections + DESCRIPTORS_FOR_THE_REST
    match Place.parse(config.store).kind:
        case "sqlite":
            wanted += DESCRIPTORS_MAX
        case "s3":
            wanted += THREADS
        case "garage":
            wanted += THREADS + (POLLS + REQUESTS) * config.max_imap_connections
            wanted += AT_ONCE * config.max_lmtp_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "only %d open files are allowed, and the limits of connections can come to %d: raise LimitNOFILE "
            "or lower the limits",
            allowed,
            wanted,
        )


def _name(listener: trio.SocketListener) -> str:
    name = listener.socket.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
