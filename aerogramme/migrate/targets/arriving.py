"""A letter on its way from a source into an account."""

from dataclasses import dataclass

from aerogramme.mailbox.contents import Content, Upload


@dataclass(frozen=True, slots=True)
class Arrived:
    """A letter that is sealed and rendered. `sealed`: its body, None if that is stored already."""

    content: Content
    sealed: bytes | None

    @property
    def size(self) -> int:
        return self.content.record.size

    @property
    def message_id(self) -> bytes:
        return self.content.digest.message_id

    @property
    def held(self) -> int:
        """About how much memory it takes: of its digest, some is held twice."""
        digest = self.content.digest
        return len(self.sealed or b"") + len(digest.text) + 3 * len(digest.header) + len(digest.bodystructure)


class Arriving:
    """A letter that comes in: `write` it, then `finish`; or `drop` it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    async def write(self, chunk: bytes) -> None:
        """The next octets. Raises TooLarge, Unavailable."""
        await self._upload.write(chunk)

    async def finish(self) -> Arrived:
        """All is there."""
        return Arrived(*await self._upload.finish())

    def drop(self) -> None:
        """It is not to land after all."""
        self._upload.drop()
