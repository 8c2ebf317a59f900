"""`aerogramme deliver`: one mail from standard input, without a server."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, NoSuchUser
from aerogramme_cli import common
from aerogramme_cli.common import ConfigOption, DataOption, StoreOption

if TYPE_CHECKING:
    from aerogramme.mailbox.incoming import Letter

# What is read from standard input at a time.
CHUNK = 256 * 1024


def deliver(
    address: Annotated[
        str, typer.Argument(help="The recipient's address; aliases and +detail work as over LMTP.")
    ],
    config: ConfigOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    sender: Annotated[str, typer.Option("--from", help="The envelope sender; empty for none.")] = "",
) -> None:
    """Deliver the mail on standard input. No password is needed: it is sealed to the account's public key.

    \b
    Examples:
      aerogramme deliver alice@example.org --data ./mail < mail.eml
      printf 'Subject: hello\\n\\nHow are you?\\n' | aerogramme deliver alice@example.org --data ./mail
    """
    common.run(_deliver, common.settings(config, data, store), address, sender)


async def _deliver(settings: Config, address: str, sender: str) -> None:
    import trio

    from aerogramme.lmtp.headers import trace_fields
    from aerogramme.mailbox.incoming import LetterBox
    from aerogramme.mailbox.keys import StoredKeys
    from aerogramme.mailbox.letterboxes import key_to_seal_to

    recipient = common.directory(settings).by_address(address)
    if recipient is None:
        raise NoSuchUser(f"no account takes mail for {address}", hint="`aerogramme account list` shows them")
    user = recipient.user
    async with common.open_store(settings, user) as store:
        public = key_to_seal_to(await StoredKeys.read(store), user.account, user.pins)
        failure: AerogrammeError | None = None
        async with trio.open_nursery() as nursery:
            box = LetterBox(store, user.account, public, nursery)
            letter = box.letter(sender, address, recipient.detail, limit=settings.max_message_size)
            head = trace_fields(sender=sender, recipient=address, hostname=settings.hostname)
            try:
                await _send(letter, head)
            except AerogrammeError as error:  # out of the nursery it would come as a group
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def _send(letter: "Letter", head: bytes) -> None:
    """All of standard input. Raises TooLarge, Unavailable."""
    from aerogramme.lmtp.lineends import LineEnds

    await letter.write(head)
    lines = LineEnds()
    ended = False
    while chunk := sys.stdin.buffer.read(CHUNK):
        if piece := lines.feed(chunk):
            await letter.write(piece)
            ended = piece.endswith(b"\n")
    if (rest := lines.finish()) or not ended:  # RFC 5322 §2.3: a last line is a line only with its end
        await letter.write(rest + b"\r\n")
    await letter.send()
