"""Snapshots: written, read back, and refused when they are none."""

from typing import Any

import pytest

from annals.schemas.canonical import decode, encode
from annals.schemas.cid import CID_PREFIX
from annals.schemas.snapshot import Snapshot, SnapshotError, decode_snapshot, encode_snapshot

HEAD = CID_PREFIX + bytes(32)
WHOLE: dict[str, Any] = {
    "kind": "person",
    "aggregate_id": "p-1",
    "version": 3,
    "head": HEAD,
    "state_version": 1,
    "state": b"\x81\xa1x",
}


@pytest.mark.parametrize("state", [b"", b"\x81\xa1x", HEAD, b"\x12\x20" + bytes(32)])
def test_a_snapshot_is_read_back_as_it_was(state: bytes) -> None:
    snapshot = Snapshot(**{**WHOLE, "state": state})
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


def test_its_members_are_those_of_the_contract_and_its_head_is_a_link() -> None:
    block = encode_snapshot(Snapshot(**WHOLE))
    assert decode(block) == WHOLE
    assert b"\xd8\x2a\x58\x25\x00" + HEAD in block


def test_a_snapshot_has_the_time_and_the_place_of_its_head() -> None:
    whole = {**WHOLE, "recorded_at": "2026-11-21T09:30:00.123456Z", "offset": 41}
    assert decode(encode_snapshot(Snapshot(**whole))) == whole
    assert decode_snapshot(encode(whole)) == Snapshot(**whole)
    assert Snapshot(**whole).is_whole


@pytest.mark.parametrize("more", [{}, {"offset": 41}, {"recorded_at": "2026-11-21T09:30:00.123456Z"}])
def test_one_of_an_earlier_release_is_not_whole(more: dict[str, Any]) -> None:
    assert not decode_snapshot(encode({**WHOLE, **more})).is_whole


@pytest.mark.parametrize("more", [{"offset": None}, {"offset": "41"}, {"recorded_at": 7}])
def test_a_time_or_place_of_another_type_makes_it_none(more: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError, match="no snapshot"):
        decode_snapshot(encode({**WHOLE, **more}))


def test_what_a_later_release_adds_is_passed_over() -> None:
    assert decode_snapshot(encode({**WHOLE, "more": 1})) == Snapshot(**WHOLE)


@pytest.mark.parametrize("head", [b"", HEAD[:-1], b"\x12\x20" + bytes(32)])
def test_a_head_that_is_no_cid_of_ours_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="36 bytes of a CID"):
        encode_snapshot(Snapshot(**{**WHOLE, "head": head}))
    with pytest.raises(SnapshotError, match="head"):
        decode_snapshot(encode({**WHOLE, "head": head}))


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_member_that_is_missing_or_of_another_type_makes_it_none(name: str) -> None:
    with pytest.raises(SnapshotError, match="its members are"):
        decode_snapshot(encode({member: value for member, value in WHOLE.items() if member != name}))
    with pytest.raises(SnapshotError, match=f"{name} is bool"):
        decode_snapshot(encode({**WHOLE, name: True}))


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", encode({"more": 1}), encode([1]), encode(7)])
def test_other_bytes_are_no_snapshot(value: bytes) -> None:
    with pytest.raises(SnapshotError, match="no snapshot"):
        decode_snapshot(value)
