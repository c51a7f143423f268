"""Records of events.person for the test vectors: each trap of form and place, in the list of its verdict."""

from __future__ import annotations

import struct
from typing import Any, Final

from generator.cbor import Link, Pairs, Raw, cid_of, encode

Case = tuple[str, bytes | None, bytes | None]  # name, value, key

KEY: Final = b"p-1"
MEMBERS: Final[dict[str, Any]] = {
    "kind": "person",
    "aggregate_id": "p-1",
    "version": 1,
    "previous": None,
    "type": "PersonRegistered",
    "schema_version": 1,
    "recorded_at": "2026-11-21T09:30:00.123456Z",
    "command_id": "c-1",
    "correlation_id": "c-1",
    "causation_id": None,
    "actor": None,
    "data": {"name": "Ada Lovelace"},
}
DEEPEST: Final = 512
LINKED: Final = cid_of(b"\xa0")  # the CID of an empty map; nothing of that name is in a journal


def block(**changes: Any) -> bytes:
    """Return an event's block with other members."""
    return encode({**MEMBERS, **changes})


def with_data(value: Any) -> bytes:
    """Return an event's block with a value in its data."""
    return block(data={"value": value})


def _without(name: str) -> bytes:
    return encode({member: value for member, value in MEMBERS.items() if member != name})


def _nested(levels: int, *, lists: bool = False) -> bytes:
    """Return a block whose data are so many levels deep."""
    inner = b"\x81" * (levels - 2) + b"\x80" if lists else b"\xa1\x61a" * (levels - 2) + b"\xa0"
    return block(data={"a": Raw(inner)})


def _in_order(members: list[tuple[str, Any]]) -> bytes:
    return encode(Pairs(members))


SORTED: Final = sorted(MEMBERS.items(), key=lambda each: (len(each[0]), each[0]))
ALPHABETIC: Final = sorted(MEMBERS.items())
PLAIN: Final = block()
LONG_VERSION: Final = PLAIN.replace(b"gversion\x01", b"gversion\x18\x01")


def _counting(name: str, value: bytes, key: bytes = KEY) -> Case:
    return name, value, key


COUNTING: Final[list[Case]] = [
    _counting("a plain event", PLAIN),
    _counting("a whole float stays a float: 52.0", with_data(52.0)),
    _counting("zero as a float", with_data(0.0)),
    _counting("a whole float beyond 2^53", with_data(9007199254740993.0)),
    _counting("a float that 32 bits would hold, in 64", with_data(0.5)),
    _counting("the smallest and the largest float", with_data([5e-324, 1.7976931348623157e308])),
    _counting("integers of each length", with_data([0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 + 1])),
    _counting("the largest and the smallest integer", with_data([2**64 - 1, 2**63, -(2**63), -(2**64)])),
    _counting("an integer beside its float", with_data([52, 52.0])),
    _counting(
        "true, false, null, an empty list, an empty map, an empty text", with_data([True, False, None, [], {}, ""])
    ),
    _counting("data without members", block(data={})),
    _counting("a member without a name", block(data={"": 1})),
    _counting(
        "members whose names mean something to a language",
        block(data={"__proto__": 1, "constructor": 2, "toString": 3, "10": 4, "9": 5, "hasOwnProperty": 6}),
    ),
    _counting("a text that begins with a byte order mark", with_data("\ufeffAda")),
    _counting("members by length first, then by bytes", block(data={"z": 1, "aa": 2, "\u00c4": 3, "bb": 4, "aaa": 5})),
    _counting("a list and a map of more than 23", with_data([list(range(30)), {f"m{n:02}": n for n in range(30)}])),
    _counting("a text of more than 255 bytes", with_data("\u00e4" * 200)),
    _counting("characters beyond 16 bits, controls, a byte order mark", with_data("\U0001f600\x00\x1f\ufeff")),
    _counting("a text that looks like a CID", with_data("bafyr4iftb5gnzm7wqxdnxxwqvbk6qq2i3mqxvwnwhbsggxglbcimzq2g5e")),
    _counting("a map that looks like a link in JSON", with_data({"/": "bafyr4i"})),
    _counting("a sealed member", block(data={"$sealed": {"alg": "A256GCM", "key_id": "k", "ciphertext": "AA"}})),
    _counting("maps nested 512 levels deep", _nested(DEEPEST)),
    _counting("lists nested 512 levels deep", _nested(DEEPEST, lists=True)),
    _counting("a type and a schema version that nobody knows", block(type="PersonTeleported", schema_version=99)),
    _counting("a schema version of zero", block(schema_version=0)),
    _counting("empty texts", block(type="", command_id="", correlation_id="", causation_id="", actor="")),
    _counting("causation and actor", block(causation_id="request-7", actor="hr-service")),
    _counting("a leap day", block(recorded_at="2024-02-29T23:59:59.999999Z")),
    _counting("the first moment", block(recorded_at="0001-01-01T00:00:00.000000Z")),
    _counting("an id in normal form C", block(aggregate_id="\u00c4"), "\u00c4".encode()),
    _counting("an id in normal form D", block(aggregate_id="A\u0308"), "A\u0308".encode()),
]

