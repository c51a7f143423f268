"""workflow, row by row of the domain's table: its steps."""

from __future__ import annotations

from typing import Any

import pytest

from annals.agents.testing import given
from annals.schemas.kinds.workflow import (
    AssignStep,
    CompleteStep,
    DeadlineMissed,
    DeadlineSet,
    DecideStep,
    ExpireDeadline,
    FailStep,
    SetDeadline,
    SkipStep,
    StartStep,
    StepAdded,
    StepApproved,
    StepAssigned,
    StepCompleted,
    StepFailed,
    StepRejected,
    StepSkipped,
    StepStarted,
    WorkflowDefined,
    WorkflowFailed,
    WorkflowPaused,
    WorkflowStarted,
)
from annals.schemas.values.refs import ActorRef, OwnerRef

ADA, SCOUT = ActorRef(kind="person", id="p-1"), ActorRef(kind="agent", id="a-1")
DEFINED = WorkflowDefined(name="Study", definition="review", owner=OwnerRef(kind="person", id="p-9"))
NOON, LATER, SOON = "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000001Z", "2026-01-02T00:00:00Z"


def added(step_id: str = "a", step_type: str = "automated", **more: Any) -> StepAdded:
    return StepAdded(step_id=step_id, name="Step", step_type=step_type, **more)


def run(*steps: StepAdded) -> tuple[Any, ...]:
    """A running workflow with a step that stays open, and these."""
    return (DEFINED, added("other"), *steps, WorkflowStarted())


def begun(step: StepAdded, attempt: int = 1) -> tuple[Any, ...]:
    """A running workflow with a running step."""
    return (*run(step), StepStarted(step_id=step.step_id, attempt=attempt))


def fallen(step_id: str = "a") -> WorkflowFailed:
    return WorkflowFailed(error=f"the step {step_id} failed and has no attempts left")


STARTED, DONE = StepStarted(step_id="a", attempt=1), StepCompleted(step_id="a")
FAILED = StepFailed(step_id="a", error="no network")
SKIPPED = StepSkipped(step_id="a", reason="not needed")
CLOSED = {"completed": (added(optional=True), STARTED, DONE), "skipped": (added(optional=True), SKIPPED)}
closed = pytest.mark.parametrize("past", CLOSED.values(), ids=CLOSED)

UNKNOWN = [
    AssignStep(step_id="b", assignee=ADA),
    SetDeadline(step_id="b", deadline=SOON),
    StartStep(step_id="b"),
    CompleteStep(step_id="b"),
    DecideStep(step_id="b", approver_id="p-1", approved=True),
    FailStep(step_id="b", error="x"),
    ExpireDeadline(step_id="b", deadline=NOON),
    SkipStep(step_id="b", reason="x"),
]


@pytest.mark.parametrize("command", UNKNOWN, ids=lambda command: type(command).__name__)
def test_nothing_happens_to_an_unknown_step(command: StartStep) -> None:
    given(*run(added())).when(command).then_refused("unknown_step")


@pytest.mark.parametrize("command", [c for c in UNKNOWN if not isinstance(c, AssignStep | SetDeadline | SkipStep)])
def test_steps_run_only_in_a_workflow_that_does(command: StartStep) -> None:
    given(DEFINED, added("b")).when(command).then_not_open("draft")


# --- Planning --------------------------------------------------------------------------------------------------------


def test_a_step_is_assigned_and_taken_away() -> None:
    given(DEFINED, added()).when(AssignStep(step_id="a", assignee=ADA)).then(StepAssigned(step_id="a", assignee=ADA))
    given(DEFINED, added(assignee=ADA)).when(AssignStep(step_id="a", assignee=ADA)).then_nothing()
    given(DEFINED, added(assignee=ADA)).when(AssignStep(step_id="a", assignee=None)).then(
        StepAssigned(step_id="a", assignee=None)
    )
    given(DEFINED, added()).when(AssignStep(step_id="a", assignee=None)).then_nothing()


