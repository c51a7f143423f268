"""agent, row by row of the domain's table."""

from __future__ import annotations

import pytest

from annals.agents.aggregates.agent import MAX_CAPABILITIES, MAX_CLOSED_TASKS
from annals.agents.testing import given
from annals.schemas.kinds.agent import (
    ActivateAgent,
    AgentActivated,
    AgentDecommissioned,
    AgentDeployed,
    AgentSuspended,
    AgentWentOffline,
    AssignTask,
    CancelTask,
    CapabilityGranted,
    CapabilityRevoked,
    CompleteTask,
    ConfigureModel,
    DecommissionAgent,
    DeployAgent,
    FailTask,
    GrantCapability,
    ModelConfigured,
    ReportOffline,
    RevokeCapability,
    StartTask,
    SuspendAgent,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
)

DEPLOY = DeployAgent(name="scout", agent_type="researcher", owner_id="p-1", capacity=2)
SCOUT = AgentDeployed(name="scout", agent_type="researcher", owner_id="p-1", capacity=2)
MODEL = ModelConfigured(provider="acme", model="Large 2")
SEARCHES = CapabilityGranted(capability="web_search")
ACTIVE = (SCOUT, MODEL, SEARCHES, AgentActivated())
STEP = {"workflow_id": "w-1", "step_id": "search", "attempt": 1}
ASSIGN = AssignTask(task_id="t1", task_type="search", needs=["web_search"], **STEP)
ASSIGNED = TaskAssigned(task_id="t1", task_type="search", needs=["web_search"], **STEP)
STARTED = TaskStarted(task_id="t1", **STEP)
COMPLETE = CompleteTask(task_id="t1", result={"found": 3}, confidence=0.8)
COMPLETED = TaskCompleted(task_id="t1", result={"found": 3}, confidence=0.8, **STEP)
WORKING = (*ACTIVE, ASSIGNED, STARTED)
ENDS = {
    "completed": (STARTED, COMPLETED),
    "failed": (TaskFailed(task_id="t1", error="no network"),),
    "cancelled": (TaskCancelled(task_id="t1"),),
}

# --- The worker ------------------------------------------------------------------------------------------------------


def test_an_agent_is_deployed_once() -> None:
    given().when(DEPLOY).then(SCOUT)
    given(*ACTIVE).when(DEPLOY).then_nothing()
    other = DeployAgent(name="scout", agent_type="analyst", owner_id="p-1", capacity=2)
    given(SCOUT).when(other).then_not_open("deployed")


def test_the_event_of_a_deployment_carries_the_capacity_that_was_not_given() -> None:
    sent = {"name": "scout", "agent_type": "researcher", "owner_id": "p-1"}
    given().when_sent("DeployAgent", sent, kind="agent").then(
        AgentDeployed(name="scout", agent_type="researcher", owner_id="p-1", capacity=1)
    )


@pytest.mark.parametrize(
    "command", [ConfigureModel(provider="a", model="b"), ActivateAgent(), DecommissionAgent(reason="x"), ASSIGN]
)
def test_only_deployment_is_open_to_an_absent_agent(command: ActivateAgent) -> None:
    given().when(command).then_not_open("absent")


def test_a_model_is_configured_as_a_whole() -> None:
    warm = ConfigureModel(provider="acme", model="Large 2", temperature=0)
    given(SCOUT).when(warm).then(ModelConfigured(provider="acme", model="Large 2", temperature=0))
    before = (SCOUT, ModelConfigured(provider="acme", model="Large 2", temperature=0))
    given(*before).when(warm).then_nothing()
    given(*before).when(ConfigureModel(provider="acme", model="Large 2")).then(MODEL)


def test_a_capability_is_granted_once() -> None:
    given(SCOUT).when(GrantCapability(capability="web_search")).then(SEARCHES)
    given(SCOUT, SEARCHES).when(GrantCapability(capability="web_search")).then_nothing()


