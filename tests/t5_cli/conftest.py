"""Distant stores for the command line: real ones, started once for all tests."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.helpers import garage as garage_program
from tests.helpers.garage import Garage
from tests.helpers.seaweed import Seaweed, seaweed


@pytest.fixture(scope="session")
def weed() -> Iterator[Seaweed]:
    with seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[Garage]:
    """Garage, of one node. Tests that take it are marked so."""
    with garage_program.garage() as cluster:
        yield cluster


@pytest.fixture
def garage(cluster: Garage, aws: pytest.MonkeyPatch) -> str:
    """An empty place in its bucket, and the credentials in the environment."""
    for name, value in cluster.environment.items():
        aws.setenv(name, value)
    return cluster.store(uuid4().hex)


@pytest.fixture
def s3(weed: Seaweed, aws: pytest.MonkeyPatch) -> str:
    """An empty place in its bucket, and the credentials in the environment."""
    for name, value in weed.environment.items():
        aws.setenv(name, value)
    return weed.store(uuid4().hex)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> pytest.MonkeyPatch:
    """No credentials of this machine, and no looking for them where it is not at AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch
