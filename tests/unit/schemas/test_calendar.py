"""Moments of RFC 3339, compared exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.schemas.values.moments import issued_at_problem
from annals.schemas.values.standards.calendar import date_problem, day_of, instant, is_after, time_problem

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


@pytest.mark.parametrize("text", ["9999-12-31T23:59:60Z", "9999-12-31T23:59:60.5Z", "0000-12-31T23:59:60Z"])
def test_a_second_beyond_the_calendar_is_no_moment_of_it(text: str) -> None:
    assert time_problem(text) == "is no moment of the calendar (RFC 3339 date-time)"


@given(
    st.builds(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z".format,
        st.sampled_from((0, 1, 1972, 2026, 9998, 9999)),
        *[st.integers(0, most) for most in (13, 32, 24, 60, 61)],
        st.sampled_from(("", ".0", "." + "9" * 32)),
    )
)
def test_whatever_has_the_form_of_a_time_is_one_or_none(text: str) -> None:
    problem = time_problem(text)
    if problem is None:
        assert is_after(text, NOON) is (instant(text) > instant("2026-01-01T12:00:00.5Z"))
    assert date_problem(text[:10]) is None or problem is not None
    issued_at_problem(text)
    issued_at_problem(text[:-1] + "-23:59")


def test_a_day_is_the_day_in_utc() -> None:
    assert day_of(datetime(2026, 1, 1, 23, tzinfo=UTC)) == "2026-01-01"
    assert day_of(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=9)))) == "2025-12-31"
