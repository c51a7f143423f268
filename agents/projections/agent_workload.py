"""agent_workload: which agents are at work, on what, and how well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members
from annals.schemas.kinds import agent as say
from annals.schemas.wire.strict_json import MOST_INTEGER

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Agent(Row, kw_only=True):
    """An agent; room: tasks that it can still take. mean_confidence: of its completed tasks, None before any."""

    name: str
    owner_id: str
    status: str = "deployed"
    capacity: int
    capabilities: list[str] = []
    open_tasks: list[str] = []
    room: int
    completed: int = 0
    failures: int = 0
    mean_confidence: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0


STATUSES: Final[dict[type, str]] = {
    say.AgentActivated: "active",
    say.AgentSuspended: "suspended",
    say.AgentWentOffline: "offline",
    say.AgentDecommissioned: "decommissioned",
}


def indexes(row: Agent) -> dict[str, list[str]]:
    """The owner; for question 4 what an agent that has room can do. The empty capability is one that all have."""
    has_room = row.status == "active" and row.room > 0
    return {"owner_id": [row.owner_id], "capability": ["", *row.capabilities] if has_room else []}


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Agent]) -> None:
    """Change the agent's row."""
    message, at = event.message, event.aggregate_id
    if isinstance(message, say.AgentDeployed):
        given = given_members(message, "name", "owner_id", "capacity")
        rows.put(Agent(kind=event.kind, aggregate_id=at, room=message.capacity, **given), at)
    elif old := rows.get(at):
        rows.put(_changed(message, old), at)


def _changed(message: object, row: Agent) -> Agent:
    match message:
        case say.CapabilityGranted():
            return replace(row, capabilities=sorted({*row.capabilities, message.capability}))
        case say.CapabilityRevoked():
            return replace(row, capabilities=[name for name in row.capabilities if name != message.capability])
        case say.TaskAssigned():
            return _with_tasks(row, sorted({*row.open_tasks, message.task_id}))
        case say.TaskCompleted():
            return _completed(message, _closed(row, message.task_id))
        case say.TaskFailed():
            row = _closed(row, message.task_id)
            return replace(row, failures=row.failures + 1)
        case say.TaskCancelled():
            return _closed(row, message.task_id)
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


def _with_tasks(row: Agent, tasks: list[str]) -> Agent:
    return replace(row, open_tasks=tasks, room=max(0, row.capacity - len(tasks)))


def _closed(row: Agent, task_id: str) -> Agent:
    return _with_tasks(row, [task for task in row.open_tasks if task != task_id])


def _completed(message: say.TaskCompleted, row: Agent) -> Agent:
    completed = row.completed + 1
    mean = row.mean_confidence or 0.0
    return replace(
        row,
        completed=completed,
        mean_confidence=mean + (message.confidence - mean) / completed,
        input_tokens=_plus(row.input_tokens, message.input_tokens),
        output_tokens=_plus(row.output_tokens, message.output_tokens),
    )


def _plus(total: int, count: int | UnsetType) -> int:
    """Add a count that may be as large as any integer: a row has no larger one, and stays at the greatest."""
    return total if count is UNSET else min(total + count, MOST_INTEGER)


AGENT_WORKLOAD: Final = Projection(
    name="agent_workload",
    version=1,
    wanted={"agent": frozenset(get_args(say.Event))},
    row=Agent,
    parameters=("owner_id",),
    indexes=indexes,
    fold=fold,
)
