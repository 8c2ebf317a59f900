"""What is said where nothing can be mounted."""

from pathlib import Path

import pytest

from aerogramme.errors import BadConfiguration, NoSuchUser, Outdated
from aerogramme_cli import mount as command


@pytest.fixture
def possible(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if this machine could mount."""
    exists = command.os.path.exists
    monkeypatch.setattr(command.os.path, "exists", lambda path: path == "/dev/fuse" or exists(path))
    monkeypatch.setattr(command.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(command, "find_spec", lambda name: object())
    return monkeypatch


def refused(path: Path) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as caught:
        command.check_can_mount(path)
    return caught.value


def test_an_empty_folder(possible: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command.check_can_mount(tmp_path)


def test_what_to_install(possible: pytest.MonkeyPatch, tmp_path: Path) -> None:
    possible.setattr(command, "find_spec", lambda name: None)
    assert "libfuse3-dev" in refused(tmp_path).hint and "'.[mount]'" in refused(tmp_path).hint
    possible.setattr(command.shutil, "which", lambda name: None)
    assert "fuse3" in refused(tmp_path).hint
    with pytest.raises(BadConfiguration, match="fusermount3"):
        command.unmount(tmp_path)


def test_what_is_not_mounted_cannot_be_unmounted(tmp_path: Path) -> None:
    if command.shutil.which("fusermount3") is None:
        pytest.skip("no fusermount3")
    with pytest.raises(BadConfiguration, match=f"nothing is mounted at {tmp_path}"):
        command.unmount(tmp_path)


def test_no_device(possible: pytest.MonkeyPatch, tmp_path: Path) -> None:
    possible.setattr(command.os.path, "exists", lambda path: False)
    assert "/dev/fuse" in refused(tmp_path).hint


def test_where(possible: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "mkdir" in refused(tmp_path / "missing").hint
    (tmp_path / "file").touch()
    assert "no folder" in str(refused(tmp_path / "file"))
    assert "not empty" in str(refused(tmp_path))
    assert "unmount /proc" in refused(Path("/proc")).hint


async def test_what_is_too_old_is_mounted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [Outdated(), Outdated(), None]

    async def once(*args: object) -> None:
        if (error := ends.pop(0)) is not None:
            raise error

    monkeypatch.setattr(command, "_mount_once", once)
    await command._mount(None, None, lambda: None)
    assert not ends
    ends = [NoSuchUser()]
    with pytest.raises(NoSuchUser):
        await command._mount(None, None, lambda: None)
