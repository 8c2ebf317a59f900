"""The ways in which stored bytes go wrong, as a hypothesis strategy."""

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, stored: bytes) -> bytes:
    """These bytes with a bit flipped, a piece cut out, doubled, moved or added; never the same."""
    at = draw(st.integers(0, len(stored) - 1))
    to = draw(st.integers(at + 1, len(stored)))
    piece = stored[at:to]
    changed = draw(
        st.sampled_from(("bit", "cut off", "cut out", "double", "move", "add")).map(
            lambda how: {
                "bit": lambda: stored[:at] + bytes([stored[at] ^ 1 << to % 8]) + stored[at + 1 :],
                "cut off": lambda: stored[:at],
                "cut out": lambda: stored[:at] + stored[to:],
                "double": lambda: stored[:to] + piece + stored[to:],
                "move": lambda: stored[:at] + stored[to:] + piece,
                "add": lambda: stored + piece,
            }[how]()
        )
    )
    return changed if changed != stored else stored[:-1]


def other_end(octets: bytes) -> bytes:
    """The same but for the last octet."""
    return octets[:-1] + bytes([octets[-1] ^ 1])