def test_capabilities_have_a_limit() -> None:
    many = [CapabilityGranted(capability=f"c{n}") for n in range(MAX_CAPABILITIES)]
    more = GrantCapability(capability="one-more")
    given(SCOUT, *many[:-1]).when(more).then(CapabilityGranted(capability="one-more"))
    given(SCOUT, *many).when(more).then_refused("limit_reached")


def test_a_capability_is_revoked_unless_an_open_task_needs_it() -> None:
    revoke, revoked = RevokeCapability(capability="web_search"), CapabilityRevoked(capability="web_search")
    given(*ACTIVE).when(revoke).then(revoked)
    given(*ACTIVE, revoked).when(revoke).then_nothing()
    given(*ACTIVE, ASSIGNED).when(revoke).then_refused("capability_in_use")
    given(*WORKING).when(revoke).then_refused("capability_in_use")
    given(*WORKING, COMPLETED).when(revoke).then(revoked)


def test_an_agent_is_activated_with_a_model_from_wherever_it_rests() -> None:
    given(SCOUT).when(ActivateAgent()).then_refused("model_missing")
    for rest in ((), (AgentActivated(), AgentSuspended(reason="x")), (AgentActivated(), AgentWentOffline())):
        given(SCOUT, MODEL, *rest).when(ActivateAgent()).then(AgentActivated())
    given(*ACTIVE).when(ActivateAgent()).then_nothing()


def test_only_an_active_agent_is_suspended_or_goes_offline() -> None:
    given(*ACTIVE).when(SuspendAgent(reason="audit")).then(AgentSuspended(reason="audit"))
    given(*ACTIVE).when(ReportOffline(reason="no answer")).then(AgentWentOffline(reason="no answer"))
    given(SCOUT).when(SuspendAgent(reason="audit")).then_not_open("deployed")
    given(SCOUT).when(ReportOffline()).then_not_open("deployed")
    given(*ACTIVE, AgentWentOffline()).when(SuspendAgent(reason="audit")).then_not_open("offline")
    given(*ACTIVE, AgentWentOffline()).when(ReportOffline(reason="still")).then_nothing()
    given(*ACTIVE, AgentSuspended(reason="a")).when(SuspendAgent(reason="b")).then_nothing()
    given(*ACTIVE, AgentSuspended(reason="a")).when(ReportOffline()).then_not_open("suspended")


def test_an_agent_is_decommissioned_once_and_without_open_tasks() -> None:
    end, ended = DecommissionAgent(reason="replaced"), AgentDecommissioned(reason="replaced")
    given(SCOUT).when(end).then(ended)
    given(*ACTIVE, ASSIGNED).when(end).then_refused("tasks_open")
    given(*WORKING).when(end).then_refused("tasks_open")
    given(*WORKING, COMPLETED).when(end).then(ended)
    given(SCOUT, ended).when(end).then_nothing()
    given(SCOUT, MODEL, ended).when(ActivateAgent()).then_not_open("decommissioned")


# --- Its tasks -------------------------------------------------------------------------------------------------------


def test_a_task_is_assigned_to_an_active_agent_once() -> None:
    given(*ACTIVE).when(ASSIGN).then(ASSIGNED)
    given(*ACTIVE, ASSIGNED).when(ASSIGN).then_nothing()
    given(SCOUT, MODEL, SEARCHES).when(ASSIGN).then_not_open("deployed")
    given(*ACTIVE, AgentSuspended(reason="x")).when(ASSIGN).then_not_open("suspended")


def test_another_task_under_the_same_id_is_refused() -> None:
    for ended in ((), *ENDS.values()):
        given(*ACTIVE, ASSIGNED, *ended).when(AssignTask(task_id="t1", task_type="other")).then_refused(
            "duplicate_task"
        )


def test_input_and_deadline_are_for_the_worker_and_no_difference_between_tasks() -> None:
    again = AssignTask(task_id="t1", task_type="search", input={"q": "why"}, deadline="2026-02-01T00:00:00Z")
    given(*ACTIVE, ASSIGNED).when(again).then_nothing()


