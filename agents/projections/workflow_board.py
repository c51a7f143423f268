"""workflow_board: how far workflows are, what is ready, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import UNSET
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, RowType, given_members, moment, one_of, reference_to
from annals.schemas.kinds import workflow as say
from annals.schemas.values.moments import exact
from annals.schemas.values.refs import ActorRef, ref_text

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class BoardStep(RowType, kw_only=True):
    """A step; attempts: those begun, or all of them after a failure that is not retryable."""

    name: str
    step_type: str
    depends_on: list[str] = []
    max_attempts: int
    assignee: str | None = None
    deadline: str | None = None
    status: str = "pending"
    attempts: int = 0


class Board(Row, kw_only=True):
    """A workflow; ready: steps that may start. progress: the share of steps that are completed or skipped.

    overdue: open steps whose deadline, or the workflow's, is past at the time when rows are asked for.
    """

    name: str
    definition: str
    status: str = "draft"
    deadline: str | None = None
    steps: dict[str, BoardStep] = {}
    ready: list[str] = []
    overdue: list[str] = []
    progress: float = 0.0


CLOSED: Final = ("completed", "skipped")
STATUSES: Final[dict[type, str]] = {
    say.WorkflowStarted: "running",
    say.WorkflowResumed: "running",
    say.WorkflowPaused: "paused",
    say.WorkflowCompleted: "completed",
    say.WorkflowFailed: "failed",
    say.WorkflowCancelled: "cancelled",
}
STEP_STATUSES: Final[dict[type, str]] = {
    say.StepCompleted: "completed",
    say.StepApproved: "completed",
    say.StepRejected: "failed",
    say.StepSkipped: "skipped",
}


def indexes(row: Board) -> dict[str, list[str]]:
    """Status, whoever has a step, and each deadline of the whole and of open steps."""
    steps = [step for step in row.steps.values() if step.status not in CLOSED]
    deadlines = {row.deadline, *(step.deadline for step in steps)}
    return {
        "status": [row.status],
        "assignee": sorted({step.assignee for step in row.steps.values() if step.assignee}),
        "deadline_before": sorted(moment(deadline) for deadline in deadlines if deadline),
    }


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Board]) -> None:
    """Change the workflow's row."""
    message, at = event.message, event.aggregate_id
    if isinstance(message, say.WorkflowDefined):
        given = given_members(message, "name", "definition", "deadline")
        planned = {} if message.steps is UNSET else message.steps
        steps = {step_id: _planned(step) for step_id, step in planned.items()}
        rows.put(_counted(Board(kind=event.kind, aggregate_id=at, steps=steps, **given)), at)
    elif old := rows.get(at):
        rows.put(_counted(_changed(message, old)), at)


def _planned(step: say.PlannedStep | say.StepAdded) -> BoardStep:
    given = given_members(step, "name", "step_type", "depends_on", "max_attempts", "deadline")
    return BoardStep(assignee=None if step.assignee is UNSET else ref_text(step.assignee), **given)


def _counted(row: Board) -> Board:
    closed = {step_id for step_id, step in row.steps.items() if step.status in CLOSED}
    ready = [step_id for step_id, step in row.steps.items() if row.status == "running" and _is_ready(step, closed)]
    return replace(row, ready=sorted(ready), progress=len(closed) / len(row.steps) if row.steps else 0.0)


def _is_ready(step: BoardStep, closed: set[str]) -> bool:
    may_start = step.status == "pending" or (step.status == "failed" and step.attempts < step.max_attempts)
    return may_start and closed.issuperset(step.depends_on)


def _changed(message: object, row: Board) -> Board:
    match message:
        case say.StepAdded():
            return replace(row, steps={**row.steps, message.step_id: _planned(message)})
        case say.StepAssigned():
            assignee = None if message.assignee is None else ref_text(message.assignee)
            return _with(row, message.step_id, assignee=assignee)
        case say.DeadlineSet():
            if message.step_id is UNSET:
                return replace(row, deadline=message.deadline)
            return _with(row, message.step_id, deadline=message.deadline)
        case say.StepStarted():
            return _with(row, message.step_id, status="running", attempts=message.attempt)
        case say.StepFailed():
            row = _with(row, message.step_id, status="failed")
            return row if message.retryable else _without_attempts(row, message.step_id)
        case say.DeadlineMissed():
            if message.step_id is UNSET:
                return replace(row, status="failed")
            return _with(row, message.step_id, status="failed")
        case say.StepCompleted() | say.StepApproved() | say.StepRejected() | say.StepSkipped():
            return _with(row, message.step_id, status=STEP_STATUSES[type(message)])
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


def _without_attempts(row: Board, step_id: str) -> Board:
    step = row.steps.get(step_id)
    return row if step is None else _with(row, step_id, attempts=step.max_attempts)


def _with(row: Board, step_id: str, **changed: Any) -> Board:
    if step_id not in row.steps:
        return row
    return replace(row, steps={**row.steps, step_id: replace(row.steps[step_id], **changed)})


WORKFLOW_BOARD: Final = Projection(
    name="workflow_board",
    version=1,
    wanted={"workflow": frozenset(get_args(say.Event))},
    row=Board,
    parameters=("status", "assignee", "deadline_before"),
    indexes=indexes,
    fold=fold,
    values={
        "status": one_of(["draft", *STATUSES.values()]),
        "assignee": reference_to(ActorRef),
        "deadline_before": lambda time: [moment(exact(time))],
    },
    ranges=("deadline_before",),
)
