"""workflow, row by row of the domain's table: the whole. Its steps are in test_workflow_steps."""

from __future__ import annotations

from typing import Any

import pytest

from annals.agents.aggregates.workflow import MAX_STEPS
from annals.agents.testing import given
from annals.schemas.kinds.workflow import (
    AddStep,
    CancelWorkflow,
    CompleteStep,
    CompleteWorkflow,
    DeadlineMissed,
    DeadlineSet,
    DefineWorkflow,
    ExpireDeadline,
    FailWorkflow,
    PauseWorkflow,
    PlannedStep,
    ResumeWorkflow,
    SetDeadline,
    StartStep,
    StartWorkflow,
    StepAdded,
    StepCompleted,
    StepFailed,
    StepSkipped,
    StepStarted,
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowDefined,
    WorkflowFailed,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowStarted,
)
from annals.schemas.values.refs import ActorRef, OwnerRef, Ref

LAB = OwnerRef(kind="organization", id="o-1")
ADA = ActorRef(kind="person", id="p-1")
DEFINED = WorkflowDefined(name="Study", definition="review", owner=LAB)
READ = StepAdded(step_id="read", name="Read", step_type="automated")
TIDY = StepAdded(step_id="tidy", name="Tidy", step_type="automated", optional=True)
RUNNING = (DEFINED, READ, WorkflowStarted())
DONE = (*RUNNING, StepStarted(step_id="read", attempt=1), StepCompleted(step_id="read"))
PAUSED = (*RUNNING, WorkflowPaused(reason="lunch"))
NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000001Z"
ENDS = {
    "completed": WorkflowCompleted(),
    "failed": WorkflowFailed(error="no money"),
    "cancelled": WorkflowCancelled(reason="no interest"),
}


def define(**more: Any) -> DefineWorkflow:
    return DefineWorkflow(**{"name": "Study", "definition": "review", "owner": LAB, **more})


def step(*depends_on: str) -> PlannedStep:
    return PlannedStep(name="Step", step_type="automated", depends_on=list(depends_on))


# --- Definition ------------------------------------------------------------------------------------------------------


def test_a_workflow_is_defined_once_with_its_steps() -> None:
    command = define(steps={"a": step(), "b": step("a")}, parameters={"x": [1, {"y": None}]}, deadline=NOON)
    given().when(command).then(
        WorkflowDefined(
            name="Study",
            definition="review",
            owner=LAB,
            steps={"a": step(), "b": step("a")},
            parameters={"x": [1, {"y": None}]},
            deadline=NOON,
        )
    )
    before = given().when(command).events
    assert before is not None
    given(*before).when(command).then_nothing()
    given(*before, READ, WorkflowStarted()).when(command).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        define(owner=OwnerRef(kind="person", id="o-1")),
        define(subjects=[Ref(kind="person", id="p-1")]),
        define(parameters={"x": True}),
        define(deadline=LATER),
        define(steps={"b": step()}),
        define(steps={"a": step("a2"), "a2": step()}),
    ],
)
def test_another_workflow_under_the_same_id_is_not_open(other: DefineWorkflow) -> None:
    first = WorkflowDefined(
        name="Study", definition="review", owner=LAB, parameters={"x": 1}, deadline=NOON, steps={"a": step()}
    )
    given(first).when(other).then_not_open("draft")


def test_subjects_and_dependencies_are_sets() -> None:
    subjects = [Ref(kind="document", id="d-1"), Ref(kind="policy", id="d-1")]
    first = given().when(define(subjects=subjects, steps={"a": step(), "b": step(), "c": step("a", "b")})).events
    again = define(subjects=subjects[::-1], steps={"c": step("b", "a"), "b": step(), "a": step()})
    assert first is not None
    given(*first).when(again).then_nothing()


@pytest.mark.parametrize("command", [AddStep(step_id="a", name="A", step_type="manual"), StartWorkflow()])
def test_only_definition_is_open_to_an_absent_workflow(command: StartWorkflow) -> None:
    given().when(command).then_not_open("absent")


