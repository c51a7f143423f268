"""The rule of every reader: what counts, what is void, what is foreign, and where a gap is."""

from __future__ import annotations

from typing import Any

import pytest

from annals.schemas.chain import ForeignError
from annals.schemas.cid import CID_PREFIX
from annals.schemas.journal_reader import (
    Counted,
    Foreign,
    Gap,
    JournalReader,
    KeptEnd,
    LinkStatus,
    RememberingReader,
    Void,
    classify_link,
    read_record,
    shown_key,
)
from annals.topics.keys import keys_of
from chained import Sealed, chain, sealed

CID_1, CID_2 = CID_PREFIX + b"1" * 32, CID_PREFIX + b"2" * 32
ELSEWHERE = "p-3"  # in partition 3 of 4


def reader(partitions: int = 1) -> RememberingReader:
    return RememberingReader("person", keys_of(0, partitions))


def statuses(events: list[Sealed], by: RememberingReader | None = None) -> list[type]:
    own = by or reader()
    return [type(own.read(offset, event.key, event.value)) for offset, event in enumerate(events)]


@pytest.mark.parametrize(
    ("version", "previous", "last", "is_after_void", "status"),
    [
        (1, None, (0, None), False, LinkStatus.COUNTED),
        (2, CID_1, (1, CID_1), False, LinkStatus.COUNTED),
        (2, CID_1, (1, CID_1), True, LinkStatus.COUNTED),
        (int("1000"), CID_1, (999, CID_1), False, LinkStatus.COUNTED),  # no number that Python has only once
        (1, None, (1, CID_1), False, LinkStatus.VOID),
        (2, CID_2, (1, CID_1), False, LinkStatus.VOID),
        (2, None, (1, CID_1), False, LinkStatus.VOID),
        (1, CID_1, (0, None), False, LinkStatus.VOID),
        (0, None, (0, None), False, LinkStatus.VOID),
        (-7, None, (3, CID_1), False, LinkStatus.VOID),
        (3, CID_2, (1, CID_1), True, LinkStatus.VOID),
        (3, CID_2, (1, CID_1), False, LinkStatus.GAP),
        (3, CID_1, (1, CID_1), False, LinkStatus.GAP),
        (2, CID_1, (0, None), False, LinkStatus.GAP),
        (2, None, (0, None), False, LinkStatus.GAP),
        (2**64, CID_2, (1, CID_1), False, LinkStatus.GAP),
    ],
)
def test_the_rule_says_what_counts_what_is_void_and_where_a_gap_is(
    version: int, previous: bytes | None, last: tuple[int, bytes | None], status: LinkStatus, *, is_after_void: bool
) -> None:
    assert classify_link(version, previous, *last, previous_is_void=is_after_void) is status


def test_what_counts_is_handed_out_with_its_block_and_where_the_chain_ended_before() -> None:
    first, second = chain("p-1", 2)
    own = reader()
    assert own.read(7, first.key, first.value) == Counted(7, b"p-1", _event(first), first.cid, KeptEnd(0, None))
    assert own.read(9, second.key, second.value) == Counted(
        9, b"p-1", _event(second), second.cid, KeptEnd(1, first.cid)
    )
    assert own.ends == {b"p-1": KeptEnd(2, second.cid)}


def test_the_loser_of_two_writers_is_void_and_so_is_what_continues_it() -> None:
    first, second, third = chain("p-1", 3)
    lost = chain("p-1", 3, after=first, command_id="zombie")
    own = reader()
    assert statuses([first, second, *lost, third], own) == [Counted, Counted, Void, Void, Void, Counted]
    assert own.voids == {event.cid for event in lost}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Sealed(b"p-1", b"?", [], 0, b""), "no DAG-CBOR"),
        (Sealed(b"p-1", None, [], 0, b""), "the value is null"),
        (sealed("p-1", 1, None, kind="organization"), "kind is 'organization', the topic's is 'person'"),
        (sealed("p-1", 1, None).but(key=None), "the key is not the block's aggregate_id"),
        (sealed("p-1", 1, None).but(key=b"p-9"), "the key is not the block's aggregate_id"),
        (sealed(ELSEWHERE, 1, None), "the key belongs to another partition"),
        (sealed(ELSEWHERE, 2, CID_1), "the key belongs to another partition"),
    ],
)
def test_what_is_no_event_in_its_place_is_foreign(event: Sealed, reason: str) -> None:
    own = reader(partitions=4)
    found = own.read(3, event.key, event.value)
    assert isinstance(found, Foreign)
    assert (found.offset, found.key) == (3, event.key)
    assert found.reason.startswith(reason)
    assert (own.ends, own.voids) == ({}, set())