def test_a_task_needs_capabilities_that_the_agent_has() -> None:
    needy = AssignTask(task_id="t2", task_type="draw", needs=["web_search", "vision"])
    given(*ACTIVE).when(needy).then_refused("capability_missing")
    given(*ACTIVE, CapabilityGranted(capability="vision")).when(needy).then(
        TaskAssigned(task_id="t2", task_type="draw", needs=["web_search", "vision"])
    )


def test_an_agent_takes_as_many_open_tasks_as_it_has_room_for() -> None:
    second, third = TaskAssigned(task_id="t2", task_type="search"), AssignTask(task_id="t3", task_type="search")
    given(*ACTIVE, ASSIGNED, second).when(third).then_refused("at_capacity")
    given(*WORKING, second).when(third).then_refused("at_capacity")
    given(*WORKING, second, COMPLETED).when(third).then(TaskAssigned(task_id="t3", task_type="search"))


def test_a_missing_capability_is_named_before_missing_room() -> None:
    full = (*ACTIVE, ASSIGNED, TaskAssigned(task_id="t2", task_type="search"))
    given(*full).when(AssignTask(task_id="t3", task_type="draw", needs=["vision"])).then_refused("capability_missing")


def test_a_task_is_started_once_by_an_active_agent() -> None:
    given(*ACTIVE, ASSIGNED).when(StartTask(task_id="t1")).then(STARTED)
    given(*WORKING).when(StartTask(task_id="t1")).then_nothing()
    given(*ACTIVE).when(StartTask(task_id="t1")).then_refused("unknown_task")
    given(*ACTIVE, ASSIGNED, AgentWentOffline()).when(StartTask(task_id="t1")).then_not_open("offline")


@pytest.mark.parametrize("ended", ENDS.values(), ids=ENDS)
def test_a_task_that_has_ended_is_not_started_again(ended: tuple[TaskFailed, ...]) -> None:
    given(*ACTIVE, ASSIGNED, *ended).when(StartTask(task_id="t1")).then_refused("task_closed")


def test_a_started_task_is_completed_once_even_by_an_agent_that_rests() -> None:
    given(*WORKING).when(COMPLETE).then(COMPLETED)
    given(*WORKING, AgentSuspended(reason="x")).when(COMPLETE).then(COMPLETED)
    given(*WORKING, COMPLETED).when(COMPLETE).then_nothing()


def test_a_task_is_completed_only_after_its_start() -> None:
    given(*ACTIVE, ASSIGNED).when(COMPLETE).then_refused("task_not_started")
    given(*ACTIVE).when(COMPLETE).then_refused("unknown_task")


def test_a_completed_task_is_not_completed_with_another_confidence_or_failed() -> None:
    done = (*WORKING, COMPLETED)
    given(*done).when(CompleteTask(task_id="t1", result={}, confidence=0.1)).then_refused("task_closed")
    given(*done).when(FailTask(task_id="t1", error="late")).then_refused("task_closed")
    given(*done).when(CancelTask(task_id="t1")).then_refused("task_closed")


@pytest.mark.parametrize("start", [(), (STARTED,)], ids=["assigned", "started"])
def test_an_open_task_fails_or_is_cancelled_once(start: tuple[TaskStarted, ...]) -> None:
    open_task = (*ACTIVE, ASSIGNED, *start)
    fail, failed = FailTask(task_id="t1", error="no network"), TaskFailed(task_id="t1", error="no network", **STEP)
    cancel, cancelled = CancelTask(task_id="t1"), TaskCancelled(task_id="t1", **STEP)
    given(*open_task).when(fail).then(failed)
    given(*open_task).when(cancel).then(cancelled)
    given(*open_task, failed).when(fail).then_nothing()
    given(*open_task, cancelled).when(cancel).then_nothing()
    given(*open_task, failed).when(cancel).then_refused("task_closed")
    given(*open_task, cancelled).when(fail).then_refused("task_closed")


