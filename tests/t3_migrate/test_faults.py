"""Faults of a source: each is told once, and not a million times."""

import pytest

from aerogramme.migrate.sources.faults import Faults
from aerogramme.migrate.sources.source import Fault


def test_faults_are_told_once_each() -> None:
    faults = Faults()
    faults.extend(Fault(f"mail {number % 3}", "it is empty", "it is taken as it is") for number in range(10))
    assert [fault.origin for fault in faults] == ["mail 0", "mail 1", "mail 2"]


def test_of_faults_that_are_alike_some_are_told_and_all_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aerogramme.migrate.sources.faults._MOST", 3)
    faults = Faults()
    faults += [Fault(f"{number}", "no UID", f"it gets UID {number}") for number in range(9)]
    faults += [Fault(f"{number}", "it is broken", "it is left out", lost=True) for number in range(9)]
    faults += [Fault("x", "it is empty", "it is taken as it is")]
    assert [fault.what for fault in faults if not fault.lost] == [
        *["no UID"] * 3, "no UID; more like this are not told", "it is empty",
    ]  # fmt: skip
    assert sum(fault.lost for fault in faults) == 9
    report = Faults()
    report += faults
    assert report == faults
