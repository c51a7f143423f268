"""Commands of every bad kind, and some that only look it, each with its exact answer: for unit and broker tests.

All are for a person that does not exist yet, and none knows of another: the command `name` is for the aggregate
`p-name`, which is also its key, unless the case is about just that.
"""

import json
from typing import Final

from command_cases import (
    ADA,
    MAX_COMMAND_BYTES,
    Accepted,
    Case,
    DeadLettered,
    Rejected,
    binary,
    case,
    deep,
    invalid,
    raw,
    structured,
    whole,
)

MEMBERS: Final = (
    "id, type, aggregate_id, data, expected_version, expected_head, correlation_id, causation_id, actor, issued_at"
)
CID: Final = "bafyr4ierftql3cjq5kxfnrgrrkrixvg3jll3ewuwvysclwxufzvjuujqsu"

REQUIRED: Final = "is required"
NOT_TEXT: Final = "must be text"
NO_TEXT: Final = "must be text of 1 to 200 characters without control characters and outer white space"
NO_VERSION: Final = 'must be an integer from 0, "any" or "exists"'
NO_INTEGER: Final = "must be from -2^63 to 2^64-1: an integer outside has no place in a block"
OVERFLOWS: Final = "must be within binary64: this overflows"
NEGATIVE_ZERO: Final = "must not be -0.0: canonical DAG-CBOR has no negative zero"
TWICE: Final = "is named twice: only one can be meant"
SURROGATE: Final = "must be Unicode: this has a lone surrogate"
SURROGATE_NAME: Final = "must be named in Unicode: its name has a lone surrogate"
RESERVED: Final = "must not begin with $: such names are reserved"
TOO_DEEP: Final = "must not nest beyond 64 levels, the command's own included"
OUTER_SPACE: Final = "must not begin or end with white space"
CONTROLS: Final = "must not have control characters, surrogates or noncharacters"
NO_MOMENT: Final = "must be an RFC 3339 date-time, as 2026-11-21T09:30:00Z"
NO_MEMBER: Final = f"is not a member here; the members are {MEMBERS}"
NO_PERSON_MEMBER: Final = (
    "is not a member here; the members are name, preferred_name, birth_date, email, phone, languages, time_zone"
)
OTHER_CID: Final = "must be a CID: a CID here begins with bafyr4i (CIDv1, dag-cbor, BLAKE3-256, base32 in lower case)"

