"""A process that dies at a certain step of changing files: each call of the system is one."""

import os
from types import ModuleType
from typing import Any, BinaryIO

import pytest

from aerogramme.store.faults import Crash

STEPS = (
    *("open", "fsync", "fchmod", "fchown", "replace", "rename", "write", "unlink", "mkdir", "rmdir"),
    *("ftruncate", "utime"),
)


class FileSteps:
    """Counts the steps of `module`, and dies instead of the n-th (from 1), or in the middle of it if that is
    a write. With n = 0 it only counts."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = self.calls = 0
        monkeypatch.setattr(module, "os", _Os(self))
        monkeypatch.setattr(module, "open", self._open, raising=False)

    def begin(self, n: int) -> None:
        """The next n-th step is the last."""
        self.n, self.calls = n, 0

    def step(self) -> None:
        self.calls += 1
        if 0 < self.n <= self.calls:
            raise Crash

    def _open(self, descriptor: int, mode: str) -> "_File":
        return _File(self, open(descriptor, mode))


class _Os:
    """The module `os`, with the steps counted."""

    def __init__(self, steps: FileSteps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in STEPS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            try:
                self._steps.step()
            except Crash:
                if name == "write" and self._steps.calls == self._steps.n:
                    found(args[0], args[1][: len(args[1]) // 2])
                raise
            return found(*args, **options)

        return call


class _File:
    def __init__(self, steps: FileSteps, file: BinaryIO) -> None:
        self._steps, self._file = steps, file

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        try:
            self._steps.step()
        except Crash:
            self._file.write(data[: len(data) // 2])
            raise
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
