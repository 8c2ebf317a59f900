"""APPEND: a message comes in pieces, is sealed as it comes, and is added to its mailbox at the end."""

from aerogramme.imap.commands import Append
from aerogramme.imap.context import Context, Done, try_create
from aerogramme.mailbox.contents import NewMessage
from aerogramme.mailbox.flags import normal_flags


class Appending:
    """One APPEND under way."""

    def __init__(self, context: Context, command: Append) -> None:
        self.command = command
        self._account = context.account
        self._upload = context.account.upload(context.service.max_message_size)

    async def write(self, octets: bytes) -> None:
        """The next octets of the message."""
        await self._upload.write(octets)

    def drop(self) -> None:
        """The message will not come whole."""
        self._upload.drop()

    async def finish(self) -> Done:
        """RFC 3501 §6.3.11; APPENDUID: RFC 4315 §3."""
        command = self.command
        message = NewMessage(self._upload, command.flags, command.date)
        with try_create(self._account, command.mailbox):
            placed = await self._account.append(command.mailbox, [message])
        if not placed.uids:
            return Done("APPEND completed")
        return Done("APPEND completed", b"APPENDUID %d %d" % (placed.uidvalidity, placed.uids[0]))


async def begin(context: Context, command: Append) -> Appending:
    """Checks what can be checked before the client sends the message."""
    context.may_write()
    with try_create(context.account, command.mailbox):
        await context.account.look_for(command.mailbox)
    normal_flags(command.flags)
    await context.account.check_room(command.size)
    return Appending(context, command)
