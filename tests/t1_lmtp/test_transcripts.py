"""Whole dialogues, each in three ways: step by step, octet by octet, and all at once.

A transcript has lines `C: ` from the client, `S: ` (a regular expression) from the server, and `M: ` of the
one message that is kept in the end. `{n octets}` stands for as many letters x; a `C:` line that stands
before an answer belongs to the same step.
"""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.lmtp"))


def read(path: Path):
    """Steps of (what the client sends, patterns of the answer's lines), and the message."""
    steps: list[tuple[bytes, list[str]]] = [(b"", [])]
    message: list[bytes] = []
    for line in path.read_text().splitlines():
        who, text = line[:2], re.sub(r"\{(\d+) octets\}", lambda m: "x" * int(m[1]), line[3:])
        if who == "C:":
            if steps[-1][1]:
                steps.append((b"", []))
            steps[-1] = (steps[-1][0] + text.encode() + b"\r\n", steps[-1][1])
        elif who == "S:":
            steps[-1][1].append(text)
        elif who == "M:":
            message.append(text.encode() + b"\r\n")
    if message == [b"\r\n"]:
        message = [b""]
    return steps, b"".join(message)


def pattern(lines: list[str]) -> str:
    return "".join(re.sub(r"\(250-\.\*\)\{6\}", r"(250-[^\\r]*\\r\\n){6}", line) + r"\r\n" for line in lines)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_step_by_step(peer, path):
    steps, message = read(path)
    for number, (sent, lines) in enumerate(steps):
        answer = peer.feed(sent) if number else peer.output
        assert re.fullmatch(pattern(lines), answer.decode()), f"{path.name}: {sent!r} was answered {answer!r}"
    assert [body for _, body in peer.messages] == ([message] if "\nM:" in path.read_text() else [])
    assert peer.protocol.closed


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_octet_by_octet_and_at_once(new_peer, path):
    steps, _ = read(path)
    stepwise, slow, fast = new_peer(), new_peer(), new_peer()
    for sent, _ in steps:
        stepwise.feed(sent)
    everything = b"".join(sent for sent, _ in steps)
    for number in range(len(everything)):
        slow.feed(everything[number : number + 1])
    fast.feed(everything)
    assert stepwise.output == slow.output == fast.output
    assert stepwise.messages == slow.messages == fast.messages
    assert stepwise.dropped == slow.dropped == fast.dropped
