"""examples/research.py on the aggregates in memory: its chains, its causes and what it ends with."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.testing.workbench import Workbench
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from types import ModuleType

    from annals.schemas.commands import NewCommand
    from annals.schemas.envelope import RecordedEvent
    from annals.schemas.outcome import Outcome

FILE = Path(__file__).parents[3] / "examples/research.py"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("research_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class InMemory:
    def __init__(self) -> None:
        self.bench = Workbench()
        self.outcomes: list[Outcome] = []

    async def send(self, command: NewCommand) -> Outcome:
        self.outcomes.append(self.bench.send(command))
        return self.outcomes[-1]

    async def event(self, kind: str, aggregate_id: str, cid: str) -> RecordedEvent:
        return next(event for event in self.bench.events(kind, aggregate_id) if cid_text(event.cid) == cid)


@pytest.fixture(scope="module")
def world() -> InMemory:
    world = InMemory()
    asyncio.run(example().research(world, "run"))
    return world


def types(world: InMemory, kind: str, aggregate_id: str) -> list[str]:
    return [event.type for event in world.bench.events(kind, aggregate_id)]


def test_the_research_goes_from_a_question_to_approved_results(world: InMemory) -> None:
    once = ["StepStarted", "StepCompleted"]
    assert types(world, "workflow", "research-run") == [
        "WorkflowDefined",
        "WorkflowStarted",
        *once,
        "StepStarted",
        "StepFailed",
        *once * 4,
        "StepStarted",
        "StepApproved",
        "WorkflowCompleted",
    ]
    assert types(world, "document", "report-run")[-1] == "DocumentPublished"


def test_every_task_is_known_by_the_event_that_caused_it(world: InMemory) -> None:
    started = {cid_text(e.cid): e for e in world.bench.events("workflow", "research-run") if e.type == "StepStarted"}
    assigned = [e for e in world.bench.events("agent", "scout-run") if e.type == "TaskAssigned"]
    assert len(assigned) == 5
    for task in assigned:
        cause = started[task.data["task_id"]]
        assert (task.data["step_id"], task.data["attempt"]) == (cause.data["step_id"], cause.data["attempt"])
        assert (task.causation_id, task.correlation_id) == (cid_text(cause.cid), cause.correlation_id)


def test_every_end_of_a_task_ends_its_attempt_once(world: InMemory) -> None:
    ends = {
        cid_text(e.cid): e
        for e in world.bench.events("agent", "scout-run")
        if e.type in {"TaskCompleted", "TaskFailed"}
    }
    caused: list[Any] = [e for e in world.bench.events("workflow", "research-run") if e.causation_id in ends]
    assert [e.data["attempt"] for e in caused] == [1, 2, 1, 1, 1]
    assert sorted(e.causation_id for e in caused) == sorted(ends)
    assert [outcome.status for outcome in world.outcomes].count("duplicate") == 4


def test_each_rule_that_the_story_breaks_on_purpose_is_named(world: InMemory) -> None:
    broken = [outcome.error.details.get("rule") for outcome in world.outcomes if outcome.error is not None]
    assert broken == ["model_missing", "dependencies_open", "steps_open", "not_the_assignee", "confidence_too_low"]


def test_a_story_that_goes_otherwise_stops() -> None:
    # Told again of the same aggregates, what it has refused is true already.
    world, script = InMemory(), example()
    asyncio.run(script.research(world, "run"))
    with pytest.raises(RuntimeError, match="the story has model_missing, but"):
        asyncio.run(script.research(world, "run"))
