r"""Key spaces of a reading store, the same for every store, and versioned (`FORMAT`).

    \x01               the identity of the store
    q                  what there is: events, aggregates, bytes of the events' blocks (8 each)
    p                  the shard's position: next offset (8), last offset (8, -1: none), CID of the record there (36)
    p <follower>       a follower's position: version (8), next offset (8)
    v <cid>            a void event
    e <id> <version>   an event: offset (8), CID (36), block
    o <offset>         the key of the event there, without its `e`
    a <id>             an aggregate: version, offset of its last event, bytes of its blocks (8 each), head (36),
                       first_at and last_at (27 each)
    t <type> <block>   where in a block of 100 offsets events of the type are (1 each, ascending); u: by actor
    c <id> <offset>    events by command id; k: by causation id; r: by correlation id, where that is not their command
                       id, by which they are found else. No value
    m <stretch>        10,000 offsets: least and greatest recorded_at (27 each); i <block>: 100 offsets
    h <hash> <offset>  events by the first 8 bytes of their CID's digest. No value
    n <id> <version>   a snapshot that is kept, its impersonal part; w: its personal part
    P, I               rows of projections and their indexes (`annals.agents.reading.projecting.rows`)
    B                  which rows of a projection answer, which are going (`annals.agents.reading.projecting.builds`)
    x <offset>         headers that are carried to subscribers (MessagePack), where an event has any
    z                  in the store of a re-keyed stream: the id of its topic
    s <id>             a state: version (8), its impersonal part; y <id>: its personal part

Numbers are big-endian. Text that is followed by something has its length (4) before it: any character may be in it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.ports import Position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.reading.ports import ReadView

FORMAT: Final = 5
NUMBER: Final = 8
CID: Final = 36
TIME: Final = 27
LENGTH: Final = 4
STRETCH: Final = 10_000  # offsets; a whole number of blocks
BLOCK: Final = 100  # offsets, so that a byte tells one of them
HASH: Final = slice(4, 12)
# Parts of CIDs by which a cursor tells what a journal had: of its first event, of the event where the cursor is, and of
# the last one before that.
FIRST_EVENT: Final = slice(-2, None)
EVENT_HERE: Final = slice(-4, -2)
EVENT_BEFORE: Final = slice(-6, -4)

IDENTITY_KEY: Final = b"\x01"
POSITION: Final = b"p"
COUNTS: Final = b"q"
VOIDS: Final = b"v"
EVENTS: Final = b"e"
OFFSETS: Final = b"o"
AGGREGATES: Final = b"a"
TYPES: Final = b"t"
STRETCH_TIMES: Final = b"m"
BLOCK_TIMES: Final = b"i"
CORRELATIONS: Final = b"r"
CAUSATIONS: Final = b"k"
COMMANDS: Final = b"c"
ACTORS: Final = b"u"
HASHES: Final = b"h"
CARRIED: Final = b"x"
TOPIC_ID: Final = b"z"
STATES: Final = b"s"
PERSONAL: Final = b"y"
WRITTEN_ONCE: Final = frozenset({EVENTS, OFFSETS, CARRIED})  # with their event, and never changed or removed

START: Final = Position(0, -1, b"")
_AGGREGATE: Final = Struct(f">QQQ{CID}s{TIME}s{TIME}s")
_COUNTS: Final = Struct(">QQQ")
_VALUE_CID: Final = slice(NUMBER, NUMBER + CID)
_VALUE_BLOCK: Final = NUMBER + CID


class EventRow(NamedTuple):
    """An event as it is kept."""

    offset: int
    cid: bytes
    block: bytes


class AggregateRow(NamedTuple):
    """Where an aggregate's chain ends, and what it has: the reader's rule goes on from it."""

    version: int
    offset: int
    block_bytes: int
    head: bytes | None
    first_at: str
    last_at: str


class FollowerPosition(NamedTuple):
    """The version of a follower whose rows these are, and the offset from which it goes on."""

    version: int
    offset: int


class Counts(NamedTuple):
    """What a partition has."""

    events: int
    aggregates: int
    block_bytes: int


ABSENT: Final = AggregateRow(0, -1, 0, None, "", "")


def number(value: int) -> bytes:
    """Return a number as it is in keys and values."""
    return value.to_bytes(NUMBER, "big")


def prefixed(space: bytes, text: bytes) -> bytes:
    """Return the beginning of all keys of a text in a key space."""
    return space + len(text).to_bytes(LENGTH, "big") + text


def event_key(aggregate: bytes, version: int) -> bytes:
    """Return the key of an event."""
    return prefixed(EVENTS, aggregate) + number(version)


def offset_key(offset: int) -> bytes:
    """Return the key under which an event is found by its offset."""
    return OFFSETS + number(offset)


def aggregate_of(key: bytes) -> tuple[bytes, int]:
    """Return the aggregate and the version of an event's key without its `e`, as rows by offset hold it."""
    return key[LENGTH:-NUMBER], int.from_bytes(key[-NUMBER:], "big")


