"""The steps of a workflow: a graph without rings, and a small machine of their own.

pending → running → completed or failed; failed → running while attempts are left; pending, failed → skipped.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import UNSET

from annals.agents.deciding.comparison import matches, or_none
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import known, refuse_self
from annals.agents.deciding.state import StatePart
from annals.schemas.kinds import workflow as say
from annals.schemas.values.refs import ref_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import UnsetType

StepCommand = (
    say.AddStep
    | say.AssignStep
    | say.SetDeadline
    | say.StartStep
    | say.CompleteStep
    | say.DecideStep
    | say.FailStep
    | say.ExpireDeadline
    | say.SkipStep
)
NEEDS_ASSIGNEE: Final = frozenset({"manual", "agent", "approval"})


class Step(StatePart):
    """A step and where it is. `attempts` counts those begun; `spent`: a failure used up the rest of them."""

    name: str
    step_type: str
    depends_on: list[str] = []
    optional: bool = False
    max_attempts: int = 3
    assignee: str | None = None
    deadline: str | None = None
    status: str = "pending"
    attempts: int = 0
    spent: bool = False
    output: dict[str, Any] | None = None
    confidence: int | float | None = None
    error: str | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more happens to it: what depends on it may begin."""
        return self.status in {"completed", "skipped"}

    @property
    def is_exhausted(self) -> bool:
        """Whether it cannot be tried again."""
        return self.spent or self.attempts >= self.max_attempts


def planned(plan: say.PlannedStep | say.StepAdded) -> Step:
    """A step before anything has happened to it."""
    return Step(
        name=plan.name,
        step_type=plan.step_type,
        depends_on=or_none(plan.depends_on) or [],
        optional=plan.optional is True,
        max_attempts=plan.max_attempts,
        assignee=None if plan.assignee is UNSET else ref_text(plan.assignee),
        deadline=or_none(plan.deadline),
    )


def is_true_of(step: Step, command: StepCommand) -> bool:
    """Whether a command's wish is true of its step."""
    match command:
        case say.AddStep() | say.AssignStep() | say.SetDeadline():
            return matches(command, step)
        case say.StartStep():
            return step.status == "running"
        case say.CompleteStep():
            return step.status == "completed" and _is_attempt(step, command.attempt) and matches(command, step)
        case say.DecideStep():
            return step.step_type == "approval" and step.status == ("completed" if command.approved else "failed")
        case say.FailStep():
            return step.status == "failed" and _is_attempt(step, command.attempt) and matches(command, step)
        case say.ExpireDeadline():
            return step.status == "failed" and matches(command, step)
        case say.SkipStep():
            return step.status == "skipped"
        case _:
            assert_never(command)


def _is_attempt(step: Step, attempt: int | UnsetType) -> bool:
    return attempt is UNSET or attempt == step.attempts


def refuse_bad_graph(plans: Mapping[str, say.PlannedStep]) -> None:
    """Refuse steps that depend on unknown ones, on themselves or in a ring: `dependency_cycle`."""
    graph = {step_id: or_none(plan.depends_on) or () for step_id, plan in plans.items()}
    for step_id, plan in plans.items():
        refuse_bad_dependencies(step_id, plan.depends_on, graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as ring:
        raise Refused("dependency_cycle", f"steps depend on one another in a ring: {', '.join(ring.args[1])}") from None


def refuse_bad_dependencies(step_id: str, depends_on: list[str] | UnsetType, steps: Mapping[str, object]) -> None:
    """Refuse a step that depends on itself, before one that depends on an unknown step: it would always be both."""
    for other in or_none(depends_on) or ():
        refuse_self(other, step_id, "a step in depends_on")
    for other in or_none(depends_on) or ():
        known(steps, other, "step")


def refuse_closed(step_id: str, step: Step) -> None:
    """Refuse what is completed or skipped: `step_closed`."""
    if step.is_closed:
        raise Refused("step_closed", f"the step {step_id} is {step.status}")


def refuse_start(step_id: str, step: Step, steps: Mapping[str, Step]) -> None:
    """Refuse an attempt at a step that is over, waits, lacks somebody to do it, or has failed for good."""
    refuse_closed(step_id, step)
    waits_for = [other for other in step.depends_on if other not in steps or not steps[other].is_closed]
    if waits_for:
        raise Refused("dependencies_open", f"the step {step_id} waits for {', '.join(waits_for)}")
    if step.assignee is None and step.step_type in NEEDS_ASSIGNEE:
        raise Refused("assignee_missing", f"nobody is to do the step {step_id}: AssignStep first")
    if step.is_exhausted:
        raise Refused("attempts_exhausted", f"the step {step_id} has no attempts left")


def refuse_completion(command: say.CompleteStep, step: Step) -> None:
    """Refuse to complete what is for its assignee to decide, does not run, or runs once more."""
    if step.step_type == "approval":
        raise Refused("approval_needed", f"the step {command.step_id} is decided by its assignee: DecideStep")
    refuse_not_running(command.step_id, step)
    _refuse_other_attempt(command, step)


def refuse_decision(command: say.DecideStep, step: Step) -> None:
    """Refuse a yes or no to what asks for none, does not run, or asks another person."""
    if step.step_type != "approval":
        raise Refused("not_an_approval", f"the step {command.step_id} is not one of approval: CompleteStep")
    refuse_not_running(command.step_id, step)
    if step.assignee != f"person/{command.approver_id}":
        raise Refused("not_the_assignee", f"it is not for this person to decide the step {command.step_id}")


def refuse_failure(command: say.FailStep, step: Step) -> None:
    """Refuse the failure of what does not run, or runs once more."""
    refuse_not_running(command.step_id, step)
    _refuse_other_attempt(command, step)


def refuse_not_running(step_id: str, step: Step) -> None:
    """Refuse the end of what does not run: `step_not_running`."""
    if step.status != "running":
        raise Refused("step_not_running", f"the step {step_id} is {step.status}")


def _refuse_other_attempt(command: say.CompleteStep | say.FailStep, step: Step) -> None:
    if not _is_attempt(step, command.attempt):
        raise Refused("attempt_over", f"another attempt at the step {command.step_id} is running")


def fall(step_id: str, step: Step, *, is_final: bool = False) -> list[say.WorkflowFailed]:
    """What follows the failure of a running step: without attempts left, one that is not optional ends the whole."""
    if step.optional or not (is_final or step.is_exhausted):
        return []
    return [say.WorkflowFailed(error=f"the step {step_id} failed and has no attempts left")]


def refuse_skip(step_id: str, step: Step) -> None:
    """Refuse to leave out what has to be done, or what runs or is over."""
    if not step.optional:
        raise Refused("step_mandatory", f"the step {step_id} is not optional")
    if step.status not in {"pending", "failed"}:
        raise Refused("step_closed", f"the step {step_id} is {step.status}: only a pending or failed one is skipped")


def refuse_open_steps(steps: Mapping[str, Step]) -> None:
    """Refuse to end while something runs, or something that is not optional is still to be done: `steps_open`."""
    is_open = [i for i, s in steps.items() if s.status == "running" or not (s.optional or s.is_closed)]
    if is_open:
        raise Refused("steps_open", f"steps are open: {', '.join(is_open)}")
