"""Is a store fit for use? Asked step by step, so that the answer names the first thing that is wrong.

Each kind of place has its steps (check_folder.py, check_bucket.py). They are plain blocking code, one request
after the other, with nothing between them and the network that would try again or hide what was answered. The
last step is what servers do: an account is made, used and erased through the store itself.
"""

from collections.abc import Generator, Sequence

from aerogramme.errors import AerogrammeError
from aerogramme.store.check_bucket import BucketCheck
from aerogramme.store.check_folder import FolderCheck
from aerogramme.store.check_steps import Check, Outcome, Step, Work, use_account
from aerogramme.store.memory import MemoryStores
from aerogramme.store.place import Place


def check_store(where: str, *, create: bool = False) -> Generator[Step, None, None]:
    """Goes through the steps for a place; the first that fails is the last that is tried. With `create` a
    bucket or folder that is missing is made.

    Close the generator: then nothing of the check is left behind in the store, however it ends. Raises
    CheckFailed when it cannot be removed.
    """
    title = "the address makes sense"
    try:
        place = Place.parse(where)
    except AerogrammeError as error:
        yield Step(title, Outcome.FAILED, str(error), error.hint, exit_code=error.exit_code)
        return
    yield Step(title, Outcome.DONE, f"{place.kind}")
    check = _check_of(place, create)
    failed = False
    try:
        for title, work in check.steps():
            step = Step(title, Outcome.NOT_TRIED) if failed else _step(title, work)
            failed = failed or step.outcome is Outcome.FAILED
            yield step
    finally:
        check.clean()


def _check_of(place: Place, create: bool) -> Check:
    if place.folder is not None:
        return FolderCheck(place.folder, create=create)
    if place.bucket:
        return BucketCheck(place, create=create)
    return _MemoryCheck()


class _MemoryCheck:
    """There is not much that can be wrong with memory."""

    def steps(self) -> Sequence[tuple[str, Work]]:
        return [("an account, as servers use it", lambda: use_account(MemoryStores))]

    def clean(self) -> None:
        """Nothing outlives the process."""


def _step(title: str, work: Work) -> Step:
    try:
        found = work()
    except AerogrammeError as error:
        return Step(title, Outcome.FAILED, str(error), error.hint, exit_code=error.exit_code)
    return Step(title, Outcome.WARNING if found.hint else Outcome.DONE, *found)
