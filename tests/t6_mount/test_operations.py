"""What the kernel asks of a mount, each with the calls of the system that programs make."""

from tests.helpers.mounted import Mounts, filled


def test_the_smallest_mount(mounted: Mounts) -> None:
    filled(mounted.data, "INBOX", [b"Subject: one\r\n\r\nText\r\n"])
    mount = mounted()
    [name] = (mount.path / "new").iterdir()
    assert name.read_bytes() == b"Subject: one\n\nText\n"
    assert mount.stop() == 0
    assert not any(mount.path.iterdir())
