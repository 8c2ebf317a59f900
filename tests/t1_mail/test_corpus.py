"""The corpus of real mails, many of them broken: every digest is checked against its message."""

from pathlib import Path

import pytest

from tests.helpers.mail_check import check

CORPUS = Path(__file__).parents[2] / "corpus"


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus folder (make corpus)")
def test_every_mail_of_the_corpus() -> None:
    files = sorted(CORPUS.glob("*.eml"))
    assert len(files) > 6000
    dated = found = 0
    for file in files:
        raw = file.read_bytes()
        try:
            digest = check(raw)
        except AssertionError as error:
            raise AssertionError(f"{file.name}: {error}") from error
        dated += digest.sent > 0
        found += bool(digest.text)
    # Nearly all have a date that can be read, and a text.
    assert dated > 0.99 * len(files)
    assert found > 0.99 * len(files)
