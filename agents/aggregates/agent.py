"""agent: a person's AI worker and its tasks.

References, not checked: a person (owner_id), workflows (workflow_id of tasks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec.structs import replace

from annals.agents.deciding.comparison import is_identical, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import amend, drop, known, put, refuse_full, refuse_taken
from annals.agents.deciding.state import State, StatePart
from annals.schemas.former.agent import UPCASTERS
from annals.schemas.kinds import agent as say
from annals.schemas.messages import event_from

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_CAPABILITIES: Final = 50
MAX_CLOSED_TASKS: Final = 100
"""Of closed tasks the newest are kept: enough to answer what is sent again, and a state that does not grow."""

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={
        "deployed": "in service, not yet at work",
        "active": "takes tasks",
        "suspended": "takes no tasks: decided",
        "offline": "takes no tasks: happened",
    },
    terminal={"decommissioned": ""},
    rows=(
        On(say.DeployAgent, (say.AgentDeployed,), where=(ABSENT,), to="deployed"),
        On(say.ConfigureModel, (say.ModelConfigured,)),
        On(say.GrantCapability, (say.CapabilityGranted,)),
        On(say.RevokeCapability, (say.CapabilityRevoked,)),
        On(say.ActivateAgent, (say.AgentActivated,), where=("deployed", "suspended", "offline"), to="active"),
        On(say.SuspendAgent, (say.AgentSuspended,), where=("active",), to="suspended"),
        On(say.ReportOffline, (say.AgentWentOffline,), where=("active",), to="offline"),
        On(say.DecommissionAgent, (say.AgentDecommissioned,), to="decommissioned"),
        On(say.AssignTask, (say.TaskAssigned,), where=("active",)),
        On(say.StartTask, (say.TaskStarted,), where=("active",)),
        On(say.CompleteTask, (say.TaskCompleted,)),
        On(say.FailTask, (say.TaskFailed,)),
        On(say.CancelTask, (say.TaskCancelled,)),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


_CLOSED: Final = frozenset({"completed", "failed", "cancelled"})


class Task(StatePart):
    """A piece of work: assigned, started, then completed, failed or cancelled. Input and result are in the events."""

    task_type: str
    workflow_id: str | None = None
    step_id: str | None = None
    attempt: int | None = None
    needs: list[str] = []
    status: str = "assigned"
    confidence: int | float | None = None

    @property
    def is_open(self) -> bool:
        """Whether work on it is still to end."""
        return self.status not in _CLOSED


class Agent(State):
    """The worker; `tasks` has the open ones and the newest closed ones, these in the order in which they ended."""

    name: str = ""
    agent_type: str = ""
    owner_id: str = ""
    purpose: str | None = None
    capacity: int = 1
    provider: str | None = None
    model: str | None = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    max_tokens: int | None = None
    endpoint: str | None = None
    prompt: str | None = None
    capabilities: list[str] = []
    tasks: dict[str, Task] = {}


def already_true(command: say.Command, agent: Agent) -> bool:
    """Whether the command's wish is true of the agent."""
    match command:
        case say.ConfigureModel():
            return is_identical(command, agent)
        case say.GrantCapability():
            return command.capability in agent.capabilities
        case say.RevokeCapability():
            return command.capability not in agent.capabilities
        case say.AssignTask():
            task = agent.tasks.get(command.task_id)
            return task is not None and matches(command, task)
        case say.StartTask():
            return _task_is(agent, command.task_id, "started")
        case say.CompleteTask():
            return _task_is(agent, command.task_id, "completed") and matches(command, agent.tasks[command.task_id])
        case say.FailTask():
            return _task_is(agent, command.task_id, "failed")
        case say.CancelTask():
            return _task_is(agent, command.task_id, "cancelled")
        case say.DeployAgent() | say.ActivateAgent() | say.SuspendAgent() | say.ReportOffline():
            return matches(command, agent)
        case say.DecommissionAgent():
            return matches(command, agent)
        case _:
            assert_never(command)


def _task_is(agent: Agent, task_id: str, status: str) -> bool:
    task = agent.tasks.get(task_id)
    return task is not None and task.status == status


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, agent: Agent, at: Circumstances) -> list[say.Event]:  # noqa: ARG001 -- one skeleton
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.DeployAgent():
            return [event_from(command, say.AgentDeployed)]
        case say.ConfigureModel():
            return [event_from(command, say.ModelConfigured)]
        case say.GrantCapability():
            refuse_full(agent.capabilities, MAX_CAPABILITIES, "capabilities")
            return [event_from(command, say.CapabilityGranted)]
        case say.RevokeCapability():
            if any(task.is_open and command.capability in task.needs for task in agent.tasks.values()):
                raise Refused(
                    "capability_in_use", f"open tasks need {command.capability}; complete or cancel them first"
                )
            return [event_from(command, say.CapabilityRevoked)]
        case say.ActivateAgent():
            if agent.model is None:
                raise Refused("model_missing", "it has no model to think with: ConfigureModel first")
            return [event_from(command, say.AgentActivated)]
        case say.SuspendAgent():
            return [event_from(command, say.AgentSuspended)]
        case say.ReportOffline():
            return [event_from(command, say.AgentWentOffline)]
        case say.DecommissionAgent():
            if _open_tasks(agent):
                raise Refused("tasks_open", "it has open tasks; complete, fail or cancel them first")
            return [event_from(command, say.AgentDecommissioned)]
        case say.AssignTask():
            refuse_taken(agent.tasks, command.task_id, "task")
            _refuse_unable(command, agent)
            return [event_from(command, say.TaskAssigned)]
        case say.StartTask():
            task = _open_task(command.task_id, agent)
            return [event_from(command, say.TaskStarted, **_purpose(task))]
        case say.CompleteTask():
            task = _open_task(command.task_id, agent)
            if task.status != "started":
                raise Refused("task_not_started", f"the task {command.task_id} is only assigned: StartTask first")
            return [event_from(command, say.TaskCompleted, **_purpose(task))]
        case say.FailTask():
            return [event_from(command, say.TaskFailed, **_purpose(_open_task(command.task_id, agent)))]
        case say.CancelTask():
            return [event_from(command, say.TaskCancelled, **_purpose(_open_task(command.task_id, agent)))]
        case _:
            assert_never(command)


