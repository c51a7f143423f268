"""workflow: a graph of steps, and its run.

The rules of its steps are in `annals.agents.deciding.workflow_steps`, those of research beside them.
References, not checked: owner, assignees of steps, subjects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.research import refuse_no_approval, refuse_no_question, refuse_weak_results
from annals.agents.deciding.rules import amend, known, put, refuse_full, refuse_self, refuse_taken
from annals.agents.deciding.state import State
from annals.agents.deciding.workflow_steps import (
    Step,
    fall,
    is_true_of,
    planned,
    refuse_bad_dependencies,
    refuse_bad_graph,
    refuse_closed,
    refuse_completion,
    refuse_decision,
    refuse_failure,
    refuse_not_running,
    refuse_open_steps,
    refuse_skip,
    refuse_start,
)
from annals.schemas.kinds import workflow as say
from annals.schemas.kinds.research import DEFINITION as RESEARCH
from annals.schemas.kinds.research import with_defaults
from annals.schemas.messages import event_from
from annals.schemas.values.refs import ref_text
from annals.schemas.values.standards.calendar import instant, is_after

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_STEPS: Final = 100
_LATE: Final = "the deadline was missed"

# --- Lifecycle -------------------------------------------------------------------------------------------------------

_UNDER_WAY: Final = ("running", "paused")
_FALLS: Final[dict[type, str]] = {say.WorkflowFailed: "failed"}

MACHINE: Final = Machine(
    open_={"draft": "", "running": "", "paused": "nothing starts, what runs may end"},
    terminal={"completed": "", "failed": "", "cancelled": ""},
    rows=(
        On(say.DefineWorkflow, (say.WorkflowDefined,), where=(ABSENT,), to="draft"),
        On(say.AddStep, (say.StepAdded,)),
        On(say.AssignStep, (say.StepAssigned,)),
        On(say.SetDeadline, (say.DeadlineSet,)),
        On(say.StartWorkflow, (say.WorkflowStarted,), where=("draft",), to="running"),
        On(say.StartStep, (say.StepStarted,), where=("running",)),
        On(say.CompleteStep, (say.StepCompleted,), where=_UNDER_WAY),
        On(say.DecideStep, (say.StepApproved, say.StepRejected, say.WorkflowFailed), where=_UNDER_WAY, moves=_FALLS),
        On(say.FailStep, (say.StepFailed, say.WorkflowFailed), where=_UNDER_WAY, moves=_FALLS),
        On(
            say.ExpireDeadline,
            (say.DeadlineMissed, say.WorkflowFailed),
            where=_UNDER_WAY,
            moves=_FALLS,
            may_move={say.DeadlineMissed: "failed"},
        ),
        On(say.SkipStep, (say.StepSkipped,)),
        On(say.PauseWorkflow, (say.WorkflowPaused,), where=("running",), to="paused"),
        On(say.ResumeWorkflow, (say.WorkflowResumed,), where=("paused",), to="running"),
        On(say.CompleteWorkflow, (say.WorkflowCompleted,), where=("running",), to="completed"),
        On(say.FailWorkflow, (say.WorkflowFailed,), to="failed"),
        On(say.CancelWorkflow, (say.WorkflowCancelled,), to="cancelled"),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Workflow(State):
    """The workflow; references are kept as text, free objects as they were said."""

    name: str = ""
    definition: str = ""
    owner: str = ""
    subjects: list[str] = []
    parameters: dict[str, Any] | None = None
    deadline: str | None = None
    steps: dict[str, Step] = {}
    results: dict[str, Any] | None = None
    error: str | None = None


def already_true(command: say.Command, flow: Workflow) -> bool:
    """Whether the command's wish is true of the workflow."""
    match command:
        case say.DefineWorkflow():
            return _is_defined(_applied(command), flow)
        case say.StartWorkflow() | say.PauseWorkflow() | say.ResumeWorkflow():
            return matches(command, flow)
        case say.CompleteWorkflow() | say.FailWorkflow() | say.CancelWorkflow():
            return matches(command, flow)
        case say.SetDeadline() if command.step_id is UNSET:
            return matches(command, flow)
        case say.ExpireDeadline() if command.step_id is UNSET:
            return flow.status == "failed" and matches(command, flow)
        case _:
            step = None if command.step_id is UNSET else flow.steps.get(command.step_id)
            return step is not None and is_true_of(step, command)


