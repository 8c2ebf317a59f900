"""Sizes and durations: what is read, what is refused, and that what is written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.config import DEFAULT_MESSAGE_SIZE
from aerogramme.mailbox.policy import (
    LARGEST_RETENTION,
    LEAST_RETENTION,
    Policy,
    parse_quota,
    parse_retention,
    quota_text,
)
from aerogramme.units import duration_text, parse_duration, parse_size, shown_size, size_text
from aerogramme.users.directory import User


def test_sizes():
    assert parse_size("1 KiB") == parse_size("1024B") == parse_size(1024) == parse_size("1K") == 1024
    assert parse_size("50 MiB") == DEFAULT_MESSAGE_SIZE
    assert (parse_size("5G"), parse_size("5 GB"), parse_size("2T")) == (5 << 30, 5 * 10**9, 2 << 40)
    for wrong in ("", "5", "5 g", "-1G", "1.5G", "5GiB ", "\u0665G", True, None, 1.5):
        with pytest.raises(ValueError, match="not a size"):
            parse_size(wrong)


def test_durations():
    assert [parse_duration(text) for text in ("90s", "90m", "12h", "30d", "2w", 3)] == [
        90,
        5400,
        43200,
        2592000,
        1209600,
        259200,
    ]
    for wrong in ("", "30", "d", "-1d", "1.5d", "1 year", "1d2h", True, None, 1.5):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(wrong)


@given(st.integers(0, 10**14))
def test_what_is_written_is_read_back(number):
    assert parse_size(size_text(number)) == number
    if number:
        assert parse_quota(quota_text(number)) == number
    seconds = number % 10**9
    assert parse_duration(duration_text(seconds)) == seconds


@given(st.integers(0, 10**14))
def test_a_size_that_is_shown_is_within_a_hundredth(octets):
    amount, unit = shown_size(octets).split()
    assert abs(float(amount) * parse_size(f"1{unit}") - octets) <= octets / 100


def test_sizes_as_they_are_shown():
    assert [shown_size(n) for n in (0, 1023, 1536, 25 << 20, 700 << 30, 5 << 30)] == [
        "0 B",
        "1023 B",
        "1.50 KiB",
        "25.0 MiB",
        "700 GiB",
        "5.00 GiB",
    ]


def test_policies():
    assert quota_text(None) == "none"
    assert parse_quota("none") is None
    for wrong in (0, -1, "0G", "None", True, ""):
        with pytest.raises(ValueError, match="a quota is a size"):
            parse_quota(wrong)
    assert parse_retention("24h") == LEAST_RETENTION
    assert parse_retention(3650) == LARGEST_RETENTION
    for outside in ("23h", "3651d", -1, 0):
        with pytest.raises(ValueError, match="from 1d to 3650d"):
            parse_retention(outside)


def test_a_user_has_what_is_its_own_and_else_what_all_have():
    default = Policy(86400, 1000)
    assert User("a@b", "a" * 32).policy(default) == default
    assert User("a@b", "a" * 32, quota=5, retention=7200).policy(default) == Policy(7200, 5)
    assert User("a@b", "a" * 32, quota=0).policy(default) == Policy(86400, None)
