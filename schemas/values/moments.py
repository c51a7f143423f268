"""The two forms of time on the wire: `recorded_at`, always of one shape, and `issued_at`, any RFC 3339 date-time."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

ISSUED_AT: Final = (
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_ISSUED_AT: Final = re.compile(ISSUED_AT)
_FRACTION: Final = re.compile(r"\.([0-9]+)")
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_LEAP_SECOND: Final = re.compile(r"([Tt][0-9]{2}:[0-9]{2}):60")


def recorded_at(moment: datetime) -> str:
    """Return an aware time as a block has it: RFC 3339, UTC, six digits of microseconds, ``Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def unix_ms(moment: datetime) -> int:
    """Return an aware time in whole milliseconds since 1970, as Kafka has times."""
    return int(moment.timestamp() * 1000)


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
    """Return the moment of an RFC 3339 date-time in UTC, down to the microsecond; a leap second is the one before it.

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


def bound_of(text: str) -> datetime:
    """Return the first microsecond that is not before a date-time: what has microseconds is compared with it exactly.

    Raises:
        ValueError: as `moment_of`.
    """
    moment = moment_of(text)
    is_between = any(digit != "0" for digit in _fraction(text)[6:])
    return moment + _MICROSECOND if is_between and moment < _LAST else moment


def exact(text: str) -> str:
    """Return a date-time in UTC, ending in Z, with all digits that its seconds have.

    Raises:
        ValueError: as `moment_of`.
    """
    seconds = moment_of(_FRACTION.sub("", text)).replace(tzinfo=None).isoformat()
    digits = _fraction(text).rstrip("0")
    return f"{seconds}.{digits}Z" if digits else f"{seconds}Z"


def _fraction(text: str) -> str:
    """Return the digits of the seconds' fraction."""
    found = _FRACTION.search(text)
    return "" if found is None else found[1]