def test_a_workflow_is_not_about_itself() -> None:
    own = define(subjects=[Ref(kind="document", id="d-1"), Ref(kind="workflow", id="this-one")])
    given().when(own).then_refused("self_reference")
    about = [Ref(kind="document", id="this-one")]
    given().when(define(subjects=about)).then(
        WorkflowDefined(name="Study", definition="review", owner=LAB, subjects=about)
    )


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        ({"a": step("b")}, "unknown_step"),
        ({"a": step("a")}, "self_reference"),
        ({"a": step("b"), "b": step("a")}, "dependency_cycle"),
        ({"a": step(), "b": step("a", "d"), "c": step("b"), "d": step("c")}, "dependency_cycle"),
    ],
)
def test_steps_depend_on_known_ones_without_a_ring(steps: dict[str, PlannedStep], rule: str) -> None:
    given().when(define(steps=steps)).then_refused(rule)


def test_a_diamond_is_no_ring() -> None:
    steps = {"end": step("left", "right"), "left": step("begin"), "right": step("begin"), "begin": step()}
    given().when(define(steps=steps)).then(WorkflowDefined(name="Study", definition="review", owner=LAB, steps=steps))


def test_a_step_is_added_once_while_the_workflow_goes_on() -> None:
    command = AddStep(step_id="read", name="Read", step_type="automated")
    for before in ((DEFINED,), (DEFINED, TIDY, WorkflowStarted()), (DEFINED, TIDY, *PAUSED[2:])):
        given(*before).when(command).then(READ)
        given(*before, READ).when(command).then_nothing()
    for status, end in ENDS.items():
        given(DEFINED, TIDY, WorkflowStarted(), end).when(command).then_not_open(status)


def test_an_added_step_has_a_new_id_and_known_dependencies() -> None:
    given(DEFINED, READ).when(AddStep(step_id="read", name="Read", step_type="manual")).then_refused("duplicate_step")
    given(DEFINED, READ).when(AddStep(step_id="b", name="B", step_type="manual", depends_on=["c"])).then_refused(
        "unknown_step"
    )
    given(DEFINED, READ).when(AddStep(step_id="b", name="B", step_type="manual", depends_on=["b"])).then_refused(
        "self_reference"
    )
    given(DEFINED, READ).when(AddStep(step_id="b", name="B", step_type="manual", depends_on=["read"])).then(
        StepAdded(step_id="b", name="B", step_type="manual", depends_on=["read"])
    )


def test_steps_have_a_limit() -> None:
    many = [StepAdded(step_id=f"s{n}", name="S", step_type="manual") for n in range(MAX_STEPS)]
    more = AddStep(step_id="one-more", name="S", step_type="manual")
    given(DEFINED, *many[:-1]).when(more).then(StepAdded(step_id="one-more", name="S", step_type="manual"))
    given(DEFINED, *many).when(more).then_refused("limit_reached")


def test_the_event_of_a_step_carries_the_attempts_that_were_not_given() -> None:
    sent = {"step_id": "a", "name": "A", "step_type": "manual"}
    given(DEFINED).when_sent("AddStep", sent, kind="workflow").then(
        StepAdded(step_id="a", name="A", step_type="manual", max_attempts=3)
    )


# --- The run ---------------------------------------------------------------------------------------------------------


def test_a_workflow_with_steps_is_started_once() -> None:
    given(DEFINED).when(StartWorkflow()).then_refused("steps_missing")
    given(DEFINED, READ).when(StartWorkflow()).then(WorkflowStarted())
    given(*RUNNING).when(StartWorkflow()).then_nothing()
    given(*PAUSED).when(StartWorkflow()).then_not_open("paused")


def test_a_running_workflow_is_paused_and_resumed() -> None:
    given(*RUNNING).when(PauseWorkflow(reason="lunch")).then(WorkflowPaused(reason="lunch"))
    given(*PAUSED).when(PauseWorkflow(reason="dinner")).then_nothing()
    given(*PAUSED).when(ResumeWorkflow()).then(WorkflowResumed())
    given(*RUNNING).when(ResumeWorkflow()).then_nothing()
    given(DEFINED).when(PauseWorkflow(reason="lunch")).then_not_open("draft")
    given(DEFINED).when(ResumeWorkflow()).then_not_open("draft")


