"""Shards that were opened from a restore point decide as all others do, whatever happened to its parts."""

from typing import Any

import mutations
import pytest
from reached import reached

from annals.agents.ports import Stored
from annals.agents.writing.restore.restoring import Restoring
from annals.agents.writing.shards.shard import Shard
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import RESTORE_FAULTS, Fault, Plan, plan_of

# Those that make restore points, and in which shards are opened from them.
SEEDS = [seed for seed in range(300) if plan_of(seed).restore.events]

DIFFERS = "of the restore point differs from the journal folded in full"


@pytest.fixture
def differences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why shards stopped whose restore point differs from the journal: no promise is broken then, if all goes well."""
    found: list[str] = []
    stop: Any = Shard._stop

    def stopped(self: Any, reason: str) -> None:
        if DIFFERS in reason:
            found.append(reason)
        stop(self, reason)

    monkeypatch.setattr(Shard, "_stop", stopped)
    return found


def test_histories_have_restore_points_and_all_that_can_become_of_them(differences: list[str]) -> None:
    wanted = dict.fromkeys(RESTORE_FAULTS, 0) | {"restore point": 50, "restored": 10}
    reached(map(plan_of, range(500)), wanted, at_least=60)
    assert differences == []


@pytest.mark.untraced
def test_two_commands_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch, differences: list[str]) -> None:
    for module in ("collecting", "restored"):
        monkeypatch.setattr(f"annals.agents.writing.restore.{module}.command_hash", lambda command: len(command) % 2)
    reached(map(plan_of, SEEDS), {"restored": 5}, at_least=30)
    assert differences == []


@pytest.mark.untraced
def test_a_difference_from_the_journal_stops_the_shard_and_names_the_aggregate(
    monkeypatch: pytest.MonkeyPatch, differences: list[str]
) -> None:
    state: Any = Restoring._state

    def other(self: Any, key: bytes, head: Any, value: bytes) -> Stored:
        found = state(self, key, head, value)
        return found._replace(state=found.state.replace(b"\xa2n", b"\xa2x"))

    monkeypatch.setattr(Restoring, "_state", other)
    for seed in SEEDS[:40]:
        run(plan_of(seed))
    assert any(reason.startswith("the aggregate 'a") for reason in differences)


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", mutations.RESTORE_MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_a_history_fails(
    take_out: Any, monkeypatch: pytest.MonkeyPatch, differences: list[str]
) -> None:
    take_out(monkeypatch)
    assert any(run(plan_of(seed)).problems or differences for seed in SEEDS)


def with_strangers(seed: int) -> Plan:
    """A plan in which somebody writes many events to the journals, most of them void, and disks are lost later."""
    plan = plan_of(seed)
    strangers = [Fault(1.0 + 0.1 * number, "stranger", 7 * number + seed, 0.5) for number in range(12)]
    losses = [Fault(at, "crash_without_disks", seed + int(at), 0.2) for at in (4.0, 7.0)]
    policy = plan.restore._replace(events=5, seconds=1.0, slice_=1_000)
    return plan._replace(faults=tuple(sorted([*strangers, *losses])), restore=policy)


@pytest.mark.untraced
@pytest.mark.parametrize("measures", [[], [mutations.voids_of_a_restore_point]], ids=["kept", "not kept"])
def test_the_void_events_before_a_restore_point_are_known(
    measures: list[mutations.Patch], monkeypatch: pytest.MonkeyPatch, differences: list[str]
) -> None:
    for take_out in measures:
        take_out(monkeypatch)
    problems = [problem for seed in SEEDS[:20] for problem in run(with_strangers(seed)).problems]
    assert measures or problems == []
    assert any(reason.startswith("the void events") for reason in differences) is bool(measures)
