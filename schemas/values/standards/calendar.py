"""Dates and times of RFC 3339: text on the wire and in the state, so that what was sent is what is kept."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME: Final = DATE + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,32})?Z"
_LEAP: Final = re.compile(r"-(06-30|12-31)T23:59:60(\.[0-9]+)?Z\Z")


def date_problem(text: str) -> str | None:
    """What is wrong with text that looks like `DATE`: a day that the calendar does not have."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return "is no day of the calendar (RFC 3339 full-date)"
    return None


def time_problem(text: str) -> str | None:
    """What is wrong with text that looks like `TIME`: a moment that does not exist."""
    try:
        instant(text)
    except ValueError:
        return "is no moment of the calendar (RFC 3339 date-time)"
    return None


def instant(text: str) -> tuple[datetime, str]:
    """The moment that `text` names, to compare by: its second in UTC and the digits of its fraction.

    A fraction of any length compares exactly (`.5` is `.500`). A leap second (RFC 3339, section 5.7: the last second of
    June or December) comes after every moment of the second before it and is the second after it.

    Raises:
        ValueError: it names no moment of the calendar.
    """
    fraction = text[20:-1].rstrip("0")
    if _LEAP.search(text):
        try:
            return datetime.fromisoformat(text[:17] + "59+00:00") + timedelta(seconds=1), fraction
        except OverflowError:
            raise ValueError("the calendar ends before this second") from None
    return datetime.fromisoformat(text[:19] + "+00:00"), fraction


def is_after(text: str, now: datetime) -> bool:
    """Whether the RFC 3339 time lies after `now` (aware)."""
    second, fraction = instant(text)
    return (second, fraction.ljust(9, "0")) > (now.astimezone(UTC).replace(microsecond=0), f"{now.microsecond:06}000")


def day_of(now: datetime) -> str:
    """The UTC day of `now` (aware), comparable with a full-date as text."""
    return now.astimezone(UTC).date().isoformat()
