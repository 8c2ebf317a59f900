"""How full the account is: GETQUOTA, GETQUOTAROOT (RFC 9208). Quotas are set by who runs the server, so there
is no SETQUOTA."""

from aerogramme.errors import NoSuchMailbox
from aerogramme.imap.commands import GetQuota, GetQuotaRoot
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.imap.format import mailbox
from aerogramme.mailbox.usage import usage

ROOT = b""  # the quota root of an account with a quota: all its mailboxes are below it
UNIT = 1024  # octets; RFC 9208 §5.1


async def get_quota(context: Context, command: GetQuota) -> Done:
    """RFC 9208 §4.1.1."""
    if command.root != ROOT or context.account.policy.quota is None:
        raise NoSuchMailbox("There is no such quota root")
    await context.refresh()
    _tell(context)
    return Done("GETQUOTA completed")


async def get_quota_root(context: Context, command: GetQuotaRoot) -> Done:
    """RFC 9208 §4.1.2: also for a mailbox that is not there. Without a quota a mailbox has no root."""
    await context.refresh()
    limited = context.account.policy.quota is not None
    root = b' ""' if limited else b""
    context.out.write(b"* QUOTAROOT %b%b\r\n" % (mailbox(command.mailbox), root))
    if limited:
        _tell(context)
    return Done("GETQUOTAROOT completed")


def _tell(context: Context) -> None:
    account = context.account
    quota = account.policy.quota
    assert quota is not None
    used = usage(account.state).octets
    # Up, so that an account that is not full does not look so, and one that is does.
    context.out.write(b'* QUOTA "" (STORAGE %d %d)\r\n' % (-(-used // UNIT), -(-quota // UNIT)))


HANDLERS: Handlers = {GetQuota: get_quota, GetQuotaRoot: get_quota_root}
