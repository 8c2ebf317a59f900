"""Dialogues from tests/transcripts: each whole, byte by byte, and pipelined where it can be."""

from pathlib import Path

import pytest

from tests.helpers.imap_world import imap_world
from tests.helpers.transcript import Dialogue, load, run

DIALOGUES = load(Path(__file__).parent.parent / "transcripts", ".imap")


@pytest.mark.parametrize("way", ["whole", "byte by byte", "pipelined"])
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)
async def test_dialogue(dialogue: Dialogue, way: str) -> None:
    if way == "pipelined" and not dialogue.can_pipeline:
        pytest.skip("what is sent depends on answers")
    async with imap_world() as world:
        world.byte_by_byte = way == "byte by byte"
        await run(dialogue, world.connect, {"mail": world.mail}, pipelined=way == "pipelined")
