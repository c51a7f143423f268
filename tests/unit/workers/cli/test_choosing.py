"""Options that say which of the records that were set aside are meant."""

import os

import click
import pytest

from annals.workers.cli.choosing import filters, login, place_of

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


def test_a_user_without_a_name_is_known_by_its_number(monkeypatch):
    """As in a container that runs as a mere number; goes red by a KeyError, which is shown as a defect."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert login() == "uid 2147483641"


@pytest.mark.parametrize("cursor", ["", "1", "1-2-3", "1-x", "-1-2", "1-" + "9" * 5_000, "1-" + "9" * 20, "1--2"])
def test_a_cursor_that_no_page_gave_is_wrong_usage(cursor):
    """Goes red at very many digits, which Python converts to no number."""
    with pytest.raises(click.UsageError, match="is none that a page gave"):
        place_of(cursor, 2)


def test_a_cursor_of_a_page_is_its_place():
    assert place_of("3-9223372036854775807", 2) == [3, 2**63 - 1]