def test_a_person_and_an_agent_of_one_id_are_two() -> None:
    agent = ActorRef(kind="agent", id="p-1")
    given(DEFINED, added(assignee=ADA)).when(AssignStep(step_id="a", assignee=agent)).then(
        StepAssigned(step_id="a", assignee=agent)
    )


@closed
def test_a_closed_step_is_not_assigned_or_given_a_deadline(past: tuple[Any, ...]) -> None:
    before = (DEFINED, added("other"), past[0], WorkflowStarted(), *past[1:])
    given(*before).when(AssignStep(step_id="a", assignee=ADA)).then_refused("step_closed")
    given(*before).when(AssignStep(step_id="a", assignee=None)).then_nothing()
    given(*before).when(SetDeadline(step_id="a", deadline=SOON)).then_refused("step_closed")
    given(*before).when(SetDeadline(step_id="a", deadline=None)).then_nothing()


def test_a_running_and_a_failed_step_may_be_assigned_anew() -> None:
    assigned = StepAssigned(step_id="a", assignee=SCOUT)
    given(*begun(added())).when(AssignStep(step_id="a", assignee=SCOUT)).then(assigned)
    given(*begun(added()), FAILED).when(AssignStep(step_id="a", assignee=SCOUT)).then(assigned)


def test_a_step_has_a_deadline_of_its_own_in_the_future() -> None:
    due = DeadlineSet(step_id="a", deadline=SOON)
    given(DEFINED, added()).when(SetDeadline(step_id="a", deadline=SOON)).then(due)
    given(DEFINED, added(), due).when(SetDeadline(step_id="a", deadline=SOON)).then_nothing()
    given(DEFINED, added(), due).when(SetDeadline(deadline=SOON)).then(DeadlineSet(deadline=SOON))
    given(DEFINED, added()).when(SetDeadline(step_id="a", deadline=NOON)).then_refused("deadline_passed")


# --- Start -----------------------------------------------------------------------------------------------------------


def test_a_step_is_started_once_with_the_number_of_its_attempt() -> None:
    given(*run(added())).when(StartStep(step_id="a")).then(STARTED)
    given(*begun(added())).when(StartStep(step_id="a")).then_nothing()
    given(*begun(added()), WorkflowPaused(reason="x")).when(StartStep(step_id="a")).then_nothing()
    given(*begun(added()), FAILED).when(StartStep(step_id="a")).then(StepStarted(step_id="a", attempt=2))


@closed
def test_a_closed_step_is_not_started(past: tuple[Any, ...]) -> None:
    given(*run(past[0]), *past[1:]).when(StartStep(step_id="a")).then_refused("step_closed")


def test_a_step_waits_for_all_that_it_depends_on() -> None:
    first, second, last = added(), added("b", optional=True), added("c", depends_on=["a", "b"])
    start = StartStep(step_id="c")
    before = (*run(first, second, last), STARTED)
    skipped = StepSkipped(step_id="b", reason="x")
    given(*before).when(start).then_refused("dependencies_open")
    given(*before, DONE).when(start).then_refused("dependencies_open")
    given(*before, FAILED, skipped).when(start).then_refused("dependencies_open")
    given(*before, DONE, skipped).when(start).then(StepStarted(step_id="c", attempt=1))


def test_a_failed_optional_step_holds_up_what_depends_on_it_until_it_is_skipped() -> None:
    before = (*run(added(optional=True), added("b", depends_on=["a"])), STARTED, FAILED)
    given(*before).when(StartStep(step_id="b")).then_refused("dependencies_open")
    given(*before, SKIPPED).when(StartStep(step_id="b")).then(StepStarted(step_id="b", attempt=1))


@pytest.mark.parametrize("step_type", ["manual", "agent", "approval"])
def test_somebody_is_needed_for_some_sorts_of_steps(step_type: str) -> None:
    given(*run(added(step_type=step_type))).when(StartStep(step_id="a")).then_refused("assignee_missing")
    given(*run(added(step_type=step_type, assignee=ADA))).when(StartStep(step_id="a")).then(STARTED)


