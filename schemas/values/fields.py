r"""The types of members, each once: what the domain calls text, slug, Date, email, country and so on.

Patterns are written so that Python and JSON Schema (ECMA 262) read them alike: no \d, \s or \Z, and an end that no
trailing line feed slips past. A description is the rest of the sentence "must be …".
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from annals.schemas.canonical import encode
from annals.schemas.values.constraints import checked, compared, listed
from annals.schemas.values.standards.calendar import DATE, TIME, date_problem, instant, time_problem
from annals.schemas.values.standards.countries import COUNTRIES, REGIONS
from annals.schemas.values.standards.identifiers import (
    LICENSE_REF,
    URL,
    cid_problem,
    lei_problem,
    license_problem,
    url_problem,
    without_names,
)
from annals.schemas.values.standards.language import language_problem
from annals.schemas.values.standards.licenses import LICENSES
from annals.schemas.values.standards.time_zones import TIME_ZONES

END: Final = r"$(?!\n)"
_SPACE: Final = (
    r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space without the controls
)
_LINE: Final = r"[^\u0000-\u001f\u007f-\u009f]*"
_LINES: Final = r"[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*"
_PLAIN: Final = "without control characters and outer white space"


def _text(longest: int, body: str, space: str, what: str) -> Meta:
    """Text of 1 to `longest` characters that neither begins nor ends with white space.

    The pattern is a check of ours, and not msgspec's: nearly all text is printable ASCII, which needs no search.
    """
    pattern = f"^(?![{space}]){body}(?<![{space}]){END}"
    description = f"{what} of 1 to {longest:,} characters {_PLAIN}"
    is_of_form = re.compile(pattern).search

    def check(text: str) -> str | None:
        if (text.isascii() and text.isprintable() and text[0] != " " != text[-1]) or is_of_form(text):
            return None
        return f"must be {description}"

    return Meta(
        min_length=1,
        max_length=longest,
        description=description,
        extra={"check": check},
        extra_json_schema={"pattern": pattern},
    )


def _pattern(pattern: str, what: str, longest: int | None = None) -> Meta:
    """Text of exactly this form."""
    return Meta(pattern=f"^{pattern}{END}", max_length=longest, description=what)


Text = Annotated[str, _text(200, _LINE, _SPACE, "text")]
LongText = Annotated[str, _text(10_000, _LINES, _SPACE + r"\n\t", "text (line feeds and tabs allowed inside)")]
Prompt = Annotated[str, _text(32_000, _LINES, _SPACE + r"\n\t", "text (line feeds and tabs allowed inside)")]
Slug = Annotated[
    str, _pattern("[a-z0-9][a-z0-9._-]{0,63}", "a slug: 1 to 64 of a-z 0-9 . _ - (a letter or digit first)")
]
# Noncharacters as in the wire's ids; those of the other planes are XFFFE and XFFFF too.
_NONCHARACTERS: Final = r"\ufdd0-\ufdef\ufffe\uffff" + "".join(
    chr(0x10000 * n + 0xFFFE + k) for n in range(1, 17) for k in (0, 1)
)
AggregateId = Annotated[str, _text(256, rf"[^\u0000-\u001f\u007f-\u009f{_NONCHARACTERS}]*", _SPACE, "an aggregate id")]

Date = Annotated[str, _pattern(DATE, "an RFC 3339 full-date"), checked(date_problem, format="date")]
Time = Annotated[
    str,
    _pattern(TIME, "an RFC 3339 date-time with Z"),
    checked(time_problem, format="date-time"),
    compared(instant),
]

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
Email = Annotated[
    str,
    _pattern(
        rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+",
        "an e-mail address (RFC 5321: dot-string of at most 64, @, host of two or more labels; at most 254 in all)",
        254,
    ),
    compared(str.lower),
]
Phone = Annotated[str, _pattern(r"\+[1-9][0-9]{1,14}", "a telephone number (E.164 with +)")]
# RFC 9110, section 4.1: senders and recipients should support at least 8,000 octets.
Url = Annotated[
    str,
    Meta(max_length=8_000, description="an https address (RFC 3986, at most 8,000)"),
    checked(url_problem, format="uri", pattern=f"^{without_names(URL)}{END}"),
]
Language = Annotated[
    str,
    Meta(max_length=200, description="a language tag (BCP 47)"),
    checked(language_problem, pattern=f"^[A-Za-z0-9]{{1,8}}(?:-[A-Za-z0-9]{{1,8}})*{END}"),
    compared(str.lower),
]
TimeZone = Annotated[str, listed(TIME_ZONES, "a time zone of the IANA database")]
Country = Annotated[str, listed(COUNTRIES, "a country of ISO 3166-1 (alpha-2)")]
Region = Annotated[str, listed(REGIONS, "a region of ISO 3166-2")]
License = Annotated[
    str,
    Meta(max_length=200, description="an SPDX licence id or LicenseRef-…"),
    checked(license_problem, anyOf=[{"enum": sorted(LICENSES)}, {"pattern": f"^{LICENSE_REF}{END}"}]),
]
_NAME: Final = "[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
MediaType = Annotated[str, _pattern(f"{_NAME}/{_NAME}", "a media type (RFC 6838 type/subtype)"), compared(str.lower)]
Lei = Annotated[str, _pattern("[0-9A-Z]{18}[0-9]{2}", "an LEI (ISO 17442)"), checked(lei_problem)]
ContentCid = Annotated[
    str, Meta(max_length=250, description="a CIDv1 in base32 text"), checked(cid_problem, pattern=f"^b[a-z2-7]+{END}")
]


def _from_to(low: int, high: int) -> Meta:
    return Meta(ge=low, le=high)


# A number is kept as it was sent: 1 stays an integer, 1.0 a float.
Number = int | float
Score = Annotated[
    Annotated[int, _from_to(0, 1)] | Annotated[float, _from_to(0, 1)],
    Meta(description="a number from 0 to 1"),
]
Latitude = Annotated[
    Annotated[int, _from_to(-90, 90)] | Annotated[float, _from_to(-90, 90)],
    Meta(description="a WGS 84 latitude, a number from -90 to 90"),
]
Longitude = Annotated[
    Annotated[int, _from_to(-180, 180)] | Annotated[float, _from_to(-180, 180)],
    Meta(description="a WGS 84 longitude, a number from -180 to 180"),
]
Count = Annotated[int, Meta(ge=0, description="an integer of 0 or more")]


MOST_BYTES: Final = "x-max-dag-cbor-bytes"
"""In JSON Schema, the limit of a free object: no standard keyword measures one."""


def json_key(value: Any) -> bytes:
    """The key to compare JSON values by: blind to the order of members, not to 1, 1.0 and true."""
    return msgspec.json.encode(value, order="deterministic")


def object_within(limit_bytes: int) -> Meta:
    """The mark of a free object: its largest size, measured as DAG-CBOR, and how two of them compare."""

    def check(value: dict[str, Any]) -> str | None:
        size = len(encode(value))
        return None if size <= limit_bytes else f"is {size:,} bytes as DAG-CBOR, more than {limit_bytes:,}"

    return Meta(
        description=f"an object of at most {limit_bytes:,} bytes as DAG-CBOR",
        extra={"check": check, "key": json_key},
        extra_json_schema={MOST_BYTES: limit_bytes},
    )
