"""Programs that only read, at a real mount of 10,000 real mails: each finds all of them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.corpus import corpus_of
from tests.helpers.mounted import Mounts, filled
from tests.t6_full.test_clients import needs, run
from tests.t6_mount.test_programs import Dovecot, neomutt, of_programs

pytestmark = pytest.mark.clients

MANY = 10_000


@pytest.fixture
def mails(data: Path) -> list[bytes]:
    """The corpus, and the first of it again under other Message-IDs. All are in the account, with CRLF."""
    mails = [re.sub(rb"\r?\n", b"\r\n", mail) for mail in corpus_of(MANY)]
    assert len(mails) == MANY
    filled(data, "INBOX", mails, ["\\Seen"])
    return mails


def test_ten_thousand(mounted: Mounts, mails: list[bytes], tmp_path: Path, monkeypatch) -> None:
    home = of_programs(tmp_path, monkeypatch)
    mount = mounted("--rw")
    cur = mount.path / "cur"
    files = {int(re.findall(r",U=(\d+):", name)[0]): name for name in os.listdir(cur)}
    assert sorted(files) == list(range(1, MANY + 1))

    found = run("sh", "-c", f"find {cur} -type f -print0 | xargs -0 grep -l -a -F -i suse")
    letters = {n for n, mail in enumerate(mails, 1) if b"suse" in mail.lower()}
    assert letters and {int(uid) for uid in re.findall(r",U=(\d+):2,S\n", found)} == letters

    with subprocess.Popen(["tar", "-c", "-C", cur, "."], stdout=subprocess.PIPE) as tar:
        (tmp_path / "tar").mkdir()
        subprocess.run(["tar", "-x", "-C", tmp_path / "tar"], stdin=tar.stdout, check=True)
    for n, mail in enumerate(mails, 1):
        assert (tmp_path / "tar" / files[n]).read_bytes() == mail.replace(b"\r\n", b"\n")
    # Sizes and times are what they are: so rsync has nothing to do.
    assert run(needs("rsync"), "-ai", "--omit-dir-times", "--no-perms", f"{cur}/", f"{tmp_path}/tar/") == ""

    heard = Dovecot(mount, home).fetched("INBOX", "uid size.virtual")
    assert [(int(uid), int(size)) for uid, size in heard] == [(n, len(m)) for n, m in enumerate(mails, 1)]

    listing = home / "listing"
    neomutt(mount, home, f"<tag-pattern>~s SUSE<enter><tag-prefix><pipe-message>grep -c . >{listing}<enter>")
    assert int(listing.read_text()) > 100
