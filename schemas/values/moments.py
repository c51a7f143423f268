"""The two forms of time on the wire: `recorded_at`, always of one shape, and `issued_at`, any RFC 3339 date-time."""

import re
from datetime import UTC, date, datetime
from typing import Final

ISSUED_AT: Final = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_ISSUED_AT: Final = re.compile(ISSUED_AT)
_LEAP_SECOND: Final = re.compile(r"([Tt][0-9]{2}:[0-9]{2}):60")


def recorded_at(moment: datetime) -> str:
    """Return an aware time as a block has it: RFC 3339, UTC, six digits of microseconds, ``Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def issued_at_problem(text: str) -> str | None:
    """Return what keeps text from being an RFC 3339 date-time, None if nothing does.

    Any offset, any number of digits, `t` and `z` are allowed, and a leap second (RFC 3339, section 5.6), which is not
    held against a table of those that there were.
    """
    form = _ISSUED_AT.fullmatch(text)
    if form is None:
        return "must be an RFC 3339 date-time, as 2026-11-21T09:30:00Z"
    try:
        date.fromisoformat(form[1])
    except ValueError:
        return "must be a day of the calendar"
    return None


def moment_of(text: str) -> datetime:
    """Return the moment of an RFC 3339 date-time in UTC, to the microsecond; a leap second is the second before it.

    Raises:
        ValueError: it is none, or not between the years 1 and 9999 of UTC.
    """
    problem = issued_at_problem(text)
    if problem is not None:
        raise ValueError(problem)
    try:
        return datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text).upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a moment between the years 1 and 9999") from None
