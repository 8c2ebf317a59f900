"""A folder for each test that Dovecot may enter, too."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which only its owner may enter: Dovecot works as another user."""
    with tempfile.TemporaryDirectory(prefix="t6-migrate-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