def test_an_unknown_task_neither_fails_nor_is_cancelled() -> None:
    given(*ACTIVE).when(FailTask(task_id="t1", error="x")).then_refused("unknown_task")
    given(*ACTIVE).when(CancelTask(task_id="t1")).then_refused("unknown_task")


def test_events_of_a_task_for_no_workflow_name_none() -> None:
    alone = TaskAssigned(task_id="t1", task_type="search")
    given(*ACTIVE, alone).when(StartTask(task_id="t1")).then(TaskStarted(task_id="t1"))
    given(*ACTIVE, alone).when(FailTask(task_id="t1", error="x", retryable=False)).then(
        TaskFailed(task_id="t1", error="x", retryable=False)
    )


def test_the_newest_closed_tasks_are_known_and_older_ones_are_not() -> None:
    def task(n: int) -> tuple[TaskAssigned, TaskCancelled]:
        return TaskAssigned(task_id=f"n{n}", task_type="search"), TaskCancelled(task_id=f"n{n}")

    later = [event for n in range(MAX_CLOSED_TASKS) for event in task(n)]
    given(*ACTIVE, ASSIGNED, *later).when(StartTask(task_id="t1")).then(STARTED)
    given(*WORKING, COMPLETED, *later[:-2]).when(COMPLETE).then_nothing()
    given(*WORKING, COMPLETED, *later).when(COMPLETE).then_refused("unknown_task")
    # What counts is when a task ended, not when it was assigned.
    given(*WORKING, *later, COMPLETED).when(COMPLETE).then_nothing()
    given(*WORKING, *later, COMPLETED).when(CancelTask(task_id="n0")).then_refused("unknown_task")
    given(*WORKING, *later, COMPLETED).when(CancelTask(task_id="n1")).then_nothing()


# --- Malformed -------------------------------------------------------------------------------------------------------


def test_a_malformed_deployment_names_every_member_that_offends() -> None:
    data = {"name": "The Scout", "agent_type": "spy", "capacity": 101, "api_key": "x"}
    given().when_sent("DeployAgent", data, kind="agent").then_invalid(
        "data.name", "data.agent_type", "data.owner_id", "data.capacity", "data.api_key"
    )


@pytest.mark.parametrize(
    ("member", "value", "is_valid"),
    [
        ("temperature", 0, True),
        ("temperature", 2.0, True),
        ("temperature", 2.1, False),
        ("temperature", -1, False),
        ("top_p", 1, True),
        ("top_p", 1.01, False),
        ("max_tokens", 1, True),
        ("max_tokens", 0, False),
        ("max_tokens", 1.0, False),
        ("endpoint", "https://models.example/v1", True),
        ("endpoint", "http://models.example/v1", False),
        ("prompt", "x" * 32_000, True),
        ("prompt", "x" * 32_001, False),
    ],
)
def test_a_model_is_configured_within_its_bounds(member: str, value: object, is_valid: bool) -> None:  # noqa: FBT001
    answer = given(SCOUT).when_sent("ConfigureModel", {"provider": "a", "model": "m", member: value}, kind="agent")
    if is_valid:
        answer.then(ModelConfigured(provider="a", model="m", **{member: value}))
    else:
        answer.then_invalid(f"data.{member}")


def test_inputs_and_results_are_measured_as_dag_cbor() -> None:
    # {"x": text of 256 to 65,535 bytes} is 1 + 2 + 3 bytes and the text.
    largest, too_large = {"x": "y" * (16 * 1024 - 6)}, {"x": "y" * (16 * 1024 - 5)}
    given(*WORKING).when(CompleteTask(task_id="t1", result=largest, confidence=1)).then(
        TaskCompleted(task_id="t1", result=largest, confidence=1, **STEP)
    )
    sent = {"task_id": "t1", "result": too_large, "confidence": 1}
    given(*WORKING).when_sent("CompleteTask", sent, kind="agent").then_invalid("data.result")
    task = {"task_id": "t2", "task_type": "search", "input": too_large, "needs": ["a", "a"]}
    given(*WORKING).when_sent("AssignTask", task, kind="agent").then_invalid("data.input", "data.needs[1]")
