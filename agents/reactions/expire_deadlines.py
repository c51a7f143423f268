"""expire-deadlines: a workflow, or a step of it, that runs at its deadline has missed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec import UNSET, Struct
from msgspec.structs import replace

from annals.agents.reactions.reaction import (
    CancelTimer,
    Occurred,
    Reacted,
    Reaction,
    SetTimer,
    TimerFired,
    at,
    cancel,
)
from annals.schemas.commands import command
from annals.schemas.kinds import workflow as say

if TYPE_CHECKING:
    from msgspec import UnsetType

WORKFLOW: Final = "workflow"
STEP: Final = "step:"


class Deadlines(Struct, frozen=True):
    """The deadlines of a workflow and of its steps by id, and what of it runs."""

    deadline: str | None = None
    steps: dict[str, str] = {}
    has_started: bool = False
    running: frozenset[str] = frozenset()


def react(state: Deadlines, event: Occurred) -> Reacted[Deadlines]:
    """Keep a timer for the deadline of whatever runs; when one fires, say that the deadline is missed."""
    match event.message:
        case TimerFired(name=name):
            return _fired(state, event.aggregate_id, name)
        case say.WorkflowDefined(deadline=deadline, steps=steps):
            planned = {} if steps is UNSET else steps
            known = {step_id: step.deadline for step_id, step in planned.items() if step.deadline}
            return Reacted(Deadlines(deadline or None, known))
        case say.StepAdded(step_id=step_id, deadline=deadline):
            return Reacted(_with(state, step_id, deadline or None))
        case say.DeadlineSet(step_id=str(step_id), deadline=deadline):
            state = _with(state, step_id, deadline)
            timers = [_timer(STEP + step_id, deadline)] if step_id in state.running else []
            return Reacted(state, timers=timers)
        case say.DeadlineSet(deadline=deadline):
            timers = [_timer(WORKFLOW, deadline)] if state.has_started else []
            return Reacted(replace(state, deadline=deadline), timers=timers)
        case say.WorkflowStarted():
            return Reacted(replace(state, has_started=True), timers=[_timer(WORKFLOW, state.deadline)])
        case say.StepStarted(step_id=step_id):
            timers = [_timer(STEP + step_id, state.steps.get(step_id))]
            return Reacted(replace(state, running=state.running | {step_id}), timers=timers)
        case say.WorkflowCompleted() | say.WorkflowFailed() | say.WorkflowCancelled():
            return Reacted(None)
        case say.DeadlineMissed(step_id=step_id) if step_id is UNSET:
            return Reacted(None)
        case message:
            return _ended(state, getattr(message, "step_id", UNSET))


def _ended(state: Deadlines, step_id: str | UnsetType) -> Reacted[Deadlines]:
    """Take that a step runs no more: it was completed, failed, decided or skipped, or missed its deadline."""
    if step_id is UNSET:
        return Reacted(state)
    return Reacted(replace(state, running=state.running - {step_id}), timers=[cancel(STEP + step_id)])


def _fired(state: Deadlines, workflow_id: str, name: str) -> Reacted[Deadlines]:
    """The deadline as it was given: what is expired must be the state's own."""
    step_id = name.removeprefix(STEP)
    deadline = state.deadline if name == WORKFLOW else state.steps.get(step_id)
    if deadline is None:
        return Reacted(state)
    missed = say.ExpireDeadline(deadline=deadline, step_id=UNSET if name == WORKFLOW else step_id)
    return Reacted(state, [command("workflow", workflow_id, missed)])


def _timer(name: str, deadline: str | None) -> SetTimer | CancelTimer:
    return cancel(name) if deadline is None else at(name, deadline)


def _with(state: Deadlines, step_id: str, deadline: str | None) -> Deadlines:
    others = {name: time for name, time in state.steps.items() if name != step_id}
    return replace(state, steps=others if deadline is None else {**others, step_id: deadline})


EXPIRE_DEADLINES: Final = Reaction(
    name="expire-deadlines",
    version=1,
    kind="workflow",
    wanted=frozenset(get_args(say.Event)),
    state=Deadlines,
    react=react,
)
