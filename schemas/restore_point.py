"""Restore points: what a shard writes so that a later owner can decide without folding the whole journal.

The records of `restore.<kind>`, by their keys; each value is canonical DAG-CBOR, named by its CID:

    ids/<offset>        commands that have events: 8 bytes of BLAKE3 and 5 bytes of the first event's offset each
    heads/<n>[/<part>]  aggregates whose id's BLAKE3 begins with these 12 bits: id, version, CID of the snapshot; and
                        beside them in the same order, `ends`: the CIDs of their last events
    voids[/<part>]      void events: CID, record key, command id
    list                where it stands in the journal, and the CIDs of the records above

The CID of the list is in the metadata of the committed offset: a record that it does not name proves nothing.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from blake3 import blake3

from annals.schemas.canonical import NotCanonicalError, decode, encode
from annals.schemas.cid import is_cid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LIST: Final = "list"
IDS: Final = "ids/"
HEADS: Final = "heads/"
VOIDS: Final = "voids"
PART_BYTES: Final = 1 << 20
SEGMENT_IDS: Final = 1 << 14  # one is sorted in 8 ms, during which nothing else of the process runs
COUNT_BYTES: Final = 4
HASH_BYTES: Final = 8
OFFSET_BYTES: Final = 5
BUCKET_BITS: Final = 12
ENTRY_BYTES: Final = 110  # of DAG-CBOR around the ids of an entry, with its end: an upper bound
ENDS: Final = "ends"
_WITH_ENDS: Final = b"\xa2\x64ends"  # canonical: the shorter key is the first one


class RestorePointError(ValueError):
    """A record is not what a restore point needs; the message says why."""


class Head(NamedTuple):
    """Where an aggregate stood: its version, and the CID of its snapshot; None where that was too large to write.

    end: the CID of its last event; None where the release that wrote it did not say.
    """

    version: int
    snapshot: bytes | None
    end: bytes | None = None


class RestoreList(NamedTuple):
    """A restore point: its place in the journal, and what it consists of.

    position: the first offset that is not in it; last_offset, last_cid: the last record before that, and the CID of its
    value; parts: the CIDs of the other records, by their keys.
    """

    kind: str
    partition: int
    partitions: int
    state_version: int
    position: int
    last_offset: int
    last_cid: bytes
    parts: Mapping[str, bytes]


Void = tuple[bytes, bytes, bytes]  # CID, the record's key, command id


def command_hash(command: bytes) -> int:
    """Return the hash of a command's `ports.command_key`: the first 8 bytes of its BLAKE3, little-endian."""
    return int.from_bytes(blake3(command).digest(HASH_BYTES), "little")


def bucket_of(key: bytes) -> int:
    """Return in which `heads/<n>` an aggregate is: the first 12 bits of the BLAKE3 of its id."""
    return int.from_bytes(blake3(key).digest(2), "big") >> (16 - BUCKET_BITS)


def encode_list(restore: RestoreList) -> bytes:
    """Return the value of the record `list`."""
    return encode(restore._asdict() | {"parts": dict(restore.parts)})


_LIST_TYPES: Final = {
    "kind": str,
    "partition": int,
    "partitions": int,
    "state_version": int,
    "position": int,
    "last_offset": int,
    "last_cid": bytes,
    "parts": dict,
}


def decode_list(value: bytes) -> RestoreList:
    """Return the list in a record.

    Raises:
        RestorePointError: it is none.
    """
    members = _members(value)
    for name, type_ in _LIST_TYPES.items():
        if type(members.get(name)) is not type_:
            raise RestorePointError(f"no list of a restore point: {name} is no {type_.__name__}")
    parts = members["parts"]
    if not is_cid(members["last_cid"]) or not all(type(each) is bytes and is_cid(each) for each in parts.values()):
        raise RestorePointError("no list of a restore point: it names what is no CID")
    return RestoreList(**{name: members[name] for name in _LIST_TYPES})


def encode_heads(bucket: int, heads: Mapping[bytes, Head]) -> Iterator[tuple[str, bytes]]:
    """Yield the records of a bucket, key and value: one, or as many as its size takes."""
    ordered = sorted(heads.items())
    entries = [[key.decode(), head.version, head.snapshot] for key, head in ordered]
    ends = [head.end for _, head in ordered]
    beside = {ENDS: ends} if any(end is not None for end in ends) else {}
    yield from _split(f"{HEADS}{bucket}", "heads", entries, [len(key) for key, _ in ordered], beside)


def has_ends(value: bytes) -> bool:
    """Whether a record `heads/<n>` says where the chains of its aggregates end."""
    return value.startswith(_WITH_ENDS)


