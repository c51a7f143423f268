"""Moments of RFC 3339, compared exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from annals.schemas.values.standards.calendar import day_of, instant, is_after

NOON = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("2026-01-01T12:00:00Z", False),
        ("2026-01-01T12:00:00.5Z", False),
        ("2026-01-01T12:00:00.500000Z", False),
        ("2026-01-01T12:00:00.5000001Z", True),
        ("2026-01-01T12:00:00.50000000000001Z", True),
        ("2026-01-01T12:00:00.6Z", True),
        ("2026-01-01T12:00:01Z", True),
        ("2016-12-31T23:59:60Z", False),
    ],
)
def test_a_time_is_after_now_by_the_last_digit(text: str, after: bool) -> None:  # noqa: FBT001 -- a column of a table
    assert is_after(text, NOON) is after
    assert is_after(text, NOON.astimezone(timezone(timedelta(hours=9)))) is after


def test_the_same_moment_written_otherwise_is_the_same() -> None:
    assert instant("2026-01-01T12:00:00.50Z") == instant("2026-01-01T12:00:00.5Z")
    assert instant("2026-01-01T12:00:00Z") == instant("2026-01-01T12:00:00.000Z")
    assert instant("2016-12-31T23:59:59.9Z") < instant("2016-12-31T23:59:60Z")


def test_a_day_is_the_day_in_utc() -> None:
    assert day_of(datetime(2026, 1, 1, 23, tzinfo=UTC)) == "2026-01-01"
    assert day_of(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=9)))) == "2025-12-31"