def test_an_id_in_another_normal_form_is_another_aggregate() -> None:
    composed, decomposed = sealed("\u00c4", 1, None), sealed("A\u0308", 1, None)
    assert statuses([composed, decomposed]) == [Counted, Counted]
    assert statuses([composed.but(key=decomposed.key)]) == [Foreign]


def test_a_gap_says_what_is_missing_where() -> None:
    first, _, third = chain("p-1", 3)
    own = reader()
    own.read(0, first.key, first.value)
    gap = own.read(5, third.key, third.value)
    assert isinstance(gap, Gap)
    assert str(gap) == (
        "gap in the chain of person 'p-1': offset 5 has version 3, the last event that counts is version 1: "
        "events are missing"
    )


def test_of_ids_longer_than_any_commands_a_reader_keeps_a_hash_and_a_start() -> None:
    own, events = reader(), [event for number in range(3) for event in chain("ä" * 30_000 + str(number), 2)]
    assert statuses(events, own) == [Counted] * 6
    assert [len(key) for key in own.ends] == [97] * 3
    assert [shown_key(key) for key in own.ends] == ["ä" * 32 + "…"] * 3


def test_a_reader_goes_on_with_what_another_one_kept() -> None:
    first, second, third, fourth = chain("p-1", 4)
    (lost, after_lost) = chain("p-1", 2, after=second, command_id="zombie")
    before = reader()
    assert statuses([first, second, third, lost], before) == [Counted, Counted, Counted, Void]
    after = RememberingReader("person", keys_of(0, 1), before.ends, before.voids)
    assert statuses([after_lost, fourth], after) == [Void, Counted]
    assert statuses([fourth]) == [Gap]  # as a reader says that knows nothing of what was before
    assert before.ends == {b"p-1": KeptEnd(3, third.cid)}  # what is given back is not shared


def test_a_follower_with_a_store_is_asked_and_nothing_is_kept_beside_it() -> None:
    first, second = chain("p-1", 2)
    asked: list[Any] = []

    def chain_end(key: bytes) -> KeptEnd:
        asked.append(key)
        return KeptEnd(1, first.cid)

    def is_void(cid: bytes | None) -> bool:
        asked.append(cid)
        return False

    own = JournalReader("person", keys_of(0, 1), chain_end, is_void)
    assert [type(own.read(0, b"p-1", second.value)) for _ in range(2)] == [Counted, Counted]
    assert asked == [b"p-1", b"p-1"]  # a void CID is looked up only for what does not count
    assert type(own.read(0, b"p-1", first.value)) is Void
    assert asked[2:] == [b"p-1", None]


def _event(event: Sealed) -> dict[str, Any]:
    from annals.schemas.chain import read_block

    return read_block("person", event.value)


@pytest.mark.parametrize("key", [None, b"p-0", b"p-2", b"", b"p-1 "])
def test_a_record_whose_key_is_not_its_aggregates_id_is_foreign(key: bytes | None) -> None:
    (event,) = chain("p-1", 1)
    assert read_record("person", event.key, event.value) == _event(event)
    with pytest.raises(ForeignError, match="key"):
        read_record("person", key, event.value)
    assert type(reader().read(0, key, event.value)) is Foreign


def test_the_next_version_counts_in_a_chain_of_any_length() -> None:
    """Goes red where versions are compared by identity."""
    first = sealed("p-1", 1_000, CID_1)
    own = RememberingReader("person", keys_of(0, 1), {b"p-1": KeptEnd(999, CID_1)})
    assert type(own.read(0, first.key, first.value)) is Counted


def test_a_version_that_is_left_out_is_a_gap_also_where_it_names_the_chains_end() -> None:
    (first,) = chain("p-1", 1)
    skipped = sealed("p-1", 3, first.cid)
    assert statuses([first, skipped]) == [Counted, Gap]


def test_the_first_event_of_an_aggregate_that_belongs_elsewhere_is_foreign() -> None:
    assert statuses(chain(ELSEWHERE, 2), reader(4)) == [Foreign, Foreign]
