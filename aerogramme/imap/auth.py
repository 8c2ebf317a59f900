"""Who is there: LOGIN and AUTHENTICATE, ENABLE, ID, and what may be said in any state."""

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable

from aerogramme.errors import AuthenticationFailed, BadSyntax, Refused
from aerogramme.imap.capabilities import capabilities
from aerogramme.imap.commands import (
    Capability,
    Check,
    Enable,
    Id,
    Login,
    Logout,
    Noop,
    StartTls,
)
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.mailbox import accounts
from aerogramme.seal.secrets import Secret
from aerogramme.users.directory import User

log = logging.getLogger(__name__)

# RFC 2971 §3.3; no version: it is of use only to who looks for old ones
ID = b'* ID ("name" "Aerogramme")\r\n'


def capability_list(context: Context) -> bytes:
    """The capabilities of this session now, RFC 3501 §7.2.1."""
    may_login = context.may_login()
    may_bind = context.channel_binding is not None
    return capabilities(
        authenticated=context.authenticated,
        may_login=may_login,
        may_bind=may_bind,
        may_start_tls=context.may_start_tls(),
        scram=context.service.scram,
    )


async def capability(context: Context, _command: Capability) -> Done:
    """RFC 3501 §6.1.1."""
    context.out.write(b"* CAPABILITY " + capability_list(context) + b"\r\n")
    return Done("CAPABILITY completed")


async def noop(context: Context, command: Noop | Check) -> Done:
    """RFC 3501 §6.1.2 and §6.4.1: a poll. What others have done by now is told with it."""
    if context.authenticated:
        await context.account.poll()
    return Done("NOOP completed" if isinstance(command, Noop) else "CHECK completed")


async def logout(context: Context, _command: Logout) -> Done:
    """RFC 3501 §6.1.3."""
    context.out.write(b"* BYE Good bye\r\n")
    context.close()
    return Done("LOGOUT completed")


async def client_id(context: Context, command: Id) -> Done:
    """RFC 2971 §3.1. The client's name tells which program a session log is of; nothing depends on it."""
    fields = dict(command.fields)
    log.debug("client: %r %r", fields.get("name"), fields.get("version"))
    context.out.write(ID)
    return Done("ID completed")


async def enable(context: Context, command: Enable) -> Done:
    """RFC 5161 §3.1: what is not known is passed over. CONDSTORE and QRESYNC: RFC 7162 §3.1 and §3.2.3.

    What was on already is named too: §3.2 lets a client take what is not named for what it cannot have.
    """
    enabled = [name for name in command.capabilities if name in ("CONDSTORE", "QRESYNC")]
    if enabled:
        await context.enable_condstore()
    if "QRESYNC" in enabled:
        context.qresync = True
    context.out.write(" ".join(["* ENABLED", *enabled]).encode("ascii") + b"\r\n")
    return Done("ENABLE completed")


async def starttls(context: Context, _command: StartTls) -> Done:
    """RFC 3501 §6.2.1: a command that the capabilities do not name is answered BAD."""
    if not context.may_start_tls():
        raise BadSyntax("This is TLS already" if context.peer.encrypted else "There is no TLS here")
    context.starting_tls = True
    return Done("Begin TLS now")


async def login(context: Context, command: Login) -> Done:
    """RFC 3501 §6.2.3."""
    await enter_by_password(context, command.user, command.password)
    return logged_in(context)


def decode_response(line: bytes) -> bytes:
    """A SASL response as it came on a line of its own (RFC 3501 §6.2.2). Raises BadSyntax, also for `*`."""
    if line == b"*":
        raise BadSyntax("AUTHENTICATE was given up")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise BadSyntax("This is no base64") from None


LogIn = Callable[[str | None, str | None], Awaitable[accounts.Login]]
"""(account, peer) -> login: a way into an account (Accounts.login, Accounts.login_with)."""


async def enter_by_password(context: Context, name: str, password: bytes) -> None:
    """Logs in with a password, whatever kind it is of. Errors as for `enter`."""

    def log_in(account: str | None, peer: str | None) -> Awaitable[accounts.Login]:
        return context.service.accounts.login(account, Secret(password), peer, name=name)

    check_privacy(context)
    await enter(context, context.service.directory.by_login(name), log_in)


async def enter(context: Context, user: User | None, log_in: LogIn) -> None:
    """Logs in as `user`, None: a name that nobody has. Raises AuthenticationFailed, Refused, Unavailable."""
    check_place(user)
    try:
        context.login(await log_in(user.account if user else None, context.peer.network))
    except AuthenticationFailed:
        log.info("login failed from %s", context.peer)
        raise


def check_privacy(context: Context) -> None:
    """Raises Refused where a login is not allowed without TLS (RFC 3501 §6.2.3, §11.2)."""
    if not context.may_login():
        error = Refused("A password needs TLS")
        error.imap_code = "PRIVACYREQUIRED"  # RFC 5530 §3
        raise error


def check_place(user: User | None) -> None:
    """Raises Refused where the keys are on the user's own devices: the password is not even tried. That tells
    a stranger that the name exists, and the user, whose mail program is set up wrong, where to go."""
    if user is not None and user.end_to_end:
        error = Refused(
            "This mailbox is read on its user's own devices only, end to end: no password opens it here"
        )
        error.imap_code = "CONTACTADMIN"  # RFC 5530 §3
        raise error


def logged_in(context: Context) -> Done:
    """What stands in the tagged OK of a login."""
    # RFC 3501 §6.2.3: capabilities in the tagged OK save the client a round trip.
    return Done("Logged in", b"CAPABILITY " + capability_list(context))


HANDLERS: Handlers = {
    Capability: capability,
    Noop: noop,
    Check: noop,
    Logout: logout,
    Id: client_id,
    Enable: enable,
    StartTls: starttls,
    Login: login,
}