def _is_defined(command: say.DefineWorkflow, flow: Workflow) -> bool:
    """Steps that were added later are no contradiction."""
    if not changes(command, flow).keys() <= {"steps"}:
        return False
    steps = or_none(command.steps) or {}
    return all(step_id in flow.steps and matches(plan, flow.steps[step_id]) for step_id, plan in steps.items())


def _applied(command: say.DefineWorkflow) -> say.DefineWorkflow:
    """With the defaults of its definition."""
    if command.definition != RESEARCH or command.parameters is UNSET:
        return command
    return replace(command, parameters=with_defaults(command.parameters))


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, flow: Workflow, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.DefineWorkflow():
            _refuse_own_subject(command, at)
            refuse_bad_graph(or_none(command.steps) or {})
            if command.definition == RESEARCH:
                refuse_no_question(command.parameters)
            return [event_from(_applied(command), say.WorkflowDefined)]
        case say.AddStep():
            refuse_bad_dependencies(command.step_id, command.depends_on, flow.steps)
            refuse_taken(flow.steps, command.step_id, "step")
            refuse_full(flow.steps, MAX_STEPS, "steps")
            return [event_from(command, say.StepAdded)]
        case say.AssignStep():
            refuse_closed(command.step_id, known(flow.steps, command.step_id, "step"))
            return [event_from(command, say.StepAssigned)]
        case say.SetDeadline():
            _refuse_deadline(command, flow, at)
            return [event_from(command, say.DeadlineSet)]
        case say.StartWorkflow():
            _refuse_unready(flow)
            return [event_from(command, say.WorkflowStarted)]
        case say.StartStep():
            step = known(flow.steps, command.step_id, "step")
            refuse_start(command.step_id, step, flow.steps)
            return [event_from(command, say.StepStarted, attempt=step.attempts + 1)]
        case say.CompleteStep():
            refuse_completion(command, known(flow.steps, command.step_id, "step"))
            return [event_from(command, say.StepCompleted)]
        case say.DecideStep():
            step = known(flow.steps, command.step_id, "step")
            refuse_decision(command, step)
            if not command.approved:
                return [event_from(command, say.StepRejected), *fall(command.step_id, step)]
            return [event_from(command, say.StepApproved)]
        case say.FailStep():
            step = known(flow.steps, command.step_id, "step")
            refuse_failure(command, step)
            return [event_from(command, say.StepFailed), *fall(command.step_id, step, is_final=not command.retryable)]
        case say.ExpireDeadline():
            return _expire(command, flow, at)
        case say.SkipStep():
            refuse_skip(command.step_id, known(flow.steps, command.step_id, "step"))
            return [event_from(command, say.StepSkipped)]
        case say.PauseWorkflow():
            return [event_from(command, say.WorkflowPaused)]
        case say.ResumeWorkflow():
            return [event_from(command, say.WorkflowResumed)]
        case say.CompleteWorkflow():
            refuse_open_steps(flow.steps)
            if flow.definition == RESEARCH:
                refuse_weak_results(command.results, flow.parameters)
            return [event_from(command, say.WorkflowCompleted)]
        case say.FailWorkflow():
            return [event_from(command, say.WorkflowFailed)]
        case say.CancelWorkflow():
            return [event_from(command, say.WorkflowCancelled)]
        case _:
            assert_never(command)


def _refuse_own_subject(command: say.DefineWorkflow, at: Circumstances) -> None:
    for subject in or_none(command.subjects) or ():
        refuse_self(ref_text(subject), f"workflow/{at.aggregate_id}", "a subject")


