r"""How a shard's fold is laid out in keys and values: the same for every store, and versioned.

    \\x00           the position: next offset (8), last offset (8, -1: none), CID of the record there (36, or none)
    a <id>         an aggregate: version (8), head (36), recorded_at (27), encoded state
    c <length> <id> <command id>   the events of a command: first version (8), then per event CID (36), length (4), type
    v <cid>        a void event: length, aggregate id, command id

Numbers are big-endian, an id's length is four bytes: what a stranger wrote into a journal may hold any character.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from annals.agents.ports import LENGTH, VOID_BYTES, VOIDS_BYTES, Position, Stored, command_key
from annals.topics.headers import LONGEST_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.agents.ports import CommandEvents

FORMAT: Final = 1
NUMBER: Final = 8
CID: Final = 36
KNOWN_NAMES: Final = 1 << 10  # of event types: far more than a worker has
TIME: Final = 27
HEAD_END: Final = NUMBER + CID
TIME_END: Final = HEAD_END + TIME

POSITION_KEY: Final = b"\x00"
IDENTITY_KEY: Final = b"\x01"
AGGREGATES: Final = b"a"
COMMANDS: Final = b"c"
VOIDS: Final = b"v"
START: Final = Position(0, -1, b"")


def encode_position(position: Position) -> bytes:
    """Return the position's value."""
    last = position.last_offset.to_bytes(NUMBER, "big", signed=True)
    return position.offset.to_bytes(NUMBER, "big") + last + position.last_cid


def decode_position(value: bytes) -> Position:
    """Return the position of a value."""
    last = int.from_bytes(value[NUMBER : 2 * NUMBER], "big", signed=True)
    return Position(int.from_bytes(value[:NUMBER], "big"), last, value[2 * NUMBER :])


def encode_aggregate(version: int, head: bytes, recorded_at: str, state: bytes) -> bytes:
    """Return the value of an aggregate."""
    return version.to_bytes(NUMBER, "big") + head + recorded_at.encode() + state


def decode_aggregate(value: bytes) -> Stored:
    """Return the aggregate of a value."""
    return Stored(
        int.from_bytes(value[:NUMBER], "big"),
        value[NUMBER:HEAD_END],
        value[HEAD_END:TIME_END].decode(),
        value[TIME_END:],
    )


def encode_events(events: CommandEvents) -> bytes:
    """Return the value of a command: its events' CIDs and types, from the first version on."""
    first_version, each = events
    value = first_version.to_bytes(NUMBER, "big")
    for cid, name in each:
        value += cid + _encoded_name(name)
    return value


def _encoded_name(name: str) -> bytes:
    return _known_name(name) if len(name) <= LONGEST_KNOWN else _with_length(name)


def _with_length(name: str) -> bytes:
    encoded = name.encode()
    return len(encoded).to_bytes(LENGTH, "big") + encoded


_known_name: Final = lru_cache(KNOWN_NAMES)(_with_length)


def decode_events(value: bytes) -> CommandEvents:
    """Return the events of a command."""
    each, at = [], NUMBER
    while at < len(value):
        end = at + CID
        start = end + LENGTH
        stop = start + int.from_bytes(value[end:start], "big")
        each.append((value[at:end], value[start:stop].decode()))
        at = stop
    return int.from_bytes(value[:NUMBER], "big"), each


def encode_void(key: bytes, command_id: bytes) -> bytes:
    """Return the value of a void event: whose it claims to be, and by which command, in UTF-8."""
    return command_key(key, command_id)


def decode_void(value: bytes) -> tuple[bytes, bytes]:
    """Return a void event's record key and command id."""
    end = LENGTH + int.from_bytes(value[:LENGTH], "big")
    return value[LENGTH:end], value[end:]


def next_voids(
    rows: Iterable[tuple[bytes, bytes]], after: bytes, most_bytes: int = VOIDS_BYTES
) -> dict[bytes, tuple[bytes, bytes]]:
    """Return the void events beyond a CID of rows that begin there, as many as the bytes are for, one at least."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    size = 0
    for key, value in rows:
        if not key.startswith(VOIDS) or size > most_bytes:
            break
        cid = key[len(VOIDS) :]
        if cid != after:
            found[cid] = decode_void(value)
            size += VOID_BYTES + len(value)
    return found
