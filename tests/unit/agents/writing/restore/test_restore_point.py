"""What restore points consist of, byte for byte, and what is no part of one."""

import pytest

from annals.agents.ports import Position, Stored
from annals.agents.writing.restore.attempt import Attempt
from annals.agents.writing.restore.collecting import Changed
from annals.agents.writing.shard_id import ShardId
from annals.schemas.canonical import encode
from annals.schemas.cid import cid_of
from annals.schemas.restore_point import (
    PART_BYTES,
    Head,
    RestoreList,
    RestorePointError,
    bucket_of,
    command_hash,
    decode_heads,
    decode_ids,
    decode_list,
    decode_voids,
    encode_heads,
    encode_ids,
    encode_list,
    encode_voids,
    has_ends,
)

CID = cid_of(b"an event")
OTHER = cid_of(b"another")
LIST = RestoreList("person", 1, 4, 3, 41, 39, CID, {"ids/0": OTHER, "heads/7": CID})


def test_the_bytes_stay_what_they_are() -> None:
    """Golden: releases read one another's restore points."""
    assert command_hash(b"\x00\x00\x00\x03p-1c1") == 11676141875253619730
    assert [bucket_of(key) for key in (b"p-1", b"p-2", "Ä".encode())] == [7, 3061, 207]
    name, value = encode_ids([(0x0102030405060708, 0x1112131415), (1, 2)])
    assert name == "ids/2"
    assert value.hex() == ("a163696473581e000000020100000000000000080706050403020102000000001514131211")
    (part,) = encode_heads(7, {b"p-1": Head(3, CID), b"p-0": Head(1, None)})
    assert part[0] == "heads/7"
    assert part[1] == encode({"heads": [["p-0", 1, None], ["p-1", 3, CID]]})
    (part,) = encode_heads(7, {b"p-1": Head(3, CID, OTHER), b"p-0": Head(1, None)})
    assert part[1] == encode({"heads": [["p-0", 1, None], ["p-1", 3, CID]], "ends": [None, OTHER]})
    assert list(encode_voids([])) == []
    assert list(encode_voids([(CID, b"p-1", b"c1")])) == [("voids", encode({"voids": [[CID, b"p-1", b"c1"]]}))]
    members = {"kind": "person", "partition": 1, "partitions": 4, "state_version": 3, "position": 41}
    more = {"last_offset": 39, "last_cid": CID, "parts": {"ids/0": OTHER, "heads/7": CID}}
    assert encode_list(LIST) == encode(members | more)


def test_what_is_written_is_read_again() -> None:
    assert decode_list(encode_list(LIST)) == LIST
    heads = {b"p-1": Head(3, CID), b"p-0": Head(1, None)}
    assert decode_heads(next(encode_heads(7, heads))[1]) == heads
    with_ends = {b"p-1": Head(3, CID, OTHER), b"p-0": Head(1, None)}
    assert decode_heads(next(encode_heads(7, with_ends))[1]) == with_ends
    assert [has_ends(next(encode_heads(7, each))[1]) for each in (heads, with_ends)] == [False, True]
    assert decode_voids(next(encode_voids([(CID, b"p", CID)]))[1]) == [(CID, b"p", CID)]
    ids = decode_ids(encode_ids([(9, 5), (2**64 - 1, 2**40 - 1), (9, 1)])[1])
    assert (list(ids.hashes), list(ids.offsets)) == ([9, 9, 2**64 - 1], [1, 5, 2**40 - 1])


def test_what_is_larger_than_a_part_is_split() -> None:
    heads = {f"{'x' * 250}{number}".encode(): Head(1, CID, OTHER) for number in range(8_000)}
    parts = dict(encode_heads(7, heads))
    assert list(parts) == ["heads/7", "heads/7/1", "heads/7/2"]
    assert max(map(len, parts.values())) <= PART_BYTES
    found: dict[bytes, Head] = {}
    for value in parts.values():
        found |= decode_heads(value)
    assert found == heads


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xa0",
        encode({"parts": {}}),
        encode_list(LIST)[:-1],
        encode(LIST._asdict() | {"position": "41"}),
        encode(LIST._asdict() | {"last_cid": b"no CID"}),
        encode(LIST._asdict() | {"parts": {"ids/0": b"no CID"}}),
        encode(LIST._asdict() | {"parts": {"ids/0": 3}}),
    ],
)
def test_what_is_no_list_is_refused(value: bytes) -> None:
    with pytest.raises(RestorePointError):
        decode_list(value)


@pytest.mark.parametrize(
    ("decode", "value"),
    [
        (decode_heads, encode({"heads": [["p-1", 1]]})),
        (decode_heads, encode({"heads": [["p-1", 1, "no CID"]]})),
        (decode_heads, encode({"heads": [[3, 1, None]]})),
        (decode_heads, encode({"heads": {"p-1": 1}})),
        (decode_heads, encode({"voids": []})),
        (decode_heads, encode({"heads": [["p-1", 1, None]], "ends": []})),
        (decode_heads, encode({"heads": [["p-1", 1, None]], "ends": ["no CID"]})),
        (decode_heads, encode({"heads": [["p-1", 1, None]], "ends": {}})),
        (decode_voids, encode({"voids": [["p-1", "c", "d"]]})),
        (decode_ids, encode({"ids": bytes(3) + b"\x02" + bytes(25)})),
        (decode_ids, encode({"ids": "x"})),
        (decode_ids, b"no DAG-CBOR"),
    ],
)
def test_what_is_no_part_is_refused(decode, value: bytes) -> None:
    with pytest.raises(RestorePointError):
        decode(value)


class Written:
    """What an attempt writes."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}

    def add_restore_part(self, key: str, value: bytes) -> None:
        self.parts[key] = value


class Known:
    """A working set of one aggregate that has not changed."""

    def stored(self, key: bytes) -> Stored | None:
        return Stored(3, OTHER, "2026-11-21T09:30:00.000000Z", b"") if key == b"p-1" else None

    def voids(self) -> dict[bytes, tuple[bytes, bytes]]:
        return {}


def test_what_a_release_before_wrote_gets_the_ends_of_chains() -> None:
    (name, value), *_ = encode_heads(7, {b"p-1": Head(3, CID)})
    changed = Changed()
    changed.parts, changed.heads = {name: cid_of(value)}, {name: value}
    written, place = Written(), ShardId("person", "commands.person", 0, 1)
    cid = Attempt(changed, place, 9, 1_000).write(written, Known(), Position(41, 39, CID))  # type: ignore[arg-type]
    assert decode_heads(written.parts[name]) == {b"p-1": Head(3, CID, OTHER)}
    assert cid == cid_of(written.parts["list"])
    assert decode_list(written.parts["list"]).parts == {name: cid_of(written.parts[name])}
