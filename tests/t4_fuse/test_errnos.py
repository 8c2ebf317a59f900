"""What a program hears of what goes wrong."""

import errno
import logging

import pytest

from aerogramme import errors
from aerogramme_fuse.overlay import Full

pytest.importorskip("pyfuse3", reason="no pyfuse3: make mount")

import pyfuse3

from aerogramme_fuse.errnos import refused, told


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.NoSuchMailbox(), errno.ENOENT),
        (errors.AlreadyExists(), errno.EEXIST),
        (errors.OverQuota(), errno.EDQUOT),
        (errors.Refused(), errno.EINVAL),
        (errors.TooLarge(), errno.EFBIG),
        (errors.Damaged(), errno.EIO),
        (errors.UnknownGeneration(), errno.EIO),
        (errors.NotStored(), errno.EIO),
        (errors.RolledBack(), errno.EIO),
        (errors.Unavailable(), errno.ETIMEDOUT),
        (errors.Outdated(), errno.ETIMEDOUT),
        (Full(), errno.ENOSPC),
        (KeyError("secret"), errno.EIO),
        (pyfuse3.FUSEError(errno.EXDEV), errno.EXDEV),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_errors(error: Exception, number: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        async with told():
            raise error
    assert caught.value.errno == number
    assert "secret" not in caplog.text  # it may be mail
    assert bool(caplog.records) != isinstance(error, pyfuse3.FUSEError)
    assert all(record.levelno >= logging.WARNING for record in caplog.records)


async def test_what_does_not_fail_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with told():
        pass
    assert not caplog.records


def test_what_is_refused_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert refused(errno.EPERM, "a message does not change").errno == errno.EPERM
    assert caplog.messages == ["EPERM: a message does not change"]