@pytest.mark.parametrize("step_type", ["automated", "decision"])
def test_nobody_is_needed_for_others(step_type: str) -> None:
    given(*run(added(step_type=step_type))).when(StartStep(step_id="a")).then(STARTED)


def test_a_step_is_started_as_often_as_it_has_attempts() -> None:
    twice = (*begun(added(optional=True, max_attempts=2)), FAILED)
    given(*twice).when(StartStep(step_id="a")).then(StepStarted(step_id="a", attempt=2))
    given(*twice, StepStarted(step_id="a", attempt=2), FAILED).when(StartStep(step_id="a")).then_refused(
        "attempts_exhausted"
    )


def test_a_failure_that_is_not_retryable_uses_up_the_attempts() -> None:
    final = StepFailed(step_id="a", error="x", retryable=False)
    given(*begun(added(optional=True)), final).when(StartStep(step_id="a")).then_refused("attempts_exhausted")


# --- Completion ------------------------------------------------------------------------------------------------------


def test_a_running_step_is_completed_once_with_its_output() -> None:
    command = CompleteStep(step_id="a", attempt=1, output={"found": 3}, confidence=0.8)
    completed = StepCompleted(step_id="a", attempt=1, output={"found": 3}, confidence=0.8)
    given(*begun(added())).when(command).then(completed)
    given(*begun(added()), WorkflowPaused(reason="x")).when(command).then(completed)
    given(*begun(added()), completed).when(command).then_nothing()
    given(*begun(added()), completed).when(CompleteStep(step_id="a")).then_nothing()
    given(*begun(added()), completed).when(CompleteStep(step_id="a", output={"found": 4})).then_refused(
        "step_not_running"
    )


def test_a_step_that_does_not_run_is_not_completed() -> None:
    given(*run(added())).when(CompleteStep(step_id="a")).then_refused("step_not_running")
    given(*begun(added()), FAILED).when(CompleteStep(step_id="a")).then_refused("step_not_running")


def test_an_attempt_that_is_over_ends_nothing() -> None:
    second = (*begun(added()), FAILED, StepStarted(step_id="a", attempt=2))
    given(*second).when(CompleteStep(step_id="a", attempt=1)).then_refused("attempt_over")
    given(*second).when(FailStep(step_id="a", attempt=1, error="x")).then_refused("attempt_over")
    given(*second).when(CompleteStep(step_id="a", attempt=3)).then_refused("attempt_over")
    given(*second).when(CompleteStep(step_id="a", attempt=2)).then(StepCompleted(step_id="a", attempt=2))
    given(*second).when(CompleteStep(step_id="a")).then(DONE)
    given(*second, DONE).when(CompleteStep(step_id="a", attempt=1)).then_refused("step_not_running")


# --- Approval --------------------------------------------------------------------------------------------------------

APPROVAL = added(step_type="approval", assignee=ADA)
YES = DecideStep(step_id="a", approver_id="p-1", approved=True, comment="well done")
NO = DecideStep(step_id="a", approver_id="p-1", approved=False)
APPROVED = StepApproved(step_id="a", approver_id="p-1", approved=True, comment="well done")
REJECTED = StepRejected(step_id="a", approver_id="p-1", approved=False)


def test_a_step_of_approval_is_approved_once() -> None:
    given(*begun(APPROVAL)).when(YES).then(APPROVED)
    given(*begun(APPROVAL), WorkflowPaused(reason="x")).when(YES).then(APPROVED)
    given(*begun(APPROVAL), APPROVED).when(YES).then_nothing()
    given(*begun(APPROVAL), APPROVED).when(NO).then_refused("step_not_running")


def test_a_rejection_is_a_failure_that_may_be_tried_again() -> None:
    given(*begun(APPROVAL)).when(NO).then(REJECTED)
    given(*begun(APPROVAL), REJECTED).when(NO).then_nothing()
    given(*begun(APPROVAL), REJECTED).when(YES).then_refused("step_not_running")
    given(*begun(APPROVAL), REJECTED).when(StartStep(step_id="a")).then(StepStarted(step_id="a", attempt=2))


