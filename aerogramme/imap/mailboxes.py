"""Making and naming mailboxes: CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE."""

from aerogramme.errors import UseRefused
from aerogramme.imap.commands import Create, Delete, Rename, Subscribe
from aerogramme.imap.context import Context, Done, Handlers
from aerogramme.mailbox.names import ROLES


async def create(context: Context, command: Create) -> Done:
    """RFC 3501 §6.3.3; USE: RFC 6154 §3."""
    context.may_write()
    if len(command.use) > 1:
        raise UseRefused("A mailbox has one special use")
    if not set(command.use).issubset(ROLES):
        raise UseRefused("There is no such special use")
    await context.account.create_mailbox(command.mailbox, command.use[0] if command.use else None)
    return Done("CREATE completed")


async def delete(context: Context, command: Delete) -> Done:
    """RFC 3501 §6.3.4."""
    context.may_write()
    await context.account.delete_mailbox(command.mailbox)
    return Done("DELETE completed")


async def rename(context: Context, command: Rename) -> Done:
    """RFC 3501 §6.3.5."""
    context.may_write()
    await context.account.rename_mailbox(command.mailbox, command.target)
    return Done("RENAME completed")


async def subscribe(context: Context, command: Subscribe) -> Done:
    """RFC 3501 §6.3.6, §6.3.7."""
    context.may_write()
    await context.account.subscribe(command.mailbox, command.on)
    return Done("SUBSCRIBE completed" if command.on else "UNSUBSCRIBE completed")


HANDLERS: Handlers = {Create: create, Delete: delete, Rename: rename, Subscribe: subscribe}
