"""Options that say which of the records that were set aside are meant."""

import click
import pytest

from annals.workers.cli.choosing import filters

NOTHING = {"kind": None, "type_name": None, "aggregate": None, "since": None, "until": None}


def test_a_moment_between_microseconds_is_the_next_one_as_over_http():
    found = filters(**NOTHING | {"since": "2026-11-21T09:30:00.1234561+01:00", "until": "2026-11-22T00:00:00Z"})
    assert (found["since"], found["until"]) == ("2026-11-21T08:30:00.123457Z", "2026-11-22T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("today", "must be an RFC 3339 date-time"),
        ("2026-02-30T00:00:00Z", "must be a day of the calendar"),
        ("0001-01-01T00:00:00+01:00", "must be a moment between the years 1 and 9999"),
    ],
)
def test_what_is_no_moment_is_wrong_usage(text, problem):
    with pytest.raises(click.UsageError, match=f"--since '{text[:5]}.*': {problem}"):
        filters(**NOTHING | {"since": text})


def test_an_aggregate_is_named_by_kind_and_id():
    assert filters(**NOTHING | {"aggregate": "person/a/b"})["aggregate_id"] == "a/b"
    for wrong in ({"aggregate": "person"}, {"aggregate": "person/p-1", "kind": "agent"}):
        with pytest.raises(click.UsageError, match="KIND/ID"):
            filters(**NOTHING | wrong)
