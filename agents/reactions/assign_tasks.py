"""assign-tasks: a step that an agent is to do is a task of that agent as soon as it has started."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from annals.agents.reactions.reaction import Occurred, Reacted, Reaction
from annals.schemas.commands import command
from annals.schemas.kinds import workflow as say
from annals.schemas.kinds.agent import AssignTask
from annals.schemas.values.refs import ActorRef

Assignee = ActorRef | None


class Step(Struct, frozen=True):
    """What a step's task is made of. agent_id: who does it; None while it is nobody or no agent."""

    step_type: str
    agent_id: str | None = None
    deadline: str | None = None


class Plan(Struct, frozen=True):
    """The steps of a workflow by id."""

    steps: dict[str, Step] = {}


def react(state: Plan, event: Occurred) -> Reacted[Plan]:
    """Remember who is to do what, and assign a step's task when it starts; refused, the step has its deadline."""
    match event.message:
        case say.WorkflowDefined(steps=steps):
            planned = {} if steps is UNSET else {step_id: _step(step) for step_id, step in steps.items()}
            return Reacted(Plan(planned))
        case say.StepAdded() as added:
            return Reacted(_with(state, added.step_id, _step(added)))
        case say.StepAssigned(step_id=step_id, assignee=assignee) if step_id in state.steps:
            return Reacted(_with(state, step_id, replace(state.steps[step_id], agent_id=_agent(assignee))))
        case say.DeadlineSet(step_id=str(step_id), deadline=deadline) if step_id in state.steps:
            return Reacted(_with(state, step_id, replace(state.steps[step_id], deadline=deadline)))
        case say.StepStarted(step_id=step_id) as started if step_id in state.steps:
            return _started(state, event, started, state.steps[step_id])
        case say.WorkflowCompleted() | say.WorkflowFailed() | say.WorkflowCancelled():
            return Reacted(None)
        case say.DeadlineMissed(step_id=step_id) if step_id is UNSET:
            return Reacted(None)
        case _:
            return Reacted(state)


def _started(state: Plan, event: Occurred, started: say.StepStarted, step: Step) -> Reacted[Plan]:
    if step.step_type != "agent" or step.agent_id is None:
        return Reacted(state)
    task = AssignTask(
        task_id=event.cid,
        task_type=started.step_id,
        workflow_id=event.aggregate_id,
        step_id=started.step_id,
        attempt=started.attempt,
        deadline=UNSET if step.deadline is None else step.deadline,
    )
    return Reacted(state, [command("agent", step.agent_id, task)])


def _step(planned: say.PlannedStep | say.StepAdded) -> Step:
    assignee = None if planned.assignee is UNSET else planned.assignee
    deadline = None if planned.deadline is UNSET else planned.deadline
    return Step(planned.step_type, _agent(assignee), deadline)


def _agent(assignee: Assignee) -> str | None:
    return assignee.id if assignee is not None and assignee.kind == "agent" else None


def _with(state: Plan, step_id: str, step: Step) -> Plan:
    return Plan({**state.steps, step_id: step})


ASSIGN_TASKS: Final = Reaction(
    name="assign-tasks",
    version=1,
    kind="workflow",
    wanted=frozenset(
        {
            say.WorkflowDefined,
            say.StepAdded,
            say.StepAssigned,
            say.DeadlineSet,
            say.StepStarted,
            say.DeadlineMissed,
            say.WorkflowCompleted,
            say.WorkflowFailed,
            say.WorkflowCancelled,
        }
    ),
    state=Plan,
    react=react,
)
