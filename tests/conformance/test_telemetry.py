"""What a shard reports is counted alike in memory and in Prometheus' metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.writing.batches.batch import Tally
from annals.agents.writing.shard_id import ShardId
from annals.testing import MemoryClock, MemoryTelemetry
from annals.workers.decision_log import DecisionLog
from annals.workers.telemetry import Metrics, ShardMetrics

if TYPE_CHECKING:
    from annals.agents.ports import ShardTelemetry

PERSON = {"kind": "person"}
SHARD = {**PERSON, "partition": "0"}


class InMemory:
    def __init__(self) -> None:
        self.telemetry = self._counts = MemoryTelemetry()

    def read(self) -> dict[str, Any]:
        counts = self._counts
        return {
            "accepted": counts.statuses["accepted"],
            "rejected": counts.statuses["rejected"],
            "invalid_json": counts.dead_letters["invalid_json"],
            "events": counts.events,
            "forwarded": counts.forwarded,
            "batches": counts.batches,
            "void": counts.folded_records["void"],
            "foreign": counts.folded_records["foreign"],
            "position": counts.position,
            "end": counts.end,
            "aborts": counts.aborts,
            "fences": counts.fences,
            "damages": counts.damages,
            "restore_points": counts.restore_points,
            "oversized": counts.oversized,
            "restores": counts.restores,
            "hits": counts.hits,
            "misses": counts.misses,
            "cached_bytes": counts.cached_bytes,
        }


class InPrometheus:
    def __init__(self) -> None:
        self._metrics = Metrics()
        place = ShardId("person", "commands.person", 0, 1)
        self.telemetry = ShardMetrics(self._metrics, place, MemoryClock(), DecisionLog(place, 1_000))

    def read(self) -> dict[str, Any]:
        value = self._metrics.registry.get_sample_value
        return {
            "accepted": value("annals_commands_total", {**PERSON, "status": "accepted"}),
            "rejected": value("annals_commands_total", {**PERSON, "status": "rejected"}),
            "invalid_json": value("annals_dead_letters_total", {**PERSON, "reason": "invalid_json"}),
            "events": value("annals_events_total", PERSON),
            "forwarded": value("annals_commands_forwarded_total", PERSON),
            "batches": value("annals_batch_commands_count", PERSON),
            "void": value("annals_void_events_total", PERSON),
            "foreign": value("annals_foreign_records_total", PERSON),
            "position": value("annals_restore_offset", SHARD),
            "end": value("annals_restore_end_offset", SHARD),
            "aborts": value("annals_transactions_uncertain_total", PERSON),
            "fences": value("annals_fenced_total", PERSON),
            "damages": value("annals_stores_damaged_total", PERSON),
            "restore_points": value("annals_restore_points_total", PERSON),
            "oversized": value("annals_snapshots_too_large_total", PERSON),
            "restores": value("annals_restores_total", PERSON),
            "hits": value("annals_state_cache_hits_total", PERSON),
            "misses": value("annals_state_cache_misses_total", PERSON),
            "cached_bytes": value("annals_state_cache_bytes"),
        }


@pytest.fixture(params=[InMemory, InPrometheus], ids=["memory", "prometheus"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.param()


def commit(telemetry: ShardTelemetry, statuses: dict[str, int], **more: Any) -> None:
    tally = Tally()
    tally.statuses.update(statuses)
    for name, value in more.items():
        setattr(tally, name, value)
    record = SimpleNamespace(offset=0, key=b"k", value=b"{}", headers=[], timestamp=0)
    telemetry.committed(SimpleNamespace(tally=tally), [record], 0.001, 0.002)


def test_batches_are_counted_by_what_became_of_their_commands(place: Any) -> None:
    commit(place.telemetry, {"accepted": 2, "rejected": 1}, events=3, forwarded=1, oversized=["p-1"])
    commit(place.telemetry, {"accepted": 1})
    found = place.read()
    assert (found["accepted"], found["rejected"], found["events"], found["forwarded"]) == (3, 1, 3, 1)
    assert (found["batches"], found["oversized"]) == (2, 1)


def test_folds_are_counted_and_their_last_position_is_kept(place: Any) -> None:
    place.telemetry.folded({"void": 2, "foreign": 1}, 7, 20)
    place.telemetry.folded({"void": 1}, 20, 20)
    found = place.read()
    assert (found["void"], found["foreign"], found["position"], found["end"]) == (3, 1, 20, 20)


def test_faults_are_counted_each_by_its_name(place: Any) -> None:
    for count, report in enumerate((place.telemetry.aborted, place.telemetry.fenced, place.telemetry.damaged), 1):
        for _ in range(count):
            report()
    found = place.read()
    assert (found["aborts"], found["fences"], found["damages"]) == (1, 2, 3)


def test_restore_points_are_counted_with_the_snapshots_that_they_lack(place: Any) -> None:
    place.telemetry.restore_point(["p-1", "p-2"])
    place.telemetry.restore_point([])
    place.telemetry.restored()
    found = place.read()
    assert (found["restore_points"], found["oversized"], found["restores"]) == (2, 2, 1)


def test_look_ups_add_up_and_the_size_is_the_last(place: Any) -> None:
    place.telemetry.cached(5, 2, 900)
    place.telemetry.cached(1, 1, 400)
    found = place.read()
    assert (found["hits"], found["misses"], found["cached_bytes"]) == (6, 3, 400)


def test_nothing_reported_is_nothing_counted(place: Any) -> None:
    assert not any(place.read().values())
