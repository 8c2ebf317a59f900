"""Telling the kernel which names are not so any more."""

import logging
from queue import SimpleQueue
from threading import Thread

import pyfuse3

log = logging.getLogger(__name__)

GRACE = 1.0  # seconds that the last word to the kernel may take, when the mount ends


class Telling:
    """Does so for one mount. In a thread: the kernel lets go of a name once all that it does in that folder
    is answered, and that is for the event loop to do. pyfuse3's own thread would end with the first mount of
    a process, and not be waited for."""

    def __init__(self) -> None:
        self._names: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._ended = False
        self._thread = Thread(target=self._tell, daemon=True, name="telling the kernel")
        self._thread.start()

    def gone(self, folder: int, name: bytes) -> None:
        """A name in a folder (its inode) is to be looked up anew."""
        self._names.put((folder, name))

    def end(self) -> None:
        """What has not been told by now is not told any more: the mount goes."""
        self._ended = True
        self._names.put(None)
        self._thread.join(GRACE)

    def _tell(self) -> None:
        while (told := self._names.get()) is not None and not self._ended:
            try:
                pyfuse3.invalidate_entry(*told)
            except FileNotFoundError:
                pass  # the kernel does not know it
            except OSError as error:
                log.warning("the kernel was not told of a name that has gone: %s", error.strerror)