def _refuse_unable(command: say.AssignTask, agent: Agent) -> None:
    needs = or_none(command.needs) or ()
    if not set(agent.capabilities).issuperset(needs):
        raise Refused("capability_missing", "the task needs capabilities that the agent does not have")
    if len(agent.tasks) >= agent.capacity and _open_tasks(agent) >= agent.capacity:
        raise Refused("at_capacity", "the agent has as many open tasks as it can take")


def _open_tasks(agent: Agent) -> int:
    return sum(task.is_open for task in agent.tasks.values())


def _open_task(task_id: str, agent: Agent) -> Task:
    """The task; refuses one that has ended."""
    task = known(agent.tasks, task_id, "task")
    if not task.is_open:
        raise Refused("task_closed", f"the task {task_id} has ended already")
    return task


def _purpose(task: Task) -> dict[str, Any]:
    """The workflow's step that a task is an attempt at, for its events to repeat."""
    said = (("workflow_id", task.workflow_id), ("step_id", task.step_id), ("attempt", task.attempt))
    return {name: value for name, value in said if value is not None}


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(agent: Agent, event: say.Event) -> Agent:
    """The agent after the event."""
    match event:
        case say.AgentDeployed():
            return Agent(
                status="deployed",
                name=event.name,
                agent_type=event.agent_type,
                owner_id=event.owner_id,
                purpose=or_none(event.purpose),
                capacity=event.capacity,
            )
        case say.ModelConfigured():
            return replace(
                agent,
                provider=event.provider,
                model=event.model,
                temperature=or_none(event.temperature),
                top_p=or_none(event.top_p),
                max_tokens=or_none(event.max_tokens),
                endpoint=or_none(event.endpoint),
                prompt=or_none(event.prompt),
            )
        case say.CapabilityGranted():
            return replace(agent, capabilities=[*_without(agent, event.capability), event.capability])
        case say.CapabilityRevoked():
            return replace(agent, capabilities=_without(agent, event.capability))
        case say.AgentActivated():
            return replace(agent, status="active")
        case say.AgentSuspended():
            return replace(agent, status="suspended")
        case say.AgentWentOffline():
            return replace(agent, status="offline")
        case say.AgentDecommissioned():
            return replace(agent, status="decommissioned")
        case say.TaskAssigned():
            task = Task(
                task_type=event.task_type,
                workflow_id=or_none(event.workflow_id),
                step_id=or_none(event.step_id),
                attempt=or_none(event.attempt),
                needs=or_none(event.needs) or [],
            )
            return replace(agent, tasks=put(agent.tasks, event.task_id, task))
        case say.TaskStarted():
            return replace(agent, tasks=amend(agent.tasks, event.task_id, status="started"))
        case say.TaskCompleted():
            return _ended(agent, event.task_id, status="completed", confidence=event.confidence)
        case say.TaskFailed():
            return _ended(agent, event.task_id, status="failed")
        case say.TaskCancelled():
            return _ended(agent, event.task_id, status="cancelled")
        case _:
            assert_never(event)


def _without(agent: Agent, capability: str) -> list[str]:
    return [other for other in agent.capabilities if other != capability]


def _ended(agent: Agent, task_id: str, **changed: Any) -> Agent:
    """With the task closed and moved to the end; the oldest closed ones beyond those that are kept are gone."""
    task = agent.tasks.get(task_id)
    if task is None:
        return agent
    tasks = drop(agent.tasks, task_id)
    tasks[task_id] = replace(task, **changed)
    if len(tasks) > MAX_CLOSED_TASKS:
        closed = [each for each, other in tasks.items() if other.status in _CLOSED]
        for each in closed[:-MAX_CLOSED_TASKS]:
            del tasks[each]
    return replace(agent, tasks=tasks)


# --- Decider ---------------------------------------------------------------------------------------------------------

AGENT: Final = Decider(
    "agent",
    MACHINE,
    Agent(),
    state_version=1,
    already_true=already_true,
    decide=decide,
    evolve=evolve,
    upcasters=UPCASTERS,
)