def test_the_last_rejection_fails_the_workflow() -> None:
    once = added(step_type="approval", assignee=ADA, max_attempts=1)
    given(*begun(once)).when(NO).then(REJECTED, fallen())
    given(*begun(once), REJECTED, fallen()).when(NO).then_nothing()


def test_only_a_step_of_approval_is_decided_and_it_is_not_just_completed() -> None:
    given(*begun(added(assignee=ADA))).when(YES).then_refused("not_an_approval")
    given(*begun(added(assignee=ADA)), DONE).when(YES).then_refused("not_an_approval")
    given(*begun(APPROVAL)).when(CompleteStep(step_id="a")).then_refused("approval_needed")
    given(*run(APPROVAL)).when(CompleteStep(step_id="a")).then_refused("approval_needed")
    given(*run(APPROVAL)).when(YES).then_refused("step_not_running")


def test_only_the_person_who_is_the_assignee_decides() -> None:
    given(*begun(APPROVAL)).when(DecideStep(step_id="a", approver_id="p-2", approved=True)).then_refused(
        "not_the_assignee"
    )
    of_agent = added(step_type="approval", assignee=ActorRef(kind="agent", id="p-1"))
    given(*begun(of_agent)).when(YES).then_refused("not_the_assignee")
    given(*begun(APPROVAL), StepAssigned(step_id="a", assignee=None)).when(YES).then_refused("not_the_assignee")


# --- Failure ---------------------------------------------------------------------------------------------------------


def test_a_running_step_fails_once() -> None:
    fail = FailStep(step_id="a", error="no network")
    given(*begun(added())).when(fail).then(FAILED)
    given(*begun(added()), WorkflowPaused(reason="x")).when(fail).then(FAILED)
    given(*begun(added()), FAILED).when(fail).then_nothing()
    given(*begun(added()), FAILED).when(FailStep(step_id="a", error="other")).then_refused("step_not_running")
    given(*run(added())).when(fail).then_refused("step_not_running")


def test_the_event_of_a_failure_says_that_it_may_be_tried_again() -> None:
    given(*begun(added())).when_sent("FailStep", {"step_id": "a", "error": "x"}, kind="workflow").then(
        StepFailed(step_id="a", error="x", retryable=True)
    )


def test_the_last_failure_of_a_mandatory_step_fails_the_workflow() -> None:
    fail, final = FailStep(step_id="a", error="no network"), FailStep(step_id="a", error="no", retryable=False)
    given(*begun(added(max_attempts=1))).when(fail).then(FAILED, fallen())
    given(*begun(added())).when(final).then(StepFailed(step_id="a", error="no", retryable=False), fallen())
    given(*begun(added(), 2)).when(fail).then(FAILED)
    given(*begun(added(), 3)).when(fail).then(FAILED, fallen())
    over = (*begun(added(max_attempts=1)), FAILED, fallen())
    given(*over).when(fail).then_nothing()
    given(*over).when(StartStep(step_id="a")).then_not_open("failed")


def test_the_last_failure_of_an_optional_step_is_its_own() -> None:
    given(*begun(added(optional=True, max_attempts=1))).when(FailStep(step_id="a", error="no network")).then(FAILED)


def test_the_same_final_failure_twice_is_one() -> None:
    final = FailStep(step_id="a", error="no", attempt=1, retryable=False)
    failed = StepFailed(step_id="a", error="no", attempt=1, retryable=False)
    given(*begun(added(optional=True))).when(final).then(failed)
    given(*begun(added(optional=True)), failed).when(final).then_nothing()


