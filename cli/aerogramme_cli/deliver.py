"""`aerogramme deliver`: one mail from standard input, without a server."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from aerogramme.config import Config
from aerogramme.errors import AerogrammeError, BadConfiguration, NoSuchUser, OverQuota, Unavailable
from aerogramme_cli import common
from aerogramme_cli.options import Where, grouped

if TYPE_CHECKING:
    from aerogramme.mailbox.incoming.incoming import Letter

# What is read from standard input at a time.
CHUNK = 256 * 1024


@grouped
def deliver(
    where: Where,
    address: Annotated[
        str, typer.Argument(help="The recipient's address; aliases and +detail work as over LMTP.")
    ],
    sender: Annotated[str, typer.Option("--from", help="The envelope sender; empty for none.")] = "",
) -> None:
    """Deliver the mail on standard input. No password is needed: it is sealed to the account's public key.

    Exit code 65: it is too large, or there is no room for it in the account (75 where the configuration says
    that such mail waits). Nothing is delivered then.

    \b
    Examples:
      aerogramme deliver alice@example.org --data ./mail < mail.eml
      printf 'Subject: hello\\n\\nHow are you?\\n' | aerogramme deliver alice@example.org --data ./mail
    """
    common.run(_deliver, where.settings(), address, sender)


async def _deliver(settings: Config, address: str, sender: str) -> None:
    import trio

    from aerogramme.lmtp.headers import trace_fields
    from aerogramme.mailbox.incoming import tally
    from aerogramme.mailbox.incoming.incoming import LetterBox
    from aerogramme.mailbox.incoming.letterboxes import key_to_seal_to
    from aerogramme.mailbox.keys.keys import StoredKeys

    try:
        recipient = common.existing(settings).by_address(address)
    except BadConfiguration as error:  # the disk may be away, and mail is never returned for that
        raise Unavailable(str(error), hint=error.hint) from error
    if recipient is None:
        raise NoSuchUser(f"no account takes mail for {address}", hint="`aerogramme account list` shows them")
    user = recipient.user
    quota = user.policy(settings.policy).quota
    async with common.open_store(settings, user) as store:
        room = None if quota is None else quota - (await tally.read(store)).total().octets
        public = key_to_seal_to(await StoredKeys.read(store), user.account, user.pins)
        failure: AerogrammeError | None = None
        async with trio.open_nursery() as nursery:
            box = LetterBox(store, user.account, public, nursery)
            letter = box.letter(sender, address, recipient.detail, limit=settings.max_message_size)
            head = trace_fields(sender=sender, recipient=address, hostname=settings.hostname)
            try:
                octets = await _send(letter, head, room)
                if room is not None:
                    await tally.add(store, octets)
            except AerogrammeError as error:  # out of the nursery it would come as a group
                failure = error
                nursery.cancel_scope.cancel()
        if isinstance(failure, OverQuota) and settings.over_quota == "defer":
            failure = Unavailable(str(failure), hint=failure.hint)
        if failure is not None:
            raise failure


async def _send(letter: "Letter", head: bytes, room: int | None) -> int:
    """All of standard input, if there is `room` for it; returns the octets of the letter. Raises TooLarge,
    OverQuota, Unavailable.
    """
    from aerogramme.lmtp.lineends import LineEnds

    await letter.write(head)
    lines = LineEnds()
    ended, octets = False, 0
    while chunk := sys.stdin.buffer.read(CHUNK):
        if piece := lines.feed(chunk):
            octets += len(piece)
            if room is not None and octets > room:
                await letter.abandon()
                raise OverQuota("the account is full", hint="`account set --quota` gives it more room")
            await letter.write(piece)
            ended = piece.endswith(b"\n")
    if (rest := lines.finish()) or not ended:  # RFC 5322 §2.3: a last line is a line only with its end
        await letter.write(rest + b"\r\n")
    await letter.send()
    return len(head) + octets
