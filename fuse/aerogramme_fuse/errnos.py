"""What a program hears of what cannot be: an errno; and we, in the log, why."""

import errno
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pyfuse3 import FUSEError

from aerogramme.errors import (
    AerogrammeError,
    AlreadyExists,
    Damaged,
    NoSuchMailbox,
    OverQuota,
    Refused,
    TooLarge,
    Unavailable,
)
from aerogramme.faults import stack
from aerogramme_fuse.overlay import Full

log = logging.getLogger(__name__)

ERRORS: dict[type[AerogrammeError], int] = {
    NoSuchMailbox: errno.ENOENT,
    AlreadyExists: errno.EEXIST,
    OverQuota: errno.EDQUOT,
    TooLarge: errno.EFBIG,
    Refused: errno.EINVAL,
    Damaged: errno.EIO,
    Unavailable: errno.ETIMEDOUT,  # as of NFS; who reads and gets EAGAIN may take it for the end of the file
}


def refused(number: int, why: str) -> FUSEError:
    """What a program wants is not what can be."""
    log.warning("%s: %s", errno.errorcode[number], why)
    return FUSEError(number)


@asynccontextmanager
async def told() -> AsyncGenerator[None, None]:
    """What goes wrong is an errno to the program, and a line in our log."""
    try:
        yield
    except FUSEError:
        raise
    except AerogrammeError as error:
        number = next((ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS), errno.EIO)
        log.error("%s: %s %s", errno.errorcode[number], error, error.hint)
        raise FUSEError(number) from error
    except Full:
        raise refused(errno.ENOSPC, "files that are no mail take all memory there is for them") from None
    except Exception as error:  # the top of a request: a fault in one must not end the others
        log.error("EIO: a fault: %s", stack(error))
        raise FUSEError(errno.EIO) from error