def test_the_reached_deadline_of_a_running_step_fails_it() -> None:
    expire, missed = ExpireDeadline(step_id="a", deadline=NOON), DeadlineMissed(step_id="a", deadline=NOON)
    given(*begun(added(deadline=NOON))).when(expire).then(missed)
    given(*begun(added(deadline=NOON)), missed).when(expire).then_nothing()
    given(*begun(added(deadline=NOON)), missed).when(StartStep(step_id="a")).then(StepStarted(step_id="a", attempt=2))
    given(*begun(added(deadline=NOON, max_attempts=1))).when(expire).then(missed, fallen())
    given(*begun(added(deadline=NOON, max_attempts=1, optional=True))).when(expire).then(missed)


def test_the_deadline_of_a_step_expires_when_it_is_its_own_and_reached_while_it_runs() -> None:
    expire = ExpireDeadline(step_id="a", deadline=NOON)
    given(*begun(added())).when(expire).then_refused("deadline_moved")
    given(*begun(added(deadline=LATER))).when(expire).then_refused("deadline_moved")
    given(*begun(added()), DeadlineSet(deadline=NOON)).when(expire).then_refused("deadline_moved")
    given(*begun(added(deadline=LATER))).when(ExpireDeadline(step_id="a", deadline=LATER)).then_refused(
        "deadline_not_reached"
    )
    given(*run(added(deadline=NOON))).when(expire).then_refused("step_not_running")
    given(*begun(added(deadline=NOON)), DONE).when(expire).then_refused("step_not_running")


# --- Skipping --------------------------------------------------------------------------------------------------------


def test_an_optional_step_is_skipped_once_before_it_begins_or_after_it_failed() -> None:
    optional, skip = added(optional=True), SkipStep(step_id="a", reason="not needed")
    given(DEFINED, optional).when(skip).then(SKIPPED)
    given(*run(optional)).when(skip).then(SKIPPED)
    given(*begun(optional), FAILED).when(skip).then(SKIPPED)
    given(*run(optional), SKIPPED).when(SkipStep(step_id="a", reason="other")).then_nothing()


def test_a_mandatory_a_running_and_a_completed_step_are_not_skipped() -> None:
    optional, skip = added(optional=True), SkipStep(step_id="a", reason="not needed")
    given(*run(added())).when(skip).then_refused("step_mandatory")
    given(*begun(optional)).when(skip).then_refused("step_closed")
    given(*begun(optional), DONE).when(skip).then_refused("step_closed")


# --- Malformed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "path"),
    [
        ("AssignStep", {"step_id": "a"}, "data.assignee"),
        ("AssignStep", {"step_id": "a", "assignee": {"kind": "organization", "id": "o"}}, "data.assignee.kind"),
        ("SetDeadline", {"step_id": "a"}, "data.deadline"),
        ("SetDeadline", {"deadline": "2026-02-30T00:00:00Z"}, "data.deadline"),
        ("CompleteStep", {"step_id": "a", "confidence": 1.5}, "data.confidence"),
        ("CompleteStep", {"step_id": "a", "attempt": -1}, "data.attempt"),
        ("CompleteStep", {"step_id": "a", "output": {"x": "y" * (4 * 1024 - 5)}}, "data.output"),
        ("DecideStep", {"step_id": "a", "approver_id": "p-1", "approved": 1}, "data.approved"),
        ("FailStep", {"step_id": "a", "error": ""}, "data.error"),
        ("ExpireDeadline", {"step_id": "a", "deadline": None}, "data.deadline"),
        ("AddStep", {"step_id": "b", "name": "B", "step_type": "other"}, "data.step_type"),
        ("AddStep", {"step_id": "b", "name": "B", "step_type": "manual", "max_attempts": 0}, "data.max_attempts"),
        ("AddStep", {"step_id": "b", "name": "B", "step_type": "manual", "optional": "yes"}, "data.optional"),
        (
            "AddStep",
            {"step_id": "b", "name": "B", "step_type": "manual", "depends_on": ["a", "a"]},
            "data.depends_on[1]",
        ),
    ],
)
def test_a_malformed_member_is_named(name: str, data: dict[str, Any], path: str) -> None:
    given(*begun(added())).when_sent(name, data, kind="workflow").then_invalid(path)
