"""mbsync, as a user has it who keeps a copy of his mail: whatever server it is pointed at."""

import subprocess
from pathlib import Path

from tests.helpers.dovecot import needs
from tests.helpers.server import ADDRESS, PASSWORD


class Copy:
    """The copy, in `folder`, with what mbsync remembers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mbsync = needs("mbsync")
        (folder / "copy").mkdir(parents=True)
        (folder / "password").write_text(PASSWORD)

    def sync(self, port: int) -> None:
        """Once, with the server on this port."""
        config, copy = self.folder / "mbsyncrc", self.folder / "copy"
        config.write_text(
            f"IMAPStore server\nHost 127.0.0.1\nPort {port}\nUser {ADDRESS}\n"
            f'PassCmd "cat {self.folder / "password"}"\nSSLType None\nAuthMechs LOGIN\n\n'
            f"MaildirStore copy\nPath {copy}/\nInbox {copy}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel all\nFar :server:\nNear :copy:\nPatterns *\nCreate Near\nExpunge Both\nSync All\n"
            f"SyncState *\n"
        )
        done = subprocess.run([self._mbsync, "-c", str(config), "all"], capture_output=True, timeout=600)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()[-3000:]

    def files(self) -> dict[str, tuple[int, int]]:
        """All mails of the copy: octets and time of change."""
        found = {}
        for path in (self.folder / "copy").rglob("*"):
            if path.parent.name in ("cur", "new"):
                state = path.stat()
                found[str(path.relative_to(self.folder))] = state.st_size, state.st_mtime_ns
        return found
