"""examples/consumer.py: what counts, and a command's events together, wherever a poll ends."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from annals.schemas.chain import seal

if TYPE_CHECKING:
    from types import ModuleType

FILE = Path(__file__).parents[3] / "examples/consumer.py"
ONE = "w-1"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("consumer_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block(
    version: int, previous: bytes | None, command_id: str, aggregate_id: str = ONE, kind: str = "workflow"
) -> tuple[bytes, bytes]:
    time = f"2026-11-21T09:30:00.{version:06}Z"
    return seal(
        kind=kind,
        aggregate_id=aggregate_id,
        version=version,
        previous=previous,
        type="StepFailed",
        schema_version=1,
        recorded_at=time,
        command_id=command_id,
        correlation_id=command_id,
        causation_id=None,
        actor=None,
        data={},
    )


def chain(*command_ids: str, aggregate_id: str = ONE) -> list[bytes]:
    """Blocks of one aggregate, an event for each command id."""
    blocks, head = [], None
    for version, command_id in enumerate(command_ids, 1):
        sealed, head = block(version, head, command_id, aggregate_id)
        blocks.append(sealed)
    return blocks


def decided(example: ModuleType, *records: tuple[str, bytes | None], partitions: int = 1) -> tuple[list[str], int]:
    """What a journal yields of these records, in short, and how many it passed over."""
    journal = example.Journal("workflow", 0, partitions)
    found = [each for offset, (key, value) in enumerate(records) for each in journal.take(offset, key.encode(), value)]
    found += journal.end()
    assert list(journal.end()) == []
    short = [f"{each.aggregate_id} {each.command_id} {[event['version'] for event in each.events]}" for each in found]
    return short, journal.passed_over


def test_the_events_of_a_command_come_together(example: ModuleType) -> None:
    records = [(ONE, each) for each in chain("define", "fail", "fail", "other")]
    assert decided(example, *records) == (["w-1 define [1]", "w-1 fail [2, 3]", "w-1 other [4]"], 0)


def test_the_same_id_at_two_aggregates_is_two_commands(example: ModuleType) -> None:
    records = [("w-1", chain("same")[0]), ("w-2", chain("same", aggregate_id="w-2")[0])]
    assert decided(example, *records)[0] == ["w-1 same [1]", "w-2 same [1]"]


def test_a_decision_is_not_yielded_before_it_is_whole(example: ModuleType) -> None:
    journal = example.Journal("workflow", 0, 1)
    first, second, third = chain("fail", "fail", "next")
    assert list(journal.take(0, ONE.encode(), first)) == []
    assert list(journal.take(1, ONE.encode(), second)) == []
    (whole,) = journal.take(2, ONE.encode(), third)
    assert [event["version"] for event in whole.events] == [1, 2]


def test_void_and_foreign_records_are_passed_over(example: ModuleType) -> None:
    first, second = chain("a", "b")
    loser, lost = block(1, None, "zombie")
    after_loser, _ = block(2, lost, "zombie")
    foreign, _ = block(1, None, "x", "p-1", "person")
    records = [(ONE, first), (ONE, loser), (ONE, after_loser), (ONE, b"garbage"), (ONE, None), ("p-1", foreign)]
    assert decided(example, *records, (ONE, second)) == (["w-1 a [1]", "w-1 b [2]"], 5)


def test_an_event_under_another_key_or_in_another_partition_does_not_count(example: ModuleType) -> None:
    (sealed,) = chain("a", aggregate_id="p-1")
    assert decided(example, ("p-2", sealed)) == ([], 1)
    # p-1 belongs to partition 1 of 3.
    assert decided(example, ("p-1", sealed), partitions=3) == ([], 1)


def test_a_gap_is_the_end_of_belief(example: ModuleType) -> None:
    first, _, third = chain("a", "b", "c")
    with pytest.raises(
        example.GapError, match="offset 1 has version 3, the last event that counts is version 1: events are missing"
    ):
        decided(example, (ONE, first), (ONE, third))


def test_a_decision_says_what_happened_and_where_the_chain_ends(example: ModuleType) -> None:
    journal = example.Journal("workflow", 0, 1)
    for offset, each in enumerate(chain("fail", "fail")):
        assert list(journal.take(offset, ONE.encode(), each)) == []
    (whole,) = journal.end()
    assert str(whole).startswith("w-1: StepFailed v1, StepFailed v2 by fail, head bafyr4i")
