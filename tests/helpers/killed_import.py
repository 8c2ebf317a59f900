"""Imports that are killed: a program that does jobs of import_job.py, each in a child of its own, which
ends by a signal once it has used so much CPU time. So the moments are spread over the work, however busy
the machine is.

Lines in: [job, seconds or 0]; lines out: [exit code or minus the signal, CPU seconds].
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Imports:
    """The program, as tests use it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, job: str, seconds: float = 0) -> tuple[int, float]:
        """Exit code or minus the signal, and CPU seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([job, seconds]) + "\n")
        self._process.stdin.flush()
        code, used = json.loads(self._process.stdout.readline())
        return code, used


@contextlib.contextmanager
def imports() -> Iterator[Imports]:
    """The program, as long as it is needed."""
    command = [sys.executable, "-m", "tests.helpers.killed_import"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Imports(process)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    from aerogramme.migrate import moving, origin  # before the fork, for all children
    from aerogramme_cli.import_job import Job, run

    assert moving and origin
    for line in sys.stdin:
        text, seconds = json.loads(line)
        child = os.fork()
        if not child:
            if seconds:  # nobody handles SIGPROF: the process is gone, as by SIGKILL
                signal.setitimer(signal.ITIMER_PROF, seconds)
            _do(text, Job, run)
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, usage.ru_utime + usage.ru_stime]), flush=True)


def _do(text: str, job_type: Any, run: Any) -> None:
    code = 99
    try:
        job, where = job_type.from_json(text)
        code = 0 if run(where.settings(), job, lambda _: None).whole else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
