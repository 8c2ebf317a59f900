"""Real mounts: skipped, with what is missing, where there can be none."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import mounted as helper
from tests.helpers.mounted import Mounts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = helper.missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("mount")
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def new_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as it is after `account create`: to be copied."""
    data = tmp_path_factory.mktemp("new") / "data"
    helper.cheap_account(data)
    return data


@pytest.fixture
def data(new_account: Path, tmp_path: Path) -> Path:
    """A data folder with the account of ADDRESS, PASSWORD (tests/helpers/server.py)."""
    return Path(shutil.copytree(new_account, tmp_path / "data"))


@pytest.fixture
def mounted(data: Path) -> Iterator[Mounts]:
    """Call it with the options of `aerogramme mount` ("--rw"): a Mount. All are unmounted at the end."""
    with helper.mounts(data) as made:
        yield made
