"""The project's reactions: given events and times, then commands and timers."""

import pytest

from annals.agents.reactions import REGISTRY
from annals.agents.reactions.assign_tasks import ASSIGN_TASKS
from annals.agents.reactions.complete_steps import COMPLETE_STEPS
from annals.agents.reactions.expire_deadlines import EXPIRE_DEADLINES
from annals.agents.reactions.fail_steps import FAIL_STEPS
from annals.schemas.commands import command
from annals.schemas.kinds import agent, workflow
from annals.schemas.values.refs import ActorRef, OwnerRef
from annals.testing import given_reaction, reaction_laws_of

NOON = "2026-11-29T12:00:00Z"
LATER = "2026-11-29T13:00:00Z"


def defined(deadline=None, **step):
    planned = {"name": "Search", "step_type": "agent", "assignee": ActorRef(kind="agent", id="a-1"), **step}
    said = {} if deadline is None else {"deadline": deadline}
    return workflow.WorkflowDefined(
        name="W",
        definition="research",
        owner=OwnerRef(kind="person", id="p-1"),
        steps={"search": workflow.PlannedStep(**planned)},
        **said,
    )


STARTED = workflow.StepStarted(step_id="search", attempt=1)


@pytest.mark.parametrize("name", REGISTRY)
def test_the_laws_hold(name):
    assert REGISTRY[name].name == name
    reaction_laws_of(REGISTRY[name])()


def test_a_step_that_starts_is_a_task_of_its_agent():
    given = given_reaction(ASSIGN_TASKS).on("w-1", defined(deadline=None), workflow.WorkflowStarted()).then()
    given.on("w-1", STARTED)
    (cid,) = {each.removesuffix(":AssignTask") for each in given.ids()}
    task = agent.AssignTask(task_id=cid, task_type="search", workflow_id="w-1", step_id="search", attempt=1)
    given.then(command("agent", "a-1", task))


def test_a_task_goes_to_whom_the_step_is_assigned_to_and_has_its_deadline():
    given = given_reaction(ASSIGN_TASKS).on(
        "w-1",
        defined(),
        workflow.StepAssigned(step_id="search", assignee=ActorRef(kind="agent", id="a-2")),
        workflow.DeadlineSet(step_id="search", deadline=NOON),
        STARTED,
    )
    (sent,) = given.commands
    assert sent.key == b"a-2"
    assert NOON.encode() in sent.value
    given.on("w-1", workflow.StepAssigned(step_id="search", assignee=ActorRef(kind="person", id="p-2")), STARTED).then()


def test_a_persons_step_is_nobodys_task():
    given_reaction(ASSIGN_TASKS).on("w-1", defined(step_type="manual"), STARTED).then()


def test_a_workflow_that_ends_is_forgotten():
    for reaction in (ASSIGN_TASKS, EXPIRE_DEADLINES):
        for end in (workflow.WorkflowCompleted(), workflow.DeadlineMissed(deadline=NOON)):
            given_reaction(reaction).on("w-1", defined(NOON), workflow.WorkflowStarted(), end).then_over()


def test_a_task_that_is_done_completes_its_step():
    done = {"task_id": "t-1", "confidence": 0.9, "workflow_id": "w-1", "step_id": "search", "attempt": 2}
    given_reaction(COMPLETE_STEPS).on("a-1", agent.TaskCompleted(result={"x": 1}, **done)).then(
        command("workflow", "w-1", workflow.CompleteStep(step_id="search", attempt=2, output={"x": 1}, confidence=0.9))
    ).on("a-1", agent.TaskCompleted(result={"x": "y" * 5_000}, **done)).then(
        command("workflow", "w-1", workflow.CompleteStep(step_id="search", attempt=2, confidence=0.9))
    ).on("a-1", agent.TaskCompleted(task_id="t-2", result={}, confidence=1.0)).then().then_over()


def test_a_task_that_failed_fails_its_step():
    failed = agent.TaskFailed(
        task_id="t-1", error="no", retryable=False, workflow_id="w-1", step_id="search", attempt=2
    )
    given_reaction(FAIL_STEPS).on("a-1", failed).then(
        command("workflow", "w-1", workflow.FailStep(step_id="search", error="no", attempt=2, retryable=False))
    ).then_over()


def test_a_workflow_that_runs_at_its_deadline_has_missed_it():
    given = given_reaction(EXPIRE_DEADLINES).on("w-1", defined(NOON)).then_timers({})
    given.on("w-1", workflow.WorkflowStarted()).then_timers({("w-1", "workflow"): NOON})
    given.at("2026-11-29T11:59:59Z").then().at(NOON)
    (identifier,) = given.ids()
    assert identifier.startswith("t:")
    assert identifier.endswith(":ExpireDeadline")
    given.then(command("workflow", "w-1", workflow.ExpireDeadline(deadline=NOON))).then_timers({}).at(LATER).then()


def test_a_deadline_that_moves_takes_its_timer_along():
    given = given_reaction(EXPIRE_DEADLINES).on("w-1", defined(NOON), workflow.WorkflowStarted())
    given.on("w-1", workflow.DeadlineSet(deadline=LATER)).then_timers({("w-1", "workflow"): LATER})
    given.on("w-1", workflow.DeadlineSet(deadline=None)).then_timers({})


def test_a_step_has_a_timer_while_it_runs():
    given = given_reaction(EXPIRE_DEADLINES).on("w-1", defined(deadline=None), workflow.WorkflowStarted())
    given.on("w-1", workflow.DeadlineSet(step_id="search", deadline=NOON)).then_timers({})
    given.on("w-1", STARTED).then_timers({("w-1", "step:search"): NOON})
    given.on("w-1", workflow.StepCompleted(step_id="search")).then_timers({}).at(LATER).then()
    given.on("w-1", STARTED, workflow.WorkflowFailed(error="no")).then_over()


def test_a_step_that_is_started_again_behind_its_deadline_misses_it_again():
    """Goes red when the id of a timer's command is of its time alone: the second one was answered as a `duplicate`."""
    given = given_reaction(EXPIRE_DEADLINES).on("w-1", defined(deadline=None), workflow.WorkflowStarted())
    given.on("w-1", workflow.DeadlineSet(step_id="search", deadline=NOON), STARTED).at(NOON)
    first = given.ids()
    missed = workflow.DeadlineMissed(step_id="search", deadline=NOON)
    given.on("w-1", missed, workflow.StepStarted(step_id="search", attempt=2), recorded=LATER).at(LATER)
    given.then(command("workflow", "w-1", workflow.ExpireDeadline(deadline=NOON, step_id="search")))
    assert not set(given.ids()) & set(first)
