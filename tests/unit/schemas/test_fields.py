"""The types of members: what each takes and refuses, by the standard that it names."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest

from annals.schemas.data.complaints import complaints
from annals.schemas.data.validation import Validator
from annals.schemas.values import fields

CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "Text": (
        ["a", "a b", "ä\u200d", "x" * 200, "\U0001f600" * 200],
        ["", " a", "a ", "a\n", "\ta", "a\u00a0", "\u3000a", "a\x00b", "a\x85b", "x" * 201, None, 3, ["a"]],
    ),
    "LongText": (["a\nb\tc", "x" * 10_000], ["a\n", "\na", "a\rb", "x" * 10_001, "a\x0bb"]),
    "Prompt": (["a\nb", "x" * 32_000], ["x" * 32_001, "\x1b[0m"]),
    "Slug": (["a", "0", "a.b_c-d", "x" * 64], ["", "A", "-a", ".a", "a b", "x" * 65, "a\n", "ä"]),
    "AggregateId": (["p-1", "Ä", "x" * 256], ["", " p", "p\x7f", "x" * 257, "\ufdd0", "a\uffff", "a\U0001fffe"]),
    "Date": (
        ["2026-11-21", "2024-02-29", "0001-01-01"],
        ["2026-02-29", "2026-13-01", "2026-1-1", "20261121", "0000-01-01", "2026-11-21\n", "2026-W01-1", 20261121],
    ),
    "Time": (
        ["2026-11-21T09:30:00Z", "2026-11-21T09:30:00.123456789Z", "2016-12-31T23:59:60Z", "2015-06-30T23:59:60.5Z"],
        [
            "2026-11-21T09:30:00",
            "2026-11-21T09:30:00+00:00",
            "2026-11-21t09:30:00z",
            "2026-11-21 09:30:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T09:60:00Z",
            "2026-11-21T23:59:60Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T09:30:00.Z",
        ],
    ),
    "Email": (
        ["a@b.c", "a.b+c@x-y.example", "!#$%&'*+/=?^_`{|}~-@a.b", f"{'x' * 64}@example.org", "A@EXAMPLE.ORG"],
        [
            "a",
            "@b.c",
            "a@b",
            "a@b.",
            "a@.c",
            ".a@b.c",
            "a.@b.c",
            "a..b@c.d",
            "a@-b.c",
            "a@b-.c",
            "a b@c.d",
            '"a"@b.c',
            "a@[127.0.0.1]",
            "ä@b.c",
            "a@ä.de",
            f"{'x' * 65}@example.org",
            f"a@{'x' * 64}.org",
            f"a@{'.'.join(['x' * 60] * 5)}",
            "a@b.c\n",
            "a@b@c.d",
        ],
    ),
    "Phone": (
        ["+442071838750", "+12", "+123456789012345"],
        ["442071838750", "+0123", "+1", "+1234567890123456", "+1 2"],
    ),
    "Url": (
        [
            "https://example.org",
            "HTTPS://example.org:8443/a/b;c?d=e&f#g/h?",
            "https://[2001:db8::1]/",
            "https://127.0.0.1",
            "https://a/%41",
            "https://example.org?x",
        ],
        [
            "http://example.org",
            "https:///a",
            "https://",
            "https://u:p@example.org",
            "https://a b",
            "https://a/%4",
            "https://[::g]/",
            "https://[1]/",
            "https://a/|",
            "https://ä.de",
            "https://a:b/",
            "https://a/#b#c",
            "https://a\n",
            f"https://a/{'x' * 8_000}",
        ],
    ),
    "Language": (
        [
            "en",
            "EN-gb",
            "zh-Hant-TW",
            "zh-cmn-Hans",
            "sl-rozaj-biske",
            "de-CH-1901",
            "es-419",
            "x-ours",
            "i-klingon",
            "qaa-Qaaa-QM",
            "de-u-co-phonebk",
            "en-a-bbb-x-a",
        ],
        [
            "",
            "e",
            "english",
            "xq",
            "en_GB",
            "en-XQ1",
            "en-Xxxx",
            "en-QA1",
            "de-1901-1901",
            "de-u-aa-u-bb",
            "fr-cmn",
            "en-",
            "en-UU",
            "en-abcde",
        ],
    ),
    "TimeZone": (
        ["Europe/London", "UTC", "America/Argentina/Ushuaia"],
        ["europe/london", "Europe/Nowhere", "CET+1", ""],
    ),
    "Country": (["GB", "DE"], ["gb", "UK", "XX", "GBR", ""]),
    "Region": (["GB-ENG", "US-CA"], ["GB", "GB-XXX", "us-ca"]),
    "License": (
        ["MIT", "Apache-2.0", "GPL-2.0+", "LicenseRef-a.B-1"],
        ["mit", "Apache", "LicenseRef-", "LicenseRef-a b", "MIT OR BSD"],
    ),
    "MediaType": (
        ["text/plain", "application/vnd.api+json"],
        ["text", "text/", "/plain", "text/plain; charset=utf-8", "te xt/plain", f"text/{'x' * 128}"],
    ),
    "Lei": (
        ["5493001KJTIIGC8Y1R12", "213800WSGIIZCXF1P572"],
        ["5493001KJTIIGC8Y1R13", "5493001kjtiigc8y1r12", "5493001KJTIIGC8Y1R1"],
    ),
    "ContentCid": (
        [
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
            "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        ],
        [
            "",
            "b",
            "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
            "BAFKREIGH2AKISCAILDCQABSYG3DFR6CHU3FGPREGIYMSCK7E7AQA4S52ZY",
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52z",
            "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zz",
            "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
            "b10000000",
            "babyreaih",  # version 0
            "bajyreaih",  # version 2
            "bahyqaeqba4",  # long varint
            "bafyq",  # cut
            "bafyreaqh",  # short digest
            "bafyreaah",  # long digest
            "bagaibaeaqcaibaeaqa",  # endless
        ],
    ),
    "Score": ([0, 1, 0.5, 1.0], [-0.1, 1.1, 2, True, "0.5", None]),
    "Latitude": ([-90, 90.0, 0], [-90.1, 91, False]),
    "Longitude": ([-180, 180.0, 0], [-180.1, 181]),
    "Count": ([0, 2**63], [-1, 1.0, True, "1"]),
}


PERSONAL = {"Text", "Date", "Email", "Phone"}
"""What persons' members are made of: a message never repeats such a value."""
PATTERNS = {"Text", "LongText", "Slug", "Email", "Phone"}
"""Types that a pattern says wholly."""


