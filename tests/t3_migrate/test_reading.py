"""Letters from files: their line ends, compressed ones, and those that cannot be read."""

import bz2
import gzip
import io
import lzma
import os
from collections.abc import Callable
from contextlib import aclosing, suppress
from itertools import pairwise

import lz4.block
import pytest
import trio
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.mail.digest import render
from aerogramme.migrate.sources import compressed
from aerogramme.migrate.sources.lineends import LineEnds
from aerogramme.migrate.sources.reading import AHEAD, PIECE, Reader, letters, open_file
from aerogramme.migrate.sources.source import Fault, Letter


def dovecot_lz4(plain: bytes) -> bytes:
    made = b"Dovecot-LZ4\x0d\x2a\x9b\xc5" + (1 << 16).to_bytes(4, "big")
    for at in range(0, len(plain), 1 << 16):
        chunk = lz4.block.compress(plain[at : at + (1 << 16)], store_size=False)
        made += len(chunk).to_bytes(4, "big") + chunk
    return made


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "lz4": dovecot_lz4,
}


def read(octets: bytes) -> bytes:
    reader = Reader(io.BytesIO(octets), "a file")
    return b"".join(iter(reader.read, b""))


LETTERS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"])).map(b"".join)


@given(LETTERS, st.lists(st.integers(0, 40)))
def test_lf_gets_its_cr_wherever_a_letter_is_split(letter, cuts) -> None:
    line_ends = LineEnds()
    edges = [0, *sorted(min(cut, len(letter)) for cut in cuts), len(letter)]
    fed = b"".join(line_ends.feed(letter[a:b]) for a, b in pairwise(edges))
    expected, before = bytearray(), 0
    for octet in letter:
        if octet == 0x0A and before != 0x0D:
            expected += b"\r"
        expected.append(octet or 0x80)
        before = octet
    assert fed == expected
    assert line_ends.lines == (None if b"\r" in letter else letter.count(b"\n"))
    assert render(fed, line_ends.lines) == render(fed)


