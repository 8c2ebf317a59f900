"""A process of `import` that does one account after another: jobs come as lines on standard input, and what
becomes of them goes out as lines of JSON. It is started by import_many.py, and is no command."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from aerogramme.errors import AerogrammeError
from aerogramme_cli import import_job

if TYPE_CHECKING:
    from aerogramme.migrate.moving import Outcome

PERIOD = 0.2  # seconds between two lines that say how far a job has come


def main() -> None:
    """Until there are no more jobs."""
    try:
        for line in sys.stdin:
            _say(_do(line))
    except (KeyboardInterrupt, BrokenPipeError):  # who has started this is gone, or going
        sys.exit(1)


def _do(line: str) -> dict[str, Any]:
    last = 0.0

    def told(outcome: "Outcome") -> None:
        nonlocal last
        if (now := time.monotonic()) - last > PERIOD:
            last = now
            _say({"progress": import_job.progress_of(outcome)})

    job, where = import_job.Job.from_json(line)
    try:
        outcome = import_job.run(where.settings(), job, told)
    except AerogrammeError as error:
        return {"error": str(error), "hint": error.hint, "code": error.exit_code}
    return {"done": outcome.plain()}


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
