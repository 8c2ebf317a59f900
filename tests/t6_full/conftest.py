"""What several of the tests with real servers need."""

from collections.abc import Callable, Mapping

import pytest

Environment = Callable[[Mapping[str, str]], None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Sets variables for this process and all that it starts, until the test ends."""

    def set_all(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all