def test_in_a_paused_workflow_nothing_starts_and_what_runs_may_end() -> None:
    given(*PAUSED).when(StartStep(step_id="read")).then_not_open("paused")
    begun = (*RUNNING, StepStarted(step_id="read", attempt=1), WorkflowPaused(reason="lunch"))
    given(*begun).when(CompleteStep(step_id="read")).then(StepCompleted(step_id="read"))
    given(*begun, StepCompleted(step_id="read")).when(CompleteWorkflow()).then_not_open("paused")


def test_a_workflow_is_completed_when_all_that_has_to_be_done_is_done() -> None:
    started = StepStarted(step_id="read", attempt=1)
    complete = CompleteWorkflow(results={"read": 3})
    given(*RUNNING).when(complete).then_refused("steps_open")
    given(*RUNNING, started).when(complete).then_refused("steps_open")
    given(*RUNNING, started, StepFailed(step_id="read", error="x")).when(complete).then_refused("steps_open")
    given(*DONE).when(complete).then(WorkflowCompleted(results={"read": 3}))


def test_an_optional_step_may_be_left_open_but_not_running() -> None:
    with_tidy, begun = (*DONE, TIDY), StepStarted(step_id="tidy", attempt=1)
    given(*with_tidy).when(CompleteWorkflow()).then(WorkflowCompleted())
    given(*with_tidy, begun).when(CompleteWorkflow()).then_refused("steps_open")
    for end in (StepFailed(step_id="tidy", error="x"), StepSkipped(step_id="tidy", reason="x")):
        given(*with_tidy, begun, end).when(CompleteWorkflow()).then(WorkflowCompleted())


def test_a_workflow_is_completed_once_with_its_results() -> None:
    completed = (*DONE, WorkflowCompleted(results={"read": 3}))
    given(*completed).when(CompleteWorkflow(results={"read": 3})).then_nothing()
    given(*completed).when(CompleteWorkflow()).then_nothing()
    given(*completed).when(CompleteWorkflow(results={"read": 4})).then_not_open("completed")


@pytest.mark.parametrize("before", [(DEFINED,), RUNNING, PAUSED], ids=["draft", "running", "paused"])
def test_a_workflow_fails_or_is_cancelled_once_from_anywhere(before: tuple[WorkflowDefined, ...]) -> None:
    fail, failed = FailWorkflow(error="no money"), WorkflowFailed(error="no money")
    cancel, cancelled = CancelWorkflow(reason="no interest"), WorkflowCancelled(reason="no interest")
    given(*before).when(fail).then(failed)
    given(*before, failed).when(fail).then_nothing()
    given(*before, failed).when(FailWorkflow(error="no time")).then_not_open("failed")
    given(*before).when(cancel).then(cancelled)
    given(*before, cancelled).when(CancelWorkflow(reason="other")).then_nothing()
    given(*before, cancelled).when(fail).then_not_open("cancelled")
    given(*before, failed).when(cancel).then_not_open("failed")


# --- Its deadline ----------------------------------------------------------------------------------------------------


def test_a_deadline_is_set_moved_and_taken_away() -> None:
    due = (DEFINED, DeadlineSet(deadline=LATER))
    given(DEFINED).when(SetDeadline(deadline=LATER)).then(DeadlineSet(deadline=LATER))
    given(*due).when(SetDeadline(deadline="2026-01-01T12:00:00.0000010Z")).then_nothing()
    given(*due).when(SetDeadline(deadline="2027-01-01T00:00:00Z")).then(DeadlineSet(deadline="2027-01-01T00:00:00Z"))
    given(*due).when(SetDeadline(deadline=None)).then(DeadlineSet(deadline=None))
    given(DEFINED).when(SetDeadline(deadline=None)).then_nothing()