def decode_heads(value: bytes) -> dict[bytes, Head]:
    """Return the aggregates in a record `heads/<n>`.

    Raises:
        RestorePointError: it is none.
    """
    entries, ends = _entries(value, "heads", 3), _members(value).get(ENDS)
    if ends is None:
        ends = [None] * len(entries)
    elif type(ends) is not list or len(ends) != len(entries):
        raise RestorePointError("no heads: an end for each is wanted")
    try:
        return {
            key.encode(): Head(version, _link_or_none(snapshot), _link_or_none(end))
            for (key, version, snapshot), end in zip(entries, ends, strict=True)
        }
    except AttributeError:
        raise RestorePointError("no heads: an id is no text") from None


def encode_voids(voids: Sequence[Void]) -> Iterator[tuple[str, bytes]]:
    """Yield the records of the void events, key and value; none if there are none."""
    entries = sorted(voids)
    if entries:
        yield from _split(VOIDS, "voids", [list(each) for each in entries], [sum(map(len, each)) for each in entries])


def decode_voids(value: bytes) -> list[Void]:
    """Return the void events in a record.

    Raises:
        RestorePointError: it is none.
    """
    entries = _entries(value, "voids", 3)
    if not all(type(each) is bytes for entry in entries for each in entry):
        raise RestorePointError("no void events: a member is no bytes")
    return [(cid, key, command_id) for cid, key, command_id in entries]


class Ids(NamedTuple):
    """Commands that have events: their hashes, ascending, and the offset of the first event of each."""

    hashes: array[int]
    offsets: array[int]


def encode_ids(pairs: Iterable[tuple[int, int]]) -> tuple[str, bytes]:
    """Return the record of some commands (hash, offset): its key, which names the first offset, and its value."""
    entries = sorted(pairs)
    hashes = array("Q", [each for each, _ in entries])
    if sys.byteorder == "big":
        hashes.byteswap()
    offsets = b"".join([offset.to_bytes(OFFSET_BYTES, "little") for _, offset in entries])
    first = min(offset for _, offset in entries)
    # The number first: what begins with a 1 may look like a CID, and libipld would write it as a link.
    return f"{IDS}{first}", encode({"ids": len(hashes).to_bytes(COUNT_BYTES, "big") + hashes.tobytes() + offsets})


def decode_ids(value: bytes) -> Ids:
    """Return the commands in a record `ids/<offset>`.

    Raises:
        RestorePointError: it is none.
    """
    ids = _members(value).get("ids")
    count = int.from_bytes(ids[:COUNT_BYTES], "big") if type(ids) is bytes else -1
    if type(ids) is not bytes or len(ids) != COUNT_BYTES + count * (HASH_BYTES + OFFSET_BYTES):
        raise RestorePointError("no command ids: a number, as many hashes and as many offsets are wanted")
    hashes_end = COUNT_BYTES + count * HASH_BYTES
    packed = ids[hashes_end:]
    hashes = array("Q")
    hashes.frombytes(ids[COUNT_BYTES:hashes_end])
    if sys.byteorder == "big":
        hashes.byteswap()
    offsets = array(
        "Q",
        [int.from_bytes(packed[at : at + OFFSET_BYTES], "little") for at in range(0, len(packed), OFFSET_BYTES)],
    )
    return Ids(hashes, offsets)


def _split(
    name: str, member: str, entries: list[Any], sizes: list[int], beside: Mapping[str, list[Any]] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield records of at most `PART_BYTES`; from the second one on the key has a number.

    beside: other members, with something for each entry.
    """
    members = {member: entries, **(beside or {})}

    def record(first: int, last: int | None) -> bytes:
        return encode({name: each[first:last] for name, each in members.items()})

    start = part = size = 0
    for index, entry in enumerate(sizes):
        size += entry + ENTRY_BYTES
        if size > PART_BYTES and index > start:
            yield _name(name, part), record(start, index)
            start, part, size = index, part + 1, entry + ENTRY_BYTES
    yield _name(name, part), record(start, None)


def _name(name: str, part: int) -> str:
    return f"{name}/{part}" if part else name


def _members(value: bytes) -> dict[str, Any]:
    try:
        return decode(value)
    except NotCanonicalError as error:
        raise RestorePointError(f"no part of a restore point: {error}") from None


def _entries(value: bytes, member: str, size: int) -> list[list[Any]]:
    entries = _members(value).get(member)
    if type(entries) is not list or not all(type(each) is list and len(each) == size for each in entries):
        raise RestorePointError(f"no {member}: a list of lists of {size} is wanted")
    return entries


def _link_or_none(value: object) -> bytes | None:
    if value is not None and (type(value) is not bytes or not is_cid(value)):
        raise RestorePointError("no heads: a snapshot is named by what is no CID")
    return value