_LINKS: Final[list[tuple[str, Any]]] = [
    ("text", "bafyr4iftb5gnzm7wqxdnxxwqvbk6qq2i3mqxvwnwhbsggxglbcimzq2g5e"),
    ("bytes without tag 42", b"\x00" + LINKED),
    ("the 36 bytes of a CID without tag 42", LINKED),
    ("tag 43 instead of 42", Raw(b"\xd8\x2b" + encode(b"\x00" + LINKED))),
    ("tag 42 longer than need be", Raw(b"\xd9\x00\x2a" + encode(b"\x00" + LINKED))),
    ("tag 42 around text", Raw(b"\xd8\x2a" + encode("bafyr4i"))),
    ("a link without its leading zero byte", Raw(b"\xd8\x2a" + encode(LINKED))),
    ("a link to another codec (raw)", Link(b"\x01\x55\x1e\x20" + LINKED[4:])),
    ("a link by another hash (SHA-256)", Link(b"\x01\x71\x12\x20" + LINKED[4:])),
    ("a link of CID version 0", Link(b"\x12\x20" + LINKED[4:])),
    ("a link that is cut off", Link(LINKED[:-1])),
    ("a link with a byte too many", Link(LINKED + b"\x00")),
    ("an empty link", Link(b"")),
    ("a map as in DAG-JSON", {"/": "bafyr4i"}),
    ("a number", 0),
    ("false", False),
]
_NUMBERS: Final[list[tuple[str, bytes]]] = [
    ("a float of 16 bits", b"\xf9\x52\x80"),
    ("a float of 32 bits", b"\xfa\x42\x50\x00\x00"),
    ("negative zero", b"\xfb\x80" + bytes(7)),
    ("negative zero of 16 bits", b"\xf9\x80\x00"),
    ("NaN", b"\xfb\x7f\xf8" + bytes(6)),
    ("infinity", b"\xfb" + struct.pack(">d", float("inf"))),
    ("negative infinity", b"\xfb" + struct.pack(">d", float("-inf"))),
    ("an integer longer than need be", b"\x18\x17"),
    ("an integer in two bytes that fits into one", b"\x19\x00\xff"),
    ("an integer in eight bytes that fits into four", b"\x1b" + bytes(4) + b"\xff" * 4),
    ("a negative integer longer than need be", b"\x38\x00"),
    ("a big number (tag 2)", b"\xc2\x49\x01" + bytes(8)),
    ("undefined", b"\xf7"),
    ("an unassigned simple value", b"\xe0"),
    ("a simple value in two bytes", b"\xf8\x20"),
    ("a text whose length is longer than need be", b"\x78\x01a"),
    ("a list whose length is longer than need be", b"\x98\x01\x01"),
    ("a map whose length is longer than need be", b"\xb8\x01\x61a\x01"),
    ("a list of indefinite length", b"\x9f\x01\xff"),
    ("a map of indefinite length", b"\xbf\x61a\x01\xff"),
    ("a text of indefinite length", b"\x7f\x61a\xff"),
    ("bytes", b"\x41\x00"),
    ("a link", encode(Link(LINKED))),
    ("a tagged time (tag 0)", b"\xc0\x74" + b"2026-11-21T09:30:00Z"),
    ("a text that is no UTF-8", b"\x62\xc3\x28"),
    ("a text with a surrogate", b"\x63\xed\xa0\x80"),
    ("a text with an overlong character", b"\x62\xc0\x80"),
    ("a map with a number as a key", b"\xa1\x01\x01"),
    ("a map with a member twice", b"\xa2\x61a\x01\x61a\x01"),
    ("a map with a member twice, of different values", b"\xa2\x61a\x01\x61a\x02"),
    ("a map whose members are not sorted", b"\xa2\x61b\x01\x61a\x01"),
    ("a map sorted by letters, not by length first", b"\xa2\x62aa\x01\x61b\x01"),
]
_TYPES: Final[list[tuple[str, str, Any]]] = [
    ("version", "a float", 1.0),
    ("version", "text", "1"),
    ("version", "true", True),
    ("version", "null", None),
    ("schema_version", "a float", 1.0),
    ("schema_version", "null", None),
    ("kind", "null", None),
    ("kind", "bytes", b"person"),
    ("aggregate_id", "a number", 1),
    ("aggregate_id", "bytes", b"p-1"),
    ("type", "null", None),
    ("command_id", "null", None),
    ("correlation_id", "null", None),
    ("causation_id", "a number", 1),
    ("actor", "a map", {}),
    ("recorded_at", "a number", 1_795_253_400),
    ("data", "null", None),
    ("data", "a list", []),
    ("data", "text", "{}"),
]
_TIMES: Final = [
    ("no fraction", "2026-11-21T09:30:00Z"),
    ("milliseconds", "2026-11-21T09:30:00.123Z"),
    ("nanoseconds", "2026-11-21T09:30:00.123456789Z"),
    ("an offset", "2026-11-21T09:30:00.123456+00:00"),
    ("no zone", "2026-11-21T09:30:00.123456"),
    ("small letters", "2026-11-21t09:30:00.123456z"),
    ("a space", "2026-11-21 09:30:00.123456Z"),
    ("a leap second", "2026-12-31T23:59:60.000000Z"),
    ("hour 24", "2026-11-21T24:00:00.000000Z"),
    ("February 30", "2026-02-30T09:30:00.123456Z"),
    ("February 29 of a year that has none", "2025-02-29T09:30:00.123456Z"),
    ("month 13", "2026-13-01T09:30:00.123456Z"),
    ("year 0", "0000-01-01T00:00:00.000000Z"),
    ("other digits", "\u0662026-11-21T09:30:00.123456Z"),
    ("a line feed at its end", "2026-11-21T09:30:00.123456Z\n"),
]