def test_a_deadline_is_in_the_future() -> None:
    given(DEFINED).when(SetDeadline(deadline=NOON)).then_refused("deadline_passed")
    given(DEFINED).when(SetDeadline(deadline="2025-12-31T23:59:59Z")).then_refused("deadline_passed")


def test_a_reached_deadline_fails_the_workflow() -> None:
    expire = ExpireDeadline(deadline=NOON)
    for before in (RUNNING, PAUSED):
        due = (*before, DeadlineSet(deadline=NOON))
        given(*due).when(expire).then(DeadlineMissed(deadline=NOON))
        missed = (*due, DeadlineMissed(deadline=NOON))
        given(*missed).when(expire).then_nothing()
        given(*missed).when(ResumeWorkflow()).then_not_open("failed")


def test_a_deadline_expires_when_it_is_the_workflows_and_reached() -> None:
    given(*RUNNING).when(ExpireDeadline(deadline=NOON)).then_refused("deadline_moved")
    given(*RUNNING, DeadlineSet(deadline=LATER)).when(ExpireDeadline(deadline=NOON)).then_refused("deadline_moved")
    given(*RUNNING, DeadlineSet(deadline=LATER)).when(ExpireDeadline(deadline=LATER)).then_refused(
        "deadline_not_reached"
    )
    given(DEFINED, DeadlineSet(deadline=NOON)).when(ExpireDeadline(deadline=NOON)).then_not_open("draft")


# --- Malformed -------------------------------------------------------------------------------------------------------


def test_a_malformed_definition_names_every_member_that_offends() -> None:
    data = {
        "definition": "Review",
        "owner": {"kind": "agent", "id": "a-1"},
        "subjects": [{"kind": "person", "id": "p-1"}, {"kind": "person", "id": "p-1"}],
        "deadline": "tomorrow",
        "steps": {"Read": {"name": "Read", "step_type": "manual"}, "b": {"name": "B", "max_attempts": 11}},
    }
    given().when_sent("DefineWorkflow", data, kind="workflow").then_invalid(
        "data.name",
        "data.definition",
        "data.owner.kind",
        "data.subjects[1]",
        "data.deadline",
        "data.steps.Read",
        "data.steps.b.step_type",
        "data.steps.b.max_attempts",
    )


def test_parameters_and_results_are_measured_as_dag_cbor() -> None:
    # {"x": text} is 1 + 2 + 3 bytes and up to 65,535 of text.
    parameters, results = {"x": "y" * (16 * 1024 - 6)}, {"x": "y" * (64 * 1024 - 6)}
    given().when(define(parameters=parameters)).then(
        WorkflowDefined(name="Study", definition="review", owner=LAB, parameters=parameters)
    )
    given(*DONE).when(CompleteWorkflow(results=results)).then(WorkflowCompleted(results=results))
    too_large = {"name": "S", "definition": "d", "owner": {"kind": "person", "id": "p"}, "parameters": results}
    given().when_sent("DefineWorkflow", too_large, kind="workflow").then_invalid("data.parameters")
    longer = {"results": {"x": "y" * (64 * 1024 - 5)}}
    given(*DONE).when_sent("CompleteWorkflow", longer, kind="workflow").then_invalid("data.results")


def test_a_definition_has_at_most_as_many_steps_as_a_workflow() -> None:
    steps = {f"s{n}": {"name": "S", "step_type": "manual"} for n in range(MAX_STEPS + 1)}
    data = {"name": "S", "definition": "d", "owner": {"kind": "person", "id": "p"}, "steps": steps}
    given().when_sent("DefineWorkflow", data, kind="workflow").then_invalid("data.steps")


def test_a_step_of_a_definition_depends_on_at_most_as_many_as_a_workflow_has() -> None:
    step = {"name": "S", "step_type": "manual", "depends_on": [f"s{n}" for n in range(MAX_STEPS + 1)]}
    data = {"name": "S", "definition": "d", "owner": {"kind": "person", "id": "p"}, "steps": {"k": step}}
    given().when_sent("DefineWorkflow", data, kind="workflow").then_invalid("data.steps.k.depends_on")
