"""agent on the wire: a person's AI worker and its tasks. Never a key or a secret."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.messages import Message
from annals.schemas.values.constraints import UNORDERED
from annals.schemas.values.fields import (
    AggregateId,
    Count,
    LongText,
    Prompt,
    Score,
    Slug,
    Text,
    Time,
    Url,
    object_within,
)

AgentType = Literal["assistant", "researcher", "analyst", "reviewer", "automation"]
Capacity = Annotated[int, Meta(ge=1, le=100, description="an integer from 1 to 100")]
Temperature = Annotated[
    Annotated[int, Meta(ge=0, le=2)] | Annotated[float, Meta(ge=0, le=2)],
    Meta(description="a number from 0 to 2"),
]
MaxTokens = Annotated[int, Meta(ge=1, description="an integer of 1 or more")]
Capabilities = Annotated[list[Slug], Meta(max_length=50), UNORDERED]
Payload = Annotated[dict[str, Any], object_within(16 * 1024)]


class DeployAgent(Message):
    """A person puts a worker into service."""

    name: Slug
    agent_type: AgentType
    owner_id: AggregateId
    purpose: LongText | UnsetType = UNSET
    capacity: Capacity = 1


class AgentDeployed(DeployAgent):
    """A person put a worker into service."""


class ConfigureModel(Message):
    """What it thinks with, said as a whole: what is not given is the provider's own choice."""

    provider: Slug
    model: Text
    temperature: Temperature | UnsetType = UNSET
    top_p: Score | UnsetType = UNSET
    max_tokens: MaxTokens | UnsetType = UNSET
    endpoint: Url | UnsetType = UNSET
    prompt: Prompt | UnsetType = UNSET


class ModelConfigured(ConfigureModel):
    """What it thinks with from then on."""


class GrantCapability(Message):
    """It may use one thing more."""

    capability: Slug


class CapabilityGranted(GrantCapability):
    """It may use one thing more."""


class RevokeCapability(Message):
    """It may no longer use something."""

    capability: Slug


class CapabilityRevoked(RevokeCapability):
    """It may no longer use something."""


class ActivateAgent(Message):
    """It takes tasks, for the first time or again."""


class AgentActivated(ActivateAgent):
    """It takes tasks."""


class SuspendAgent(Message):
    """It is decided that it takes no tasks."""

    reason: Text


class AgentSuspended(SuspendAgent):
    """It was decided that it takes no tasks."""


class ReportOffline(Message):
    """It happened that it cannot be reached."""

    reason: Text | UnsetType = UNSET


class AgentWentOffline(ReportOffline):
    """It could not be reached."""


class DecommissionAgent(Message):
    """It leaves service for good."""

    reason: Text


class AgentDecommissioned(DecommissionAgent):
    """It left service for good."""


class AssignTask(Message):
    """A new task, perhaps an attempt at a workflow's step. Ids of tasks are not used again."""

    task_id: Slug
    task_type: Slug
    needs: Capabilities | UnsetType = UNSET
    workflow_id: AggregateId | UnsetType = UNSET
    step_id: Slug | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET
    input: Payload | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET


class TaskAssigned(AssignTask):
    """A new task."""


class StartTask(Message):
    """The worker takes it up."""

    task_id: Slug


class TaskStarted(StartTask):
    """The worker took it up. As every event of a task it repeats the step that it is for."""

    workflow_id: AggregateId | UnsetType = UNSET
    step_id: Slug | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET


class CompleteTask(Message):
    """It is done; this is what came of it, and what it took."""

    task_id: Slug
    result: Payload
    confidence: Score
    input_tokens: Count | UnsetType = UNSET
    output_tokens: Count | UnsetType = UNSET
    duration_ms: Count | UnsetType = UNSET


class TaskCompleted(CompleteTask):
    """It was done."""

    workflow_id: AggregateId | UnsetType = UNSET
    step_id: Slug | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET


class FailTask(Message):
    """It could not be done."""

    task_id: Slug
    error: LongText
    retryable: bool | UnsetType = UNSET


class TaskFailed(FailTask):
    """It could not be done."""

    workflow_id: AggregateId | UnsetType = UNSET
    step_id: Slug | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET


class CancelTask(Message):
    """It is no longer wanted."""

    task_id: Slug


class TaskCancelled(CancelTask):
    """It was no longer wanted."""

    workflow_id: AggregateId | UnsetType = UNSET
    step_id: Slug | UnsetType = UNSET
    attempt: Count | UnsetType = UNSET


Command = (
    DeployAgent
    | ConfigureModel
    | GrantCapability
    | RevokeCapability
    | ActivateAgent
    | SuspendAgent
    | ReportOffline
    | DecommissionAgent
    | AssignTask
    | StartTask
    | CompleteTask
    | FailTask
    | CancelTask
)
Event = (
    AgentDeployed
    | ModelConfigured
    | CapabilityGranted
    | CapabilityRevoked
    | AgentActivated
    | AgentSuspended
    | AgentWentOffline
    | AgentDecommissioned
    | TaskAssigned
    | TaskStarted
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
)