def holder(name: str) -> type[msgspec.Struct]:
    return msgspec.defstruct("Holder", [("x", getattr(fields, name))])


GOOD = [(name, value) for name, (good, _) in CASES.items() for value in good]
BAD = [(name, value) for name, (_, bad) in CASES.items() for value in bad]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_value_of_the_standard_is_taken_as_it_is(name: str, value: Any) -> None:
    parsed: Any = Validator(holder(name)).parse({"x": value})
    assert not isinstance(parsed, list), parsed
    assert repr(parsed.x) == repr(value)
    assert list(complaints(holder(name), {"x": value}, "data")) == []


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_against_the_standard_is_refused_with_its_path(name: str, value: Any) -> None:
    problems = Validator(holder(name)).parse({"x": value})
    assert isinstance(problems, list)
    assert [path for path, _ in problems] == ["data.x"]
    if name in PERSONAL and isinstance(value, str) and len(value) > 4:
        assert all(value not in message for _, message in problems)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_json_schema_takes_what_the_type_takes(name: str, value: Any) -> None:
    schema = msgspec.json.schema(holder(name))
    jsonschema.validate({"x": json.loads(json.dumps(value))}, schema)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value in BAD if name in PATTERNS])
def test_json_schema_refuses_what_a_pattern_refuses(name: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"x": value}, msgspec.json.schema(holder(name)))