def offset_in(key: bytes) -> int:
    """Return the offset at the end of a key."""
    return int.from_bytes(key[-NUMBER:], "big")


def decode_event(value: bytes) -> EventRow:
    """Return the event of a value."""
    return EventRow(int.from_bytes(value[:NUMBER], "big"), value[_VALUE_CID], value[_VALUE_BLOCK:])


def cid_in(value: bytes) -> bytes:
    """Return the CID in the value of an event."""
    return value[_VALUE_CID]


def encode_aggregate(row: AggregateRow) -> bytes:
    """Return the value of an aggregate that has events."""
    version, offset, block_bytes, head, first_at, last_at = row
    return _AGGREGATE.pack(version, offset, block_bytes, head or b"", first_at.encode(), last_at.encode())


def decode_aggregate(value: bytes) -> AggregateRow:
    """Return the aggregate of a value."""
    version, offset, block_bytes, head, first_at, last_at = _AGGREGATE.unpack(value)
    return AggregateRow(version, offset, block_bytes, head, first_at.decode(), last_at.decode())


def encode_position(position: Position) -> bytes:
    """Return the shard's position as a value."""
    return number(position.offset) + position.last_offset.to_bytes(NUMBER, "big", signed=True) + position.last_cid


def read_position(view: ReadView) -> Position:
    """Return up to where the journal was read."""
    value = view.get(POSITION)
    if value is None:
        return START
    last = int.from_bytes(value[NUMBER : 2 * NUMBER], "big", signed=True)
    return Position(int.from_bytes(value[:NUMBER], "big"), last, value[2 * NUMBER :])


def follower_key(name: str, space: bytes = b"") -> bytes:
    """Return the key of a follower's position. space: of a partition in a store of several."""
    return space + POSITION + name.encode()


def encode_follower(version: int, offset: int) -> bytes:
    """Return a follower's position as a value."""
    return number(version) + number(offset)


def read_follower(view: ReadView, name: str, space: bytes = b"") -> FollowerPosition | None:
    """Return where a follower stands; None if it never was here. space: of a partition in a store of several."""
    value = view.get(follower_key(name, space))
    if value is None:
        return None
    return FollowerPosition(int.from_bytes(value[:NUMBER], "big"), int.from_bytes(value[NUMBER:], "big"))


def read_aggregate(view: ReadView, key: bytes) -> AggregateRow:
    """Return where an aggregate stands; version 0 where there is none."""
    value = view.get(AGGREGATES + key)
    return ABSENT if value is None else decode_aggregate(value)


def heads(view: ReadView) -> Iterator[bytes]:
    """Yield the CID of each aggregate's last event."""
    for _, row in view.range(AGGREGATES, after(AGGREGATES)):
        head = decode_aggregate(row).head
        if head is not None:
            yield head


def read_counts(view: ReadView) -> Counts:
    """Return what there is; of a store that has not counted yet, by counting."""
    value = view.get(COUNTS)
    if value is not None:
        return Counts._make(_COUNTS.unpack(value))
    events = aggregates = size = 0
    for _, row in view.range(AGGREGATES, after(AGGREGATES)):
        aggregate = decode_aggregate(row)
        events, aggregates, size = events + aggregate.version, aggregates + 1, size + aggregate.block_bytes
    return Counts(events, aggregates, size)


def encode_counts(counts: Counts) -> bytes:
    """Return what there is as a value."""
    return _COUNTS.pack(*counts)


def after(prefix: bytes) -> bytes:
    """Return the least key behind all keys with a prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\xff" * 64
