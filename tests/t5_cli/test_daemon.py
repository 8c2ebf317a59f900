"""What the server does to its process before it serves."""

import logging
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerogramme.config import Config
from aerogramme.daemon import allow_descriptors
from aerogramme_cli.serve import OTHERS, set_up_log
from tests.helpers.server import aerogramme

NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("store", "allowed"),
    [
        ("sqlite:elsewhere", 1648),
        ("s3:https://s3.example.org/mail", 1264),
        ("garage:http://127.0.0.1:3900/mail?k2v=http://127.0.0.1:3904", 7264),
    ],
)
def test_open_files_fit_the_kind_of_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, allowed: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    allow_descriptors(Config.for_data(tmp_path, store=store))
    assert asked == [(allowed, 524_288)]


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "warned"),
    [
        (1024, 524_288, 1648, False),  # what most systems give
        (1024, NO_LIMIT, 1648, False),
        (256, 1500, 1500, True),
        (1648, 1648, None, False),
        (NO_LIMIT, NO_LIMIT, None, False),
    ],
)
def test_limits_of_connections_fit_the_limit_of_open_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    allowed: int | None,
    warned: bool,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    allow_descriptors(Config.for_data(tmp_path))
    assert asked == ([] if allowed is None else [(allowed, hard)])
    assert ("LimitNOFILE" in caplog.text) == warned


@pytest.fixture
def log_as_it_is() -> Iterator[None]:
    """What a test sets up is undone."""
    loggers = [logging.getLogger(name) for name in (None, *OTHERS)]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_at_debug_the_log_is_ours_alone(log_as_it_is: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own, which come after fixtures
    set_up_log("debug")
    assert logging.getLogger("aerogramme.store.k2v").isEnabledFor(logging.DEBUG)
    for name in ("botocore.auth", "urllib3.connectionpool", "httpx", "httpcore.http11"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO), name
        assert logging.getLogger(name).isEnabledFor(logging.WARNING)


def test_a_server_with_nothing_to_listen_on_says_so(tmp_path: Path) -> None:
    config = tmp_path / "aerogramme.toml"
    config.write_text('data = "data"\n[imap]\nlisten = []\n[lmtp]\nlisten = []\n')
    done = aerogramme("serve", "--config", str(config), check=False)
    assert done.returncode == 78 and b"nothing to listen on" in done.stderr
