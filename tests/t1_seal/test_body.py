"""Bodies: whole, streamed and in part give the same bytes; no damage passes, memory is bounded."""

import random
import struct
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aerogramme.errors import Damaged, TooLarge
from aerogramme.seal import Binding, BodyOpener, BodyReader, BodySealer, ContentKey, open_body, seal_body
from aerogramme.seal import body as body_module
from aerogramme.seal.body import FRAME
from aerogramme.seal.stream import CHUNK, SEALED_CHUNK, SealedStream, StreamSealer
from tests.helpers.damage import damaged

HERE = Binding(b"a" * 16, "content", "01")
NOISE = random.Random(7).randbytes(2 * FRAME + 5000)  # does not compress: several frames and nine chunks
NOISE_KEY = ContentKey.generate()
NOISE_SEALED = seal_body(NOISE_KEY, HERE, NOISE)
LETTER = b"Subject: hello\r\n\r\n" + b"Hello, hello. " * 40
LETTER_KEY = ContentKey.generate()
LETTER_SEALED = seal_body(LETTER_KEY, HERE, LETTER)

SIZES = [
    0,
    1,
    100,
    CHUNK - 40,
    CHUNK - 16,
    CHUNK,
    CHUNK + 1,
    FRAME - 1,
    FRAME,
    FRAME + 1,
    2 * FRAME,
    2 * FRAME + 5000,
]


def open_streamed(key: ContentKey, sealed: bytes, step: int, max_size: int = 10**9) -> bytes:
    opener = BodyOpener(key, HERE, max_size)
    pieces = [p for at in range(0, len(sealed), step) for p in opener.update(sealed[at : at + step])]
    pieces += opener.finish()
    assert all(len(piece) <= FRAME for piece in pieces)
    return b"".join(pieces)


def sealed_as_is(key: ContentKey, inner: bytes) -> bytes:
    """A stream with these bytes in it instead of frames and a table: only a holder of the key can make it."""
    sealer = StreamSealer(key.aead, HERE)
    return sealer.update(inner) + sealer.finish()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, CHUNK, FRAME, 10**9])
def test_streamed_and_whole_are_the_same(size: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = NOISE[:size]
    monkeypatch.setattr("os.urandom", bytes)  # so that two keys are the same
    whole = seal_body(ContentKey.generate(), HERE, plain)
    key = ContentKey.generate()
    sealer = BodySealer(key, HERE)
    sealed = b"".join(sealer.update(plain[at : at + step]) for at in range(0, size, step)) + sealer.finish()
    assert (sealer.plain_size, sealer.sealed_size) == (size, len(sealed))
    assert sealed == whole
    assert open_body(key, HERE, sealed) == plain
    assert open_streamed(key, sealed, step) == plain


@settings(max_examples=30)
@given(st.data())
def test_compressible_bodies(data: st.DataObject) -> None:
    plain = data.draw(st.binary(min_size=1, max_size=30)) * data.draw(st.integers(0, 40_000))
    key = ContentKey.generate()
    sealed = seal_body(key, HERE, plain)
    assert open_body(ContentKey.from_bytes(key.to_bytes()), HERE, sealed) == plain


def test_a_streamed_body_holds_no_more_than_a_frame_and_a_chunk() -> None:
    sealer = BodySealer(ContentKey.generate(), HERE)
    for at in range(0, len(NOISE), 1000):
        sealer.update(NOISE[at : at + 1000])
        assert len(sealer._plain) < FRAME
        assert len(sealer._stream._held) <= CHUNK


@given(st.integers(0, len(NOISE) + 10), st.integers(0, len(NOISE) + 10))
def test_any_part_without_the_rest(start: int, stop: int) -> None:
    reader = BodyReader(NOISE_KEY, HERE, len(NOISE_SEALED))
    at, to = reader.table_range()
    reader.load(NOISE_SEALED[at:to])
    assert reader.plain_size == len(NOISE)
    at, to = reader.range_of(start, stop)
    assert to - at <= 2 * SEALED_CHUNK + max(stop - start, 0) + FRAME * 2
    assert reader.read(start, stop, NOISE_SEALED[at:to]) == NOISE[start:stop]


@pytest.mark.parametrize("size", SIZES)
def test_parts_of_every_size(size: int) -> None:
    key = ContentKey.generate()
    sealed = seal_body(key, HERE, NOISE[:size])
    reader = BodyReader(key, HERE, len(sealed))
    at, to = reader.table_range()
    reader.load(sealed[at:to])
    for start, stop in [(0, 1), (0, size), (size - 1, size), (size, size + 5), (FRAME - 3, FRAME + 3)]:
        at, to = reader.range_of(max(start, 0), stop)
        assert reader.read(max(start, 0), stop, sealed[at:to]) == NOISE[:size][max(start, 0) : stop]


def test_chunks_lie_where_the_stream_says() -> None:
    stream = SealedStream(NOISE_KEY.aead, HERE, len(NOISE_SEALED))
    ranges = [stream.range_of(n) for n in range(stream.chunks)]
    assert ranges[0][0] == 4
    assert ranges[-1][1] == len(NOISE_SEALED)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    opened = [stream.open(n, NOISE_SEALED[at:to]) for n, (at, to) in enumerate(ranges)]
    assert {len(chunk) for chunk in opened[:-1]} == {CHUNK}
    assert sum(map(len, opened)) == stream.plain_size


def test_a_chunk_opens_only_in_its_own_place() -> None:
    stream = SealedStream(NOISE_KEY.aead, HERE, len(NOISE_SEALED))
    chunks = [NOISE_SEALED[slice(*stream.range_of(n))] for n in range(stream.chunks)]
    for n in range(stream.chunks):
        for other in range(stream.chunks):
            if n != other:
                with pytest.raises(Damaged):
                    stream.open(n, chunks[other])


@pytest.mark.parametrize("size", [0, 3, 4, 5, 20, 4 + SEALED_CHUNK + 1, 4 + SEALED_CHUNK + 16])
def test_sizes_that_no_stream_has(size: int) -> None:
    with pytest.raises(Damaged):
        SealedStream(NOISE_KEY.aead, HERE, size)


@given(damaged(LETTER_SEALED))
def test_damage_is_seen(changed: bytes) -> None:
    with pytest.raises(Damaged):
        open_body(LETTER_KEY, HERE, changed)
    with pytest.raises(Damaged):
        open_streamed(LETTER_KEY, changed, 100)


@settings(max_examples=30)
@given(damaged(NOISE_SEALED))
def test_damage_is_seen_in_several_chunks(changed: bytes) -> None:
    with pytest.raises(Damaged):
        open_body(NOISE_KEY, HERE, changed)
    with pytest.raises(Damaged):
        open_streamed(NOISE_KEY, changed, CHUNK)


def test_cut_and_swapped_at_chunks() -> None:
    chunks = [NOISE_SEALED[at : at + SEALED_CHUNK] for at in range(4, len(NOISE_SEALED), SEALED_CHUNK)]
    for n in range(len(chunks)):
        cut = NOISE_SEALED[:4] + b"".join(chunks[:n])
        gap = NOISE_SEALED[:4] + b"".join(chunks[:n] + chunks[n + 1 :])
        for changed in (cut, gap):
            with pytest.raises(Damaged):
                open_body(NOISE_KEY, HERE, changed)
            with pytest.raises(Damaged):
                open_streamed(NOISE_KEY, changed, CHUNK)
    swapped = NOISE_SEALED[:4] + b"".join([chunks[1], chunks[0], *chunks[2:]])
    with pytest.raises(Damaged):
        open_body(NOISE_KEY, HERE, swapped)


def test_another_name_or_key() -> None:
    for key, binding in [(LETTER_KEY, HERE._replace(name="02")), (ContentKey.generate(), HERE)]:
        with pytest.raises(Damaged):
            open_body(key, binding, LETTER_SEALED)


def test_a_content_key_seals_one_body() -> None:
    key = ContentKey.generate()
    seal_body(key, HERE, b"one")
    for used in (key, ContentKey.from_bytes(key.to_bytes())):
        with pytest.raises(ValueError, match="one body"):
            BodySealer(used, HERE)


@given(st.binary(max_size=300))
def test_a_holder_of_the_key_can_write_nonsense(inner: bytes) -> None:
    sealed = sealed_as_is(LETTER_KEY, inner or b"-")
    for open_it in (
        lambda: open_body(LETTER_KEY, HERE, sealed),
        lambda: open_streamed(LETTER_KEY, sealed, 50),
        lambda: BodyReader(LETTER_KEY, HERE, len(sealed)).load(sealed[4:]),
    ):
        with pytest.raises(Damaged):
            open_it()


def bomb(frames: int) -> bytes:
    """Frames of nothing but zeros: about 30 bytes each, 256 KiB when unpacked."""
    frame = zstandard.compress(bytes(FRAME))
    part = struct.pack(">I", len(frame)) + frame
    return sealed_as_is(LETTER_KEY, part * frames)


def test_a_bomb_is_stopped_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = 0

    def decompress(frame: bytes, allow_extra_data: bool) -> bytes:
        nonlocal unpacked
        unpacked += FRAME
        return bytes(FRAME)

    monkeypatch.setattr(body_module._zstd, "decompress", decompress)
    sealed = bomb(1000)
    ways: list[Callable[[], bytes]] = [
        lambda: open_body(LETTER_KEY, HERE, sealed, max_size=3 * FRAME),
        lambda: open_streamed(LETTER_KEY, sealed, 1000, max_size=3 * FRAME),
    ]
    for open_it in ways:
        unpacked = 0
        with pytest.raises(Damaged, match="larger than it may be"):
            open_it()
        assert unpacked == 3 * FRAME


def test_a_frame_that_claims_or_holds_too_much() -> None:
    large = zstandard.compress(bytes(FRAME + 1))
    claims = struct.pack(">I", 2**31)
    for inner in (struct.pack(">I", len(large)) + large, claims + bytes(1000)):
        with pytest.raises(Damaged):
            open_body(LETTER_KEY, HERE, sealed_as_is(LETTER_KEY, inner))


def test_a_frame_that_lies_about_its_size() -> None:
    frame = bytearray(zstandard.compress(LETTER))
    assert zstandard.frame_content_size(bytes(frame)) == len(LETTER)
    frame[5] ^= 1  # the low byte of the content size, after magic and descriptor
    assert zstandard.frame_content_size(bytes(frame)) != len(LETTER)
    inner = struct.pack(">I", len(frame)) + bytes(frame) + struct.pack(">IQ", len(frame), len(LETTER) ^ 1)
    with pytest.raises(Damaged):
        open_body(LETTER_KEY, HERE, sealed_as_is(LETTER_KEY, inner))


def test_bytes_after_the_end_are_not_kept() -> None:
    frame = zstandard.compress(LETTER)
    inner = struct.pack(">I", len(frame)) + frame + bytes(3 * FRAME)
    with pytest.raises(Damaged, match="goes on after its end"):
        open_streamed(LETTER_KEY, sealed_as_is(LETTER_KEY, inner), CHUNK)


def test_a_frame_is_not_padded() -> None:
    frame = zstandard.compress(LETTER)
    head = zstandard.frame_header_size(frame)
    padded = frame[:head] + bytes(3) * 100_000 + frame[head:]  # RFC 8878 §3.1.1.2: raw blocks of nothing
    assert zstandard.decompress(padded) == LETTER
    inner = struct.pack(">I", len(padded)) + padded + struct.pack(">IQ", len(padded), len(LETTER))
    with pytest.raises(Damaged, match="too long"):
        open_body(LETTER_KEY, HERE, sealed_as_is(LETTER_KEY, inner))


def test_a_last_chunk_is_not_empty() -> None:
    # The same body, but its last full chunk is not marked as the last one, and one of nothing follows.
    plain = NOISE[: CHUNK - 4 - 12 - 10]  # ten bytes are what zstd adds to bytes that do not compress
    key = ContentKey.generate()
    sealed = seal_body(key, HERE, plain)
    stream = SealedStream(key.aead, HERE, len(sealed))
    assert (stream.chunks, stream.plain_size) == (1, CHUNK)
    bound = b"AGB\1" + HERE.encoded()
    longer = (
        b"AGB\1"
        + key.aead.encrypt(bytes(12), stream.open(0, sealed[4:]), bound)
        + key.aead.encrypt(bytes(10) + b"\1\1", b"", bound)
    )
    with pytest.raises(Damaged):
        open_body(key, HERE, longer)
    with pytest.raises(Damaged, match="empty chunk"):
        open_streamed(key, longer, 1000)


def test_a_table_that_lies_is_seen_by_the_reader() -> None:
    frame = zstandard.compress(LETTER)
    body = struct.pack(">I", len(frame)) + frame
    n = len(LETTER)
    for table in (
        struct.pack(">IQ", len(frame) + 1, n),
        struct.pack(">IQ", len(frame), n + FRAME),
        struct.pack(">IQ", len(frame), 2**64 - 1),
        struct.pack(">Q", n),
    ):
        sealed = sealed_as_is(LETTER_KEY, body + table)
        reader = BodyReader(LETTER_KEY, HERE, len(sealed))
        with pytest.raises(Damaged):
            reader.load(sealed[slice(*reader.table_range())])
    other_length = struct.pack(">I", len(frame) + 1) + frame
    for inner in (
        body + struct.pack(">IQ", len(frame), n + 1),
        other_length + struct.pack(">IQ", len(frame), n),
    ):
        sealed = sealed_as_is(LETTER_KEY, inner)
        reader = BodyReader(LETTER_KEY, HERE, len(sealed))
        reader.load(sealed[slice(*reader.table_range())])
        with pytest.raises(Damaged):
            reader.read(0, 5, sealed[slice(*reader.range_of(0, 5))])


def test_too_large_to_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "MAX_BODY", 1000)
    sealer = BodySealer(ContentKey.generate(), HERE)
    sealer.update(bytes(1000))
    with pytest.raises(TooLarge):
        sealer.update(b"x")


def test_threads_have_their_own_compressors() -> None:
    wrong: list[int] = []

    def work(n: int) -> None:
        for i in range(50):
            plain = NOISE[n * 100 : n * 100 + 3000] * (i % 5 + 1)
            key = ContentKey.generate()
            if open_body(key, HERE, seal_body(key, HERE, plain)) != plain:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
