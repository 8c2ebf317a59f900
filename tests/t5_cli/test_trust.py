"""A backup that was restored is refused, until `account trust` says that it was meant."""

import shutil
from pathlib import Path

from tests.helpers.server import ADDRESS, PASSWORD, aerogramme, create_account


def test_a_restored_backup(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_account(data)
    where = (ADDRESS, "--data", str(data))
    secret = f"{PASSWORD}\n"
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin=secret)
    assert shown.returncode == 0, shown.stderr
    shutil.copytree(data / "accounts", tmp_path / "backup")
    changed = aerogramme("account", "passwd", *where, "--password-stdin", stdin=f"{PASSWORD}\nanother one\n")
    assert changed.returncode == 0, changed.stderr
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin="another one\n")
    assert shown.returncode == 0, shown.stderr

    shutil.rmtree(data / "accounts")
    shutil.copytree(tmp_path / "backup", data / "accounts")
    for password in (PASSWORD, "another one"):
        refused = aerogramme(
            "account", "show", *where, "--password-stdin", stdin=f"{password}\n", check=False
        )
        assert refused.returncode == 79 and b"account trust" in refused.stderr, refused.stderr
    trusted = aerogramme("account", "trust", *where)
    assert trusted.returncode == 0 and b"as it is" in trusted.stderr
    shown = aerogramme("account", "show", *where, "--password-stdin", stdin=secret)
    assert shown.returncode == 0, shown.stderr