UNREADABLE: Final = (
    raw("null-value", DeadLettered("not_json"), None),
    raw("no-bytes", DeadLettered("not_json"), b""),
    raw("only-space", DeadLettered("not_json"), b" \n"),
    raw("no-json", DeadLettered("not_json"), b"RegisterPerson"),
    raw("cut-off", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "Ada'),
    raw("trailing-bytes", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "Ada"}} x'),
    raw("two-documents", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "Ada"}}{}'),
    raw("trailing-comma", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "Ada"},}'),
    raw("single-quotes", DeadLettered("not_json"), b"{'id': 'single-quotes'}"),
    raw("a-comment", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "Ada"} /* so */}'),
    raw("control-in-text", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": "A\nda"}}'),
    raw("leading-zero", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": 01}}'),
    raw("bad-escape", DeadLettered("not_json"), r'{ENVELOPE, "data": {"name": "\x41"}}'),
    raw("nan", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": NaN}}'),
    raw("infinity", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": Infinity}}'),
    raw("minus-infinity", DeadLettered("not_json"), '{ENVELOPE, "data": {"name": -Infinity}}'),
    raw("byte-order-mark", DeadLettered("not_json"), b"\xef\xbb\xbf" + json.dumps(whole("byte-order-mark")).encode()),
    raw("utf-16", DeadLettered("not_json"), json.dumps(whole("utf-16")).encode("utf-16")),
    raw("latin-1", DeadLettered("not_json"), b'{"id": "latin-1", "aggregate_id": "p-latin-1", "actor": "\xe4"}'),
    raw("surrogate-in-utf-8", DeadLettered("not_json"), b'{"id": "surrogate-in-utf-8", "actor": "\xed\xa0\x80"}'),
    raw("overlong-utf-8", DeadLettered("not_json"), b'{"id": "overlong-utf-8", "actor": "\xc0\xaf"}'),
    raw("a-block", DeadLettered("not_json"), bytes.fromhex("a162696461 78".replace(" ", ""))),
    raw("a-million-brackets", DeadLettered("not_json"), "[" * MAX_COMMAND_BYTES),
    raw("a-list", DeadLettered("not_an_object"), b"[1, 2]"),
    raw("a-text", DeadLettered("not_an_object"), b'"RegisterPerson"'),
    raw("a-number", DeadLettered("not_an_object"), b"1e400"),
    raw("json-null", DeadLettered("not_an_object"), b"null"),
    raw("a-deep-list", DeadLettered("not_an_object"), deep(400_000)),
    raw("an-empty-object", DeadLettered("no_id"), b"{}"),
    case("no-id", DeadLettered("no_id"), id=...),
    case("id-null", DeadLettered("no_id"), id=None),
    case("id-number", DeadLettered("no_id"), id=7),
    case("id-empty", DeadLettered("no_id"), id=""),
    case("id-of-129", DeadLettered("no_id"), id="x" * 129),
    case("id-outer-space", DeadLettered("no_id"), id="x "),
    case("id-no-break-space", DeadLettered("no_id"), id="\u00a0x"),
    case("id-control", DeadLettered("no_id"), id="x\u0000y"),
    case("id-c1-control", DeadLettered("no_id"), id="x\u0085y"),
    case("id-surrogate", DeadLettered("no_id"), id="x\ud800"),
    case("id-noncharacter", DeadLettered("no_id"), id="\ufdd0"),
    case("id-noncharacter-beyond", DeadLettered("no_id"), id="x\U0010fffe"),
    case("no-aggregate-id", DeadLettered("no_aggregate_id"), aggregate_id=...),
    case("aggregate-id-list", DeadLettered("no_aggregate_id"), aggregate_id=["p-1"]),
    case("aggregate-id-empty", DeadLettered("no_aggregate_id"), aggregate_id=""),
    case("aggregate-id-of-257", DeadLettered("no_aggregate_id"), aggregate_id="x" * 257),
    case("aggregate-id-tab", DeadLettered("no_aggregate_id"), aggregate_id="a\tb"),
    raw("other-key", DeadLettered("key_mismatch"), '{ENVELOPE, "data": {"name": "Ada"}}', key=b"p-2"),
    raw("empty-key", DeadLettered("key_mismatch"), '{ENVELOPE, "data": {"name": "Ada"}}', key=b""),
    raw("key-of-no-utf-8", DeadLettered("key_mismatch"), '{ENVELOPE, "data": {"name": "Ada"}}', key=b"\xff"),
    raw(
        "key-composed-otherwise",
        DeadLettered("key_mismatch"),
        '{"id": "x", "aggregate_id": "A\u0308"}',
        key="Ä".encode(),
    ),
    raw("one-byte-over", DeadLettered("too_large"), b" " * (MAX_COMMAND_BYTES + 1)),
    raw(
        "headers-over",
        DeadLettered("too_large"),
        '{ENVELOPE, "data": {"name": "Ada"}}',
        headers=(("x", b"x" * 65_536),),
    ),
)

INVALID: Final = (
    case("no-type", invalid(("type", REQUIRED)), type=...),
    case("type-null", invalid(("type", REQUIRED)), type=None),
    case("type-number", invalid(("type", NOT_TEXT)), type=1),
    raw(
        "type-surrogate",
        invalid(("type", SURROGATE)),
        r'{ENVELOPE, "type": "\ud800", "data": {}}'.replace(
            "ENVELOPE", '"id": "type-surrogate", "aggregate_id": "p-type-surrogate"'
        ),
    ),
    case("no-data", invalid(("data", REQUIRED)), data=...),
    case("data-null", invalid(("data", REQUIRED)), data=None),
    case("data-list", invalid(("data", "must be an object")), data=[ADA]),
    case("data-text", invalid(("data", "must be an object")), data="Ada"),
    case("unknown-member", invalid(("issuedAt", NO_MEMBER)), issuedAt="now"),
    case(
        "a-cloudevent-unannounced",
        invalid(("specversion", NO_MEMBER)),
        specversion="1.0",
    ),
    case("version-true", invalid(("expected_version", NO_VERSION)), expected_version=True),
    case("version-float", invalid(("expected_version", NO_VERSION)), expected_version=3.0),
    case("version-text", invalid(("expected_version", NO_VERSION)), expected_version="3"),
    case("version-word", invalid(("expected_version", NO_VERSION)), expected_version="none"),
    case("version-negative", invalid(("expected_version", NO_VERSION)), expected_version=-1),
    case("version-list", invalid(("expected_version", NO_VERSION)), expected_version=[0]),
    case("version-2^64", invalid(("expected_version", NO_INTEGER)), expected_version=2**64),
    case("head-number", invalid(("expected_head", "must be the text of a CID")), expected_head=1),
    case(
        "head-sha-256",
        invalid(
            (
                "expected_head",
                OTHER_CID,
            )
        ),
        expected_head="bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae",
    ),
    case(
        "head-upper-case",
        invalid(
            (
                "expected_head",
                OTHER_CID,
            )
        ),
        expected_head=CID.upper(),
    ),
    case(
        "head-cut-off",
        invalid(("expected_head", "must be a CID: a CID here has 59 characters, this has 58")),
        expected_head=CID[:-1],
    ),
    case(
        "correlation-empty", invalid(("correlation_id", "must have 1 to 256 characters, this has 0")), correlation_id=""
    ),
    case(
        "causation-of-257",
        invalid(("causation_id", "must have 1 to 256 characters, this has 257")),
        causation_id="x" * 257,
    ),
    case("actor-number", invalid(("actor", NOT_TEXT)), actor=5),
    case("actor-outer-space", invalid(("actor", OUTER_SPACE)), actor=" hr"),
    case("actor-line-feed", invalid(("actor", CONTROLS)), actor="h\nr"),
    case("issued-at-number", invalid(("issued_at", NOT_TEXT)), issued_at=1763717400),
    case("issued-at-no-offset", invalid(("issued_at", NO_MOMENT)), issued_at="2026-11-21T09:30:00"),
    case("issued-at-day", invalid(("issued_at", NO_MOMENT)), issued_at="2026-11-21"),
    case("issued-at-no-day", invalid(("issued_at", "must be a day of the calendar")), issued_at="2026-02-29T09:30:00Z"),
    case("integer-2^64", invalid(("data.name", NO_INTEGER)), data={"name": 2**64}),
    case("integer-below", invalid(("data.name", NO_INTEGER)), data={"name": -(2**63) - 1}),
    raw(
        "integer-of-5000-digits", invalid(("data.name", NO_INTEGER)), '{ENVELOPE, "data": {"name": ' + "1" * 5000 + "}}"
    ),
    raw("float-overflow", invalid(("data.name", OVERFLOWS)), '{ENVELOPE, "data": {"name": 1e400}}'),
    raw("float-negative-zero", invalid(("data.name", NEGATIVE_ZERO)), '{ENVELOPE, "data": {"name": -0.0}}'),
    raw("float-underflow", invalid(("data.name", NEGATIVE_ZERO)), '{ENVELOPE, "data": {"name": -1e-400}}'),
    raw("doubled-member", invalid(("type", TWICE)), '{ENVELOPE, "type": "RegisterPerson", "data": {"name": "Ada"}}'),
    raw("doubled-data", invalid(("data", TWICE)), '{ENVELOPE, "data": {"name": "Ada"}, "data": {"name": "Ada"}}'),
    raw("doubled-in-data", invalid(("data.name", TWICE)), '{ENVELOPE, "data": {"name": "Ada", "name": "Eva"}}'),
    raw("doubled-by-escape", invalid(("data.name", TWICE)), r'{ENVELOPE, "data": {"name": "Ada", "n\u0061me": "Eva"}}'),
    raw("doubled-deep-down", invalid(("data.a[1].b", TWICE)), '{ENVELOPE, "data": {"a": [0, {"b": 1, "b": 1}]}}'),
    raw("doubled-id", invalid(("id", TWICE)), '{"id": "x", ENVELOPE, "data": {"name": "Ada"}}'),
    raw("lone-surrogate", invalid(("data.name", SURROGATE)), r'{ENVELOPE, "data": {"name": "\ud800"}}'),
    raw("lone-low-surrogate", invalid(("data.name", SURROGATE)), r'{ENVELOPE, "data": {"name": "A\uDC00"}}'),
    raw("surrogate-in-a-name", invalid((r"data.\udfff", SURROGATE_NAME)), r'{ENVELOPE, "data": {"\udfff": 1}}'),
    case("reserved-member", invalid(("data.$ref", RESERVED)), data={"name": "Ada", "$ref": "x"}),
    case("sealed-member", invalid(("data.name.$sealed", RESERVED)), data={"name": {"$sealed": {}}}),
    raw("reserved-by-escape", invalid(("data.$x", RESERVED)), r'{ENVELOPE, "data": {"\u0024x": 1}}'),
    raw("nested-65", invalid(("data", TOO_DEEP)), f'{{ENVELOPE, "data": {{"name": {deep(63)}}}}}'),
    raw("nested-200000", invalid(("data", TOO_DEEP)), f'{{ENVELOPE, "data": {{"name": {deep(200_000)}}}}}'),
    raw(
        "nested-elsewhere",
        invalid(("x", TOO_DEEP), ("x", NO_MEMBER)),
        f'{{ENVELOPE, "data": {{}}, "x": {deep(64)}}}',
    ),
    raw("nested-64", invalid(("data.name", NO_TEXT)), f'{{ENVELOPE, "data": {{"name": {deep(62)}}}}}'),
    case(
        "thirty-errors",
        invalid(*[(f"data.a[{index}].$", RESERVED) for index in range(30)]),
        data={"a": [{"$": 1}] * 30},
    ),
    case("name-missing", invalid(("data.name", REQUIRED)), data={}),
    case("name-null", invalid(("data.name", NO_TEXT)), data={"name": None}),
    case("name-number", invalid(("data.name", NO_TEXT)), data={"name": 1}),
    case("name-empty", invalid(("data.name", NO_TEXT)), data={"name": ""}),
    case("name-outer-space", invalid(("data.name", NO_TEXT)), data={"name": " Ada"}),
    case("name-of-201", invalid(("data.name", NO_TEXT)), data={"name": "x" * 201}),
    case("name-of-a-megabyte", invalid(("data.name", NO_TEXT)), data={"name": "x" * (MAX_COMMAND_BYTES - 130)}),
    case(
        "unknown-in-data",
        invalid(
            (
                "data.shoe_size",
                NO_PERSON_MEMBER,
            )
        ),
        data={**ADA, "shoe_size": 38},
    ),
)

REFUSED: Final = (
    case("of-another-kind", Rejected("unknown_command", {"type": "RegisterOrganization"}), type="RegisterOrganization"),
    case("type-in-lower-case", Rejected("unknown_command", {"type": "registerPerson"}), type="registerPerson"),
    case("type-empty", Rejected("unknown_command", {"type": ""}), type=""),
    case(
        "type-unknown-before-invalid",
        Rejected("unknown_command", {"type": "No"}),
        type="No",
        data=[],
        expected_version=-1,
    ),
    case("version-of-now", Rejected("version_conflict", {"expected": 3, "actual": 0}), expected_version=3),
    case(
        "version-2^64-1", Rejected("version_conflict", {"expected": 2**64 - 1, "actual": 0}), expected_version=2**64 - 1
    ),
    case("must-exist", Rejected("version_conflict", {"expected": "exists", "actual": 0}), expected_version="exists"),
    case("head-of-nothing", Rejected("head_conflict", {"expected": CID, "actual": None}), expected_head=CID),
    case(
        "not-yet-there",
        Rejected("invalid_transition", {"status": "absent", "command": "RenamePerson"}),
        type="RenamePerson",
    ),
    case(
        "born-tomorrow",
        Rejected("rule_violated", {"rule": "birth_in_future"}),
        data={**ADA, "birth_date": "2999-01-01"},
    ),
)

CLOUDEVENTS: Final = (
    structured("structured", Accepted(), time="2026-11-21T09:30:00Z", expectedversion=0, correlationid="k", foo="bar"),
    structured(
        "structured-version-as-text", Accepted(), expectedversion="0", dataschema=None, datacontenttype="text/json"
    ),
    structured("structured-media-type", Accepted(), datacontenttype="application/vnd.person+json; charset=utf-8"),
    structured("structured-0.3", DeadLettered("bad_cloudevent"), specversion="0.3"),
    structured("structured-no-specversion", DeadLettered("bad_cloudevent"), specversion=...),
    structured("structured-no-id", DeadLettered("bad_cloudevent"), id=...),
    structured("structured-id-number", DeadLettered("bad_cloudevent"), id=7),
    structured("structured-no-type", DeadLettered("bad_cloudevent"), type=...),
    structured("structured-no-subject", DeadLettered("bad_cloudevent"), subject=...),
    structured("structured-xml", DeadLettered("bad_cloudevent"), datacontenttype="application/xml", data="<a/>"),
    structured("structured-base64", DeadLettered("bad_cloudevent"), data=..., data_base64="e30="),
    structured("structured-other-subject", DeadLettered("key_mismatch"), subject="p-2"),
    structured("structured-no-data", invalid(("data", REQUIRED)), data=...),
    structured("structured-data-text", invalid(("data", "must be an object")), data="Ada"),
    structured("structured-version-float", invalid(("expectedversion", NO_VERSION)), expectedversion=0.0),
    structured("structured-time", invalid(("time", NO_MOMENT)), time="today"),
    structured("structured-reserved", invalid(("data.$x", RESERVED)), data={"$x": 1}),
    structured(
        "structured-unknown",
        Rejected("unknown_command", {"type": "com.example.RegisterPerson"}),
        type="com.example.RegisterPerson",
    ),
    raw(
        "structured-no-json",
        DeadLettered("not_json"),
        b"<a/>",
        headers=(("content-type", b"application/cloudevents+json"),),
    ),
    raw(
        "structured-list",
        DeadLettered("not_an_object"),
        b"[]",
        headers=(("content-type", b"application/cloudevents+json"),),
    ),
    raw(
        "structured-null", DeadLettered("not_json"), None, headers=(("content-type", b"application/cloudevents+json"),)
    ),
    raw(
        "batched",
        DeadLettered("bad_cloudevent"),
        b"[]",
        headers=(("content-type", b"application/cloudevents-batch+json"),),
    ),
    raw("avro", DeadLettered("bad_cloudevent"), b"\x00", headers=(("content-type", b"application/cloudevents+avro"),)),
    binary(
        "binary",
        Accepted(),
        time=b"2026-11-21T09:30:00.5+01:00",
        expectedversion=b"0",
        actor="Zoë".encode(),
        foo=b"bar",
    ),
    binary("binary-no-content-type", Accepted(), content_type=b"-"),
    binary("binary-upper-case-media-type", Accepted(), content_type=b"Application/JSON; Charset=UTF-8"),
    binary("binary-0.3", DeadLettered("bad_cloudevent"), specversion=b"0.3"),
    binary("binary-specversion-null", DeadLettered("bad_cloudevent"), specversion=None),
    binary("binary-no-id", DeadLettered("bad_cloudevent"), id=b"-"),
    binary("binary-id-of-no-utf-8", DeadLettered("bad_cloudevent"), id=b"\xff"),
    binary("binary-no-type", DeadLettered("bad_cloudevent"), type=b"-"),
    binary("binary-no-subject", DeadLettered("bad_cloudevent"), subject=b"-"),
    binary("binary-no-json", DeadLettered("bad_cloudevent"), b"Ada"),
    binary("binary-no-bytes", DeadLettered("bad_cloudevent"), b""),
    binary("binary-avro", DeadLettered("bad_cloudevent"), content_type=b"application/avro"),
    binary("binary-other-subject", DeadLettered("key_mismatch"), subject=b"p-2"),
    binary("binary-data-list", invalid(("data", "must be an object")), b"[]"),
    binary("binary-doubled", invalid(("data.name", TWICE)), b'{"name": "Ada", "name": "Eva"}'),
    binary("binary-reserved", invalid(("data.$x", RESERVED)), b'{"$x": 1}'),
    binary("binary-nested", invalid(("data.a", TOO_DEEP)), f'{{"a": {deep(64)}}}'.encode()),
    binary("binary-version", invalid(("expectedversion", NO_VERSION)), expectedversion=b"03"),
    binary("binary-actor-of-no-utf-8", invalid(("actor", "must be UTF-8")), actor=b"\xff"),
    binary("binary-head", Rejected("head_conflict", {"expected": CID, "actual": None}), expectedhead=CID.encode()),
    Case(
        "binary-null",
        b"p-binary-null",
        None,
        (("ce_specversion", b"1.0"), ("ce_id", b"x")),
        DeadLettered("bad_cloudevent"),
    ),
)

HARMLESS: Final = (
    raw("no-key", Accepted(), '{ENVELOPE, "data": {"name": "Ada"}}', key=None),
    case(
        "nulls",
        Accepted(),
        expected_version=None,
        expected_head=None,
        correlation_id=None,
        causation_id=None,
        actor=None,
        issued_at=None,
    ),
    raw("spaced-out", Accepted(), '\n{ ENVELOPE\t,\r\n "data" : { "name" : "Ada" } } \n'),
    raw("escaped", Accepted(), r'{ENVELOPE, "d\u0061ta": {"name": "Zo\u00eb \ud83d\ude00 \"$\" \\"}}'),
    case("noncharacter-in-data", Accepted(), data={"name": "a\ufdd0b"}),
    case("leap-second", Accepted(), issued_at="2016-12-31T23:59:60z"),
    case("any-version", Accepted(), expected_version="any"),
    case("version-0", Accepted(), expected_version=0),
    case("i" * 128, Accepted()),
    raw("ä" * 128, Accepted(), json.dumps({**whole("ä" * 128), "aggregate_id": "€" * 256}), key=("€" * 256).encode()),
    raw(
        "trace-context-of-no-worth",
        Accepted(),
        '{ENVELOPE, "data": {"name": "Ada"}}',
        headers=(("traceparent", b"00-0-0-0"), ("tracestate", None)),
    ),
    raw(
        "headers-at-the-limit",
        Accepted(),
        '{ENVELOPE, "data": {"name": "Ada"}}',
        headers=(("x", b"x" * (65_535 - len("p-headers-at-the-limit"))),),
    ),
    raw(
        "other-content-type",
        Accepted(),
        '{ENVELOPE, "data": {"name": "Ada"}}',
        headers=(("content-type", b"application/json"), ("content-type", None)),
    ),
)

CASES: Final = (*UNREADABLE, *INVALID, *REFUSED, *CLOUDEVENTS, *HARMLESS)
