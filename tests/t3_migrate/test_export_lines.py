"""Lines of files: what is written is read again as it was, however the letter was cut into pieces."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from aerogramme.migrate.export.lines import Quoting, UnixLines
from tests.helpers.exports import shown

texts = st.one_of(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"From ", b"From", b">", b"F", b" "])).map(
        b"".join
    ),
    st.binary(max_size=40),
)


def pieces(data: st.DataObject, text: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(texts, st.data())
def test_a_file_is_shown_as_the_letter_was(letter: bytes, data: st.DataObject) -> None:
    lines = UnixLines()
    file = b"".join(map(lines.feed, pieces(data, letter))) + lines.end()
    assert shown(file) == shown(letter)
    assert (lines.size, lines.wide) == (len(file), len(shown(file)))
    if b"\r\r" not in letter:
        assert b"\r\n" not in file


def test_a_letter_that_is_nothing_but_cr_is_not_kept_in_memory() -> None:
    lines = UnixLines()
    assert [len(lines.feed(b"\r" * 1000)) for _ in range(3)] == [998, 1000, 1000]


@given(texts, st.data())
@example(b"x\nFrom me\n>From you\n>>From all\n > From none\nFro", None)
def test_quoted_lines_are_unquoted_to_what_they_were(letter: bytes, data: st.DataObject | None) -> None:
    quoting = Quoting()
    cut = [letter] if data is None else pieces(data, letter)
    quoted = b"".join(map(quoting.feed, cut)) + quoting.end()
    assert not re.search(rb"(?:^|\n)From ", quoted)
    assert not quoted or quoted.endswith(b"\n")
    unquoted = re.sub(rb"(^|\n)>(>*From )", rb"\1\2", quoted)
    assert unquoted == (letter if not letter or letter.endswith(b"\n") else letter + b"\n")


def test_a_line_of_nothing_but_marks_is_not_kept_in_memory() -> None:
    quoting = Quoting()
    assert len(quoting.feed(b">" * 1000)) == 1000
    assert quoting.feed(b">From me") + quoting.end() == b">>From me\n"