def _refuse_deadline(command: say.SetDeadline, flow: Workflow, at: Circumstances) -> None:
    if command.step_id is not UNSET:
        refuse_closed(command.step_id, known(flow.steps, command.step_id, "step"))
    if command.deadline is not None and not is_after(command.deadline, at.now):
        raise Refused("deadline_passed", "the deadline is not in the future")


def _refuse_unready(flow: Workflow) -> None:
    if not flow.steps:
        raise Refused("steps_missing", "there is nothing to do: AddStep first")
    if flow.definition == RESEARCH:
        refuse_no_approval(step.step_type for step in flow.steps.values())


def _expire(command: say.ExpireDeadline, flow: Workflow, at: Circumstances) -> list[say.Event]:
    step = None if command.step_id is UNSET else known(flow.steps, command.step_id, "step")
    deadline = flow.deadline if step is None else step.deadline
    if deadline is None or instant(deadline) != instant(command.deadline):
        raise Refused("deadline_moved", "this is not the deadline, or no longer")
    if is_after(deadline, at.now):
        raise Refused("deadline_not_reached", "the deadline is still to come")
    if step is None or command.step_id is UNSET:
        return [event_from(command, say.DeadlineMissed)]
    refuse_not_running(command.step_id, step)
    return [event_from(command, say.DeadlineMissed), *fall(command.step_id, step)]


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(flow: Workflow, event: say.Event) -> Workflow:
    """The workflow after the event."""
    match event:
        case say.WorkflowDefined():
            return Workflow(
                status="draft",
                name=event.name,
                definition=event.definition,
                owner=ref_text(event.owner),
                subjects=[ref_text(subject) for subject in or_none(event.subjects) or ()],
                parameters=or_none(event.parameters),
                deadline=or_none(event.deadline),
                steps={step_id: planned(plan) for step_id, plan in (or_none(event.steps) or {}).items()},
            )
        case say.StepAdded():
            return replace(flow, steps=put(flow.steps, event.step_id, planned(event)))
        case say.StepAssigned():
            return _with(flow, event.step_id, assignee=None if event.assignee is None else ref_text(event.assignee))
        case say.DeadlineSet():
            if event.step_id is UNSET:
                return replace(flow, deadline=event.deadline)
            return _with(flow, event.step_id, deadline=event.deadline)
        case say.WorkflowStarted() | say.WorkflowResumed():
            return replace(flow, status="running")
        case say.StepStarted():
            return _with(flow, event.step_id, status="running", attempts=event.attempt, error=None)
        case say.StepCompleted():
            output, confidence = or_none(event.output), or_none(event.confidence)
            return _with(flow, event.step_id, status="completed", output=output, confidence=confidence)
        case say.StepApproved():
            return _with(flow, event.step_id, status="completed")
        case say.StepRejected():
            return _with(flow, event.step_id, status="failed", error=or_none(event.comment) or "rejected")
        case say.StepFailed():
            return _with(flow, event.step_id, status="failed", error=event.error, spent=not event.retryable)
        case say.DeadlineMissed():
            if event.step_id is UNSET:
                return replace(flow, status="failed", error=_LATE)
            return _with(flow, event.step_id, status="failed", error=_LATE)
        case say.StepSkipped():
            return _with(flow, event.step_id, status="skipped")
        case say.WorkflowPaused():
            return replace(flow, status="paused")
        case say.WorkflowCompleted():
            return replace(flow, status="completed", results=or_none(event.results))
        case say.WorkflowFailed():
            return replace(flow, status="failed", error=event.error)
        case say.WorkflowCancelled():
            return replace(flow, status="cancelled")
        case _:
            assert_never(event)


def _with(flow: Workflow, step_id: str, **changed: Any) -> Workflow:
    return replace(flow, steps=amend(flow.steps, step_id, **changed))


# --- Decider ---------------------------------------------------------------------------------------------------------

WORKFLOW: Final = Decider(
    "workflow", MACHINE, Workflow(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