@pytest.mark.parametrize("kind", KINDS)
@given(letter=st.binary(min_size=1, max_size=100), times=st.integers(1, 5000))
def test_a_compressed_letter_is_read_as_what_was_compressed(kind, letter, times) -> None:
    letter = letter.replace(b"\n", b"\r\n").replace(b"\0", b"0") * times
    letter = LineEnds().feed(letter)
    assert read(KINDS[kind](letter)) == letter


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_that_was_compressed_in_two_parts_is_one(kind) -> None:
    if kind == "lz4":  # has no parts
        return
    assert read(KINDS[kind](b"a" * 100_000) + KINDS[kind](b"b")) == b"a" * 100_000 + b"b"


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_letter_that_is_cut_is_unreadable(kind) -> None:
    whole = KINDS[kind](os.urandom(1000) * 300)
    for length in (20, len(whole) // 2, len(whole) - 1):
        with pytest.raises(Unreadable):
            read(whole[:length])


@pytest.mark.parametrize("kind", KINDS)
@given(at=st.integers(4, 400), octet=st.integers(1, 255))
def test_a_compressed_letter_with_a_wrong_octet_is_unreadable_or_read(kind, at, octet) -> None:
    whole = bytearray(KINDS[kind](bytes(range(256)) * 2))
    whole[at % len(whole)] ^= octet
    with suppress(Unreadable):
        read(bytes(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_file_that_becomes_large_is_read_in_pieces(kind) -> None:
    size = 50_000_000 if kind == "zstd" else 3_000_000
    reader = Reader(io.BytesIO(KINDS[kind](b"a" * size)), "a file")
    largest = max(len(piece) for piece in iter(reader.read, b""))
    assert reader.size == reader.wide == size
    assert largest <= (32 << 20 if kind == "zstd" else PIECE)


def test_a_file_that_becomes_larger_than_any_letter_is_unreadable(monkeypatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.reading.LARGEST", 1 << 20)
    assert len(read(gzip.compress(bytes(1 << 20)))) == 1 << 20
    with pytest.raises(Unreadable, match="as no letter has"):
        read(gzip.compress(bytes((1 << 20) + 1)))


def test_an_lz4_chunk_larger_than_dovecot_makes_them_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        read(b"Dovecot-LZ4\x0d\x2a\x9b\xc5" + b"\xff\xff\xff\xff" + b"\0\0\0\1a")


def test_plain_text_is_not_taken_for_compressed() -> None:
    assert not compressed.is_compressed(b"BZhang wrote:\n")
    assert read(b"BZhang wrote:\n") == b"BZhang wrote:\r\n"


async def test_letters_come_in_order_and_a_fault_in_the_place_of_one_that_cannot_be_read(tmp_path) -> None:
    contents = {
        b"1": b"one\n",
        b"2": b"",
        b"4": gzip.compress(b"four" * 1000)[:-9],
        b"5": b"CRYPTED\x03\x07\x02" + bytes(100),
        b"6": b"six\r\n" * PIECE,
        b"7": zstandard.compress(os.urandom(PIECE * 3))[:-9],
    }
    for name, octets in contents.items():
        (tmp_path / name.decode()).write_bytes(octets)
    (tmp_path / "8").symlink_to("1")
    (tmp_path / "9").mkdir()
    os.mkfifo(tmp_path / "10")
    folder = os.open(tmp_path, os.O_RDONLY)

    def opener(name: bytes) -> Callable[[], Reader | Fault | None]:
        def open_it() -> Reader | Fault | None:
            file = open_file(name, folder, f"file {name.decode()}")
            return file if file is None or isinstance(file, Fault) else Reader(file, f"file {name.decode()}")

        return open_it

    found: list[tuple[int, bytes] | str] = []
    async for letter in letters(((n, opener(b"%d" % n)) for n in range(1, 100)), []):
        if isinstance(letter, Letter):
            try:
                found.append((letter.uid, b"".join([piece async for piece in letter.pieces])))
            except Unreadable as e:
                found.append(str(e))
        else:
            assert letter.lost
            found.append(f"{letter.origin}: {letter.what}")
    os.close(folder)
    assert found[:2] == [(1, b"one\r\n"), (2, b"")]
    assert "file 4: it cannot be read after" in found[2]
    assert "file 5: the mail is encrypted" in found[3]
    assert found[4] == (6, contents[b"6"])
    assert "file 7: it cannot be read after" in found[5]
    assert found[6:] == [
        "file 8: it is a symbolic link",
        "file 9: it is not a file",
        "file 10: it is not a file",
    ]


async def test_of_letters_that_become_large_one_at_a_time_is_read() -> None:
    bomb = zstandard.compress(b"a" * 10_000_000)
    opened = []

    def opener() -> Reader:
        opened.append(Reader(io.BytesIO(bomb), "a file"))
        return opened[-1]

    async with aclosing(letters(((n, opener) for n in range(1, 30)), [])) as found:
        assert isinstance(await anext(found), Letter)
        assert [reader.size > 0 for reader in opened] == [True] + [False] * (len(opened) - 1)


async def test_others_have_their_turn_while_letters_are_read() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    small = ((n, lambda: Reader(io.BytesIO(b"small"), "a file")) for n in range(10 * AHEAD))
    large = [(1, lambda: Reader(io.BytesIO(b"large" * 10 * PIECE), "a file"))]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for openers in small, large:
            turns = 0
            async with aclosing(letters(openers, [])) as found:
                async for letter in found:
                    assert isinstance(letter, Letter)
                    assert [piece async for piece in letter.pieces]
            assert turns >= 9
        nursery.cancel_scope.cancel()


async def test_where_no_more_letters_can_be_opened_those_before_are_closed() -> None:
    file = io.BytesIO(b"a" * 10 * PIECE)

    def fails() -> None:
        raise OSError("the disk is gone")

    async with aclosing(letters([(1, lambda: Reader(file, "a file")), (2, fails)], [])) as found:
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(found)
    assert file.closed
