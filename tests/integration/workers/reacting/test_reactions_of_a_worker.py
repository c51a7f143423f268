"""Reactions on the broker: two kinds that drive one another, while the process that reacts is killed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annals.schemas.cid import cid_text
from annals.workers.client import CommandClient
from annals.workers.client.history import history
from grouped import Group, group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

REACTIONS = ("assign-tasks", "complete-steps", "fail-steps", "expire-deadlines")
WORKFLOWS = 4


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=2) as made:
        yield made


def send(crew: Group, *commands: tuple[str, str, str, dict[str, Any]]) -> None:
    crew.send(
        {"kind": kind, "aggregate_id": aggregate_id, "type": name, "data": data}
        for kind, aggregate_id, name, data in commands
    )


def send_at_once(crew: Group, *commands: tuple[str, str, str, dict[str, Any]]) -> None:
    """Send them without a process, which would have to start first: a deadline may be over by then."""

    async def each() -> None:
        async with CommandClient(crew.settings, timeout_s=60) as client:
            for kind, aggregate_id, name, data in commands:
                outcome = await client.send(kind, {"type": name, "aggregate_id": aggregate_id, "data": data})
                assert outcome.status == "accepted", outcome

    asyncio.run(each())


def events(crew: Group, kind: str, aggregate_id: str) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        return [{**each.event, "cid": cid_text(each.cid)} async for each in history(crew.settings, kind, aggregate_id)]

    return asyncio.run(read())


def agent_commands(agent_id: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    return [
        ("agent", agent_id, "DeployAgent", {"name": "a", "agent_type": "researcher", "owner_id": "p", "capacity": 50}),
        ("agent", agent_id, "ConfigureModel", {"provider": "p", "model": "m"}),
        ("agent", agent_id, "ActivateAgent", {}),
    ]


def workflow_commands(workflow_id: str, **more: Any) -> list[tuple[str, str, str, dict[str, Any]]]:
    step = {"name": "S", "step_type": "agent", "assignee": {"kind": "agent", "id": "a-1"}}
    plan = {"name": "W", "definition": "d", "owner": {"kind": "person", "id": "p"}, "steps": {"s": step}, **more}
    return [
        ("workflow", workflow_id, "DefineWorkflow", plan),
        ("workflow", workflow_id, "StartWorkflow", {}),
        ("workflow", workflow_id, "StartStep", {"step_id": "s"}),
    ]


def test_two_kinds_drive_one_another_by_reactions_and_each_command_is_decided_once(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    send(crew, *agent_commands("a-1"), *workflow_commands("w-before"))
    listed = json.loads(crew.run("reactions", "list", "--json").stdout)["reactions"]
    assert {each["name"]: each["status"] for each in listed} == dict.fromkeys(REACTIONS, "paused")
    for name in REACTIONS[1:]:
        assert crew.run("reactions", "resume", name).returncode == 0
    assert worker.asked("POST", "/v1/reactions/assign-tasks/resume")[1]["status"] == "active"

    ids = [f"w-{number}" for number in range(WORKFLOWS)]
    send(crew, *(each for workflow_id in ids[:2] for each in workflow_commands(workflow_id)))
    soon = (datetime.now(UTC) + timedelta(seconds=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    send_at_once(crew, *workflow_commands("w-late", deadline=soon))
    worker.kill_reader()
    send(crew, *(each for workflow_id in ids[2:] for each in workflow_commands(workflow_id)))

    def tasks() -> list[dict[str, Any]]:
        return [event for event in events(crew, "agent", "a-1") if event["type"] == "TaskAssigned"]

    worker.until(lambda: len(tasks()) == WORKFLOWS + 1, "every step that started has its task")
    by_workflow = {event["data"]["workflow_id"]: event for event in tasks()}
    assert sorted(by_workflow) == sorted([*ids, "w-late"])
    for workflow_id in ids:
        started = events(crew, "workflow", workflow_id)[2]
        task = by_workflow[workflow_id]
        assert task["data"]["task_id"] == task["causation_id"] == started["cid"]
        assert task["command_id"] == f"{started['cid']}:AssignTask"
        assert task["correlation_id"] == started["correlation_id"]
    task_ids = [by_workflow[workflow_id]["data"]["task_id"] for workflow_id in ids]
    done = {"result": {"answer": 42}, "confidence": 0.9}
    starts = [("agent", "a-1", "StartTask", {"task_id": each}) for each in task_ids]
    ends = [("agent", "a-1", "CompleteTask", {"task_id": each, **done}) for each in task_ids[:3]]
    send(crew, *starts, *ends[:2])
    worker.kill_reader()
    send(crew, ends[2], ("agent", "a-1", "FailTask", {"task_id": task_ids[3], "error": "no", "retryable": False}))

    def last(workflow_id: str) -> str:
        return str(events(crew, "workflow", workflow_id)[-1]["type"])

    worker.until(lambda: [last(each) for each in ids[:3]] == ["StepCompleted"] * 3, "the steps are completed")
    worker.until(lambda: last(ids[3]) == "WorkflowFailed", "the step has failed, and its workflow")
    worker.until(lambda: last("w-late") == "DeadlineMissed", "the deadline has come")
    late = Counter(event["type"] for event in events(crew, "workflow", "w-late"))
    assert late["DeadlineMissed"] == 1
    for workflow_id in ids[:3]:
        assert [each["type"] for each in events(crew, "workflow", workflow_id)].count("StepCompleted") == 1

    status = json.loads(crew.run("reactions", "status", "expire-deadlines", "--json").stdout)
    assert (status["status"], status["timers"]["pending"]) == ("active", 0)
    assert json.loads(crew.run("reactions", "pause", "assign-tasks", "--json").stdout)["status"] == "paused"
    assert crew.run("reactions", "status", "nothing").returncode == 2
    worker.until(lambda: "annals_reaction_commands_total" in worker.metrics(), "commands of reactions are counted")
    assert worker.end() == 0
