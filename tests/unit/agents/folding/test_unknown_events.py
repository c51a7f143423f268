"""An event that this release cannot read stops the fold, and the message says which release can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord, StoppedError
from annals.schemas.chain import seal
from annals.schemas.cid import cid_of, cid_text
from annals.workers.stores.memory import MemoryStore
from lacking import LACKING
from leaving import LEAVING

if TYPE_CHECKING:
    from collections.abc import Callable

LATER = {"urn:annals:schema:person:PersonRegistered:2": "0.9.0"}


def record(type_name: str, version: int, data: dict[str, Any]) -> JournalRecord:
    at = "2026-11-21T09:30:00.123456Z"
    block, _ = seal(
        kind="person",
        aggregate_id="p-1",
        version=1,
        previous=None,
        type=type_name,
        schema_version=version,
        recorded_at=at,
        command_id="c-1",
        correlation_id="c-1",
        causation_id=None,
        actor=None,
        data=data,
    )
    return JournalRecord(7, b"p-1", block)


def stopped(event: JournalRecord, releases: Any = None) -> str:
    decider = REGISTRY["person"]
    working_set = WorkingSet(decider, MemoryStore(), AggregateCache(1 << 20))
    fold = Fold(decider, working_set, 0, 1, releases or {})
    with pytest.raises(StoppedError) as caught:
        fold.apply([event])
    assert working_set.aggregate(b"p-1").version == 0
    return str(caught.value)


def test_the_release_that_published_a_later_version_is_named() -> None:
    event = record("PersonRegistered", 2, {"name": "Ada"})
    cid = cid_text(cid_of(event.value or b""))
    assert stopped(event, LATER) == (
        f"person 'p-1', partition 0, offset 7, {cid}: person event PersonRegistered of schema version 2: this "
        f"release reads the versions 1 to 1. Release 0.9.0 published urn:annals:schema:person:PersonRegistered:2: run "
        f"that one or a later one. Nothing is skipped."
    )


def test_where_no_release_is_known_it_is_said_where_to_look() -> None:
    message = stopped(record("PersonTeleported", 1, {}))
    assert "this release does not know the type" in message
    assert "the topic schemas names the release that published urn:annals:schema:person:PersonTeleported:1" in message


def test_data_that_are_none_of_a_known_version_are_no_later_releases() -> None:
    message = stopped(record("PersonRegistered", 1, {"nom": "Ada"}), LATER)
    assert "its data do not fit" in message
    assert "find out what wrote it" in message
    assert "elease 0.9.0" not in message


@pytest.mark.usefixtures("signals_of_a_worker")
@pytest.mark.parametrize("error", [lambda: ZeroDivisionError("Ada"), *LEAVING.values()])
def test_an_event_that_the_aggregates_code_cannot_fold_stops_the_shard_at_its_place(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException]
) -> None:
    def broken(state: Any, event: Any) -> Any:
        raise error()

    monkeypatch.setattr(REGISTRY["person"], "evolve", broken)
    message = stopped(record("PersonRegistered", 1, {"name": "Ada"}))
    assert message.startswith("person 'p-1', partition 0, offset 7, ")
    assert f"PersonRegistered cannot be folded, it raises {type(error()).__name__}" in message
    assert "Ada" not in message


@pytest.mark.parametrize("error", [*LACKING.values(), OSError])
def test_what_says_nothing_of_the_event_is_not_told_as_its_defect(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    def broken(state: Any, event: Any) -> Any:
        raise error()

    decider = REGISTRY["person"]
    monkeypatch.setattr(decider, "evolve", broken)
    fold = Fold(decider, WorkingSet(decider, MemoryStore(), AggregateCache(1 << 20)), 0, 1, {})
    with pytest.raises(type(error())):
        fold.apply([record("PersonRegistered", 1, {"name": "Ada"})])
