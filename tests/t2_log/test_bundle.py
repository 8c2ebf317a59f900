"""Which bundles have the contents of segments: few, and none is written again too often."""

from collections import Counter
from random import Random

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Damaged
from aerogramme.log import bundle
from aerogramme.log.entry import SegmentRef
from aerogramme.log.ids import Runs

names = st.integers(0, 200).map(lambda n: f"{n:032x}")


@given(st.dictionaries(st.text("ab", max_size=3), st.lists(names, unique=True), max_size=8), st.sets(names))
def test_all_but_a_few_segments_are_in_a_bundle(known: dict[str, list[str]], segments: set[str]) -> None:
    stay, new = bundle.arrange(known, segments)
    assert all(known[name] == of for name, of in stay.items())
    there = [segment for of in stay.values() for segment in of]
    assert set(new) <= segments and len(set(new)) == len(new) and set(new).isdisjoint(there)
    left = segments.difference(there, new)
    assert len(left) <= bundle.FEW and not (left and new)
    assert all(segments.intersection(of) for of in stay.values())


@pytest.mark.parametrize("goes", [0.0, 0.3])
def test_there_are_few_and_they_are_written_seldom(goes: float) -> None:
    """As an account grows to a million messages, with or without segments that are merged into others."""
    random, known, segments, number = Random(1), {}, [], 0
    written = Counter[str]()
    for fold in range(2000):
        for _ in range(random.choice([0, 1, 1, 1, 2])):
            segments.append(f"{fold:x}.{len(segments)}")
        segments = [s for s in segments if random.random() > goes / 100]
        known, new = bundle.arrange(known, segments)
        if new:
            number += 1
            known[f"bundle {number}"] = new
            written.update(new)
        assert len(new) < 3 * bundle.FULL
        assert len(known) <= 3 + 2 * len(segments) / bundle.FULL
    assert written.total() / len(written) < 8


refs = st.builds(
    SegmentRef,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.lists(st.integers(1, (1 << 64) - 1), min_size=1, max_size=20),
    st.just(("digest",)),
)


@given(st.lists(refs, max_size=5, unique_by=lambda ref: ref.name))
def test_what_is_written_is_read(some: list[SegmentRef]) -> None:
    assert bundle.decode(bundle.encode(some)) == {ref.name: Runs.of(ref.contents) for ref in some}


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no frame",
        zstandard.compress(b"no msgpack"),
        *(
            zstandard.compress(msgpack.packb(said))
            for said in (
                [2, []],
                [1],
                [1, [], []],
                [1, [[b"n" * 16]]],
                [1, [[b"n" * 16, []]]],
                [1, [[b"n" * 16, [1, 0]]]],
                [1, [[b"n" * 16, ["1", 1]]]],
                [1, [["n", [1, 1]]]],
                [1, [[1 << 62, [1, 1]]]],
                {1: 2},
            )
        ),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"\x92\x01\x90"),
    ],
)
def test_what_is_none_is_damaged(packed: bytes) -> None:
    with pytest.raises(Damaged):
        bundle.decode(packed)
