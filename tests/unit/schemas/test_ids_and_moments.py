"""What an id may be, and which times are times."""

import pytest

from annals.schemas.values.ids import LONGEST_COMMAND_ID, id_problem
from annals.schemas.values.moments import bound_of, exact, issued_at_problem, moment_of, recorded_at


@pytest.mark.parametrize(
    "text", ["x", "x" * 256, "ä" * 256, "😀", "a b", "\u200bx", "x\u00a0y", "\ufffd", "\U0010fffd"]
)
def test_text_without_controls_is_an_id(text: str) -> None:
    assert id_problem(text) is None


@pytest.mark.parametrize("text", ["", "x" * 257, "😀" * 257])
def test_an_id_has_1_to_256_characters(text: str) -> None:
    assert id_problem(text) == f"must have 1 to 256 characters, this has {len(text)}"


def test_the_id_of_a_command_has_at_most_128() -> None:
    assert id_problem("x" * 128, LONGEST_COMMAND_ID) is None
    assert id_problem("x" * 129, LONGEST_COMMAND_ID) == "must have 1 to 128 characters, this has 129"


@pytest.mark.parametrize("where", ["{}", "x{}", "{}x", "x{}y"])
@pytest.mark.parametrize(
    "character",
    [
        "\x00",
        "\t",
        "\n",
        "\x1f",
        "\x7f",
        "\x80",
        "\x85",
        "\x9f",
        "\ud800",
        "\udfff",
        "\ufdd0",
        "\ufdef",
        "\ufffe",
        "\uffff",
    ]
    + [chr(plane << 16 | last) for plane in (1, 8, 16) for last in (0xFFFE, 0xFFFF)],
)
def test_a_control_a_surrogate_or_a_noncharacter_is_refused_anywhere(where: str, character: str) -> None:
    assert id_problem(where.format(character)) == "must not have control characters, surrogates or noncharacters"


@pytest.mark.parametrize("where", ["{}", "{}x", "x{}"])
@pytest.mark.parametrize("character", " \u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000")
def test_outer_white_space_of_any_kind_is_refused(where: str, character: str) -> None:
    assert id_problem(where.format(character)) == "must not begin or end with white space"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T09:30:00Z",
        "2026-11-21t09:30:00z",
        "2026-11-21T09:30:00.1Z",
        "2026-11-21T09:30:00.123456789012Z",
        "2026-11-21T09:30:00+01:00",
        "2026-11-21T09:30:00-23:59",
        "2026-11-21T09:30:00-00:00",
        "2016-12-31T23:59:60Z",
        "1990-12-31T15:59:60-08:00",
        "2024-02-29T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_an_rfc_3339_time_is_one(text: str) -> None:
    assert issued_at_problem(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026-11-21T09:30Z",
        "2026-11-21T09:30:00",
        "2026-11-21 09:30:00Z",
        "2026-11-21T09:30:00.Z",
        "2026-11-21T09:30:00,5Z",
        "2026-11-21T09:30:00+0100",
        "2026-11-21T09:30:00+24:00",
        "2026-11-21T24:00:00Z",
        "2026-11-21T09:60:00Z",
        "2026-11-21T09:30:61Z",
        "2026-11-21T09:30:00Z\n",
        "٢٠٢٦-11-21T09:30:00Z",
        "20261121T093000Z",
    ],
)
def test_any_other_form_is_none(text: str) -> None:
    assert issued_at_problem(text) == "must be an RFC 3339 date-time, as 2026-11-21T09:30:00Z"


@pytest.mark.parametrize("day", ["2026-02-29", "2026-04-31", "2026-13-01", "2026-00-01", "2026-01-00", "0000-01-01"])
def test_a_day_that_there_is_not_is_none(day: str) -> None:
    assert issued_at_problem(f"{day}T00:00:00Z") == "must be a day of the calendar"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00.000000Z"),
        ("2026-11-21t14:30:00.5+05:00", "2026-11-21T09:30:00.500000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
        ("2017-01-01T00:59:60.25+01:00", "2016-12-31T23:59:59.250000Z"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_a_date_time_is_a_moment_in_utc(text: str, moment: str) -> None:
    assert recorded_at(moment_of(text)) == moment


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:60-00:01", "yesterday", ""])
def test_what_is_no_moment_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        moment_of(text)


@pytest.mark.parametrize(
    ("text", "bound", "digits"),
    [
        ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00.000000Z", "2026-11-21T09:30:00Z"),
        ("2026-11-21T10:30:00.123456000+01:00", "2026-11-21T09:30:00.123456Z", "2026-11-21T09:30:00.123456Z"),
        ("2026-11-21T09:30:00.1234560001Z", "2026-11-21T09:30:00.123457Z", "2026-11-21T09:30:00.1234560001Z"),
        ("2026-12-31T23:59:59.9999999Z", "2027-01-01T00:00:00.000000Z", "2026-12-31T23:59:59.9999999Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.9999999Z"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.500000Z", "2016-12-31T23:59:59.5Z"),
    ],
)
def test_no_digit_of_a_time_is_lost_where_it_is_compared(text: str, bound: str, digits: str) -> None:
    assert recorded_at(bound_of(text)) == bound
    assert exact(text) == digits
