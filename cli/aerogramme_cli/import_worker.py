"""A process of `import` that does one account after another: jobs come as lines on standard input, and what
becomes of them goes out as lines of JSON. It is started by import_many.py, and is no command."""

import json
import sys
from typing import Any

from aerogramme.errors import AerogrammeError
from aerogramme_cli import common, import_job


def main() -> None:
    """Until there are no more jobs."""
    try:
        for line in sys.stdin:
            _say(_do(line))
    except (KeyboardInterrupt, BrokenPipeError):  # who has started this is gone, or going
        sys.exit(1)


def _do(line: str) -> dict[str, Any]:
    job, where = import_job.Job.from_json(line)
    try:
        settings = common.settings(where.config, where.data, where.store)
        outcome = import_job.run(settings, job, lambda far: _say({"progress": far}))
    except AerogrammeError as error:
        return {"error": str(error), "hint": error.hint, "code": error.exit_code}
    return {"done": outcome.plain()}


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