FOREIGN: Final[list[Case]] = [
    ("no value", None, KEY),
    ("an empty value", b"", KEY),
    ("JSON", b'{"kind":"person"}', KEY),
    ("a list", encode([]), KEY),
    ("a map without members", encode({}), KEY),
    ("a block with a byte behind it", PLAIN + b"\x00", KEY),
    ("two blocks", PLAIN * 2, KEY),
    ("a block that is cut off", PLAIN[:-1], KEY),
    ("the map's length in two bytes", b"\xb8\x0c" + PLAIN[1:], KEY),
    ("the map of indefinite length", b"\xbf" + PLAIN[1:] + b"\xff", KEY),
    ("a self-describing block (tag 55799)", b"\xd9\xd9\xf7" + PLAIN, KEY),
    ("the version longer than need be", LONG_VERSION, KEY),
    ("members sorted by letters", _in_order(ALPHABETIC), KEY),
    ("members in the order of the contract's table", _in_order(list(MEMBERS.items())), KEY),
    ("a member twice", _in_order([*SORTED[:4], SORTED[3], *SORTED[4:]]), KEY),
    ("a member too many", block(note=None), KEY),
    ("a member too many, as an extension", block(x=1), KEY),
    *[(f"{name} is missing", _without(name), KEY) for name in MEMBERS],
    *[(f"{name} is {what}", block(**{name: value}), KEY) for name, what, value in _TYPES],
    *[(f"previous is {what}", block(previous=value), KEY) for what, value in _LINKS],
    *[(f"data hold {what}", with_data(Raw(raw)), KEY) for what, raw in _NUMBERS],
    ("data hold negative zero in a list in a map", with_data({"a": [{"b": [-0.0]}]}), KEY),
    ("maps nested 513 levels deep", _nested(DEEPEST + 1), KEY),
    ("lists nested 513 levels deep", _nested(DEEPEST + 1, lists=True), KEY),
    ("lists nested 20,000 levels deep", _nested(20_000, lists=True), KEY),
    *[(f"recorded_at with {what}", block(recorded_at=text), KEY) for what, text in _TIMES],
    ("another kind", block(kind="organization"), KEY),
    ("the kind in capitals", block(kind="Person"), KEY),
    ("no key", PLAIN, None),
    ("an empty key", PLAIN, b""),
    ("another key", PLAIN, b"p-2"),
    ("a key with a space", PLAIN, b"p-1 "),
    ("an id in normal form C under a key in normal form D", block(aggregate_id="\u00c4"), "A\u0308".encode()),
    ("an id in normal form D under a key in normal form C", block(aggregate_id="A\u0308"), "\u00c4".encode()),
    ("a key that is no UTF-8", block(aggregate_id="\u00c4"), b"\xc4"),
]
