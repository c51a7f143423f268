"""workflow on the wire: a graph of steps, and its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from annals.schemas.kinds import research
from annals.schemas.messages import Message, Part
from annals.schemas.values.constraints import UNORDERED, at_most
from annals.schemas.values.fields import AggregateId, Count, LongText, Score, Slug, Text, Time, object_within
from annals.schemas.values.refs import Actor, AnyRef, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

StepType = Literal["manual", "agent", "automated", "decision", "approval"]
# A workflow has at most 100 steps, so that among more there is an unknown one: refused without looking at each.
StepIds = Annotated[list[Slug], UNORDERED, at_most(100)]
MaxAttempts = Annotated[int, Meta(ge=1, le=10, description="an integer from 1 to 10")]
Subjects = Annotated[list[AnyRef], Meta(max_length=20), UNORDERED]
Parameters = Annotated[dict[str, Any], object_within(16 * 1024)]
Output = Annotated[dict[str, Any], object_within(4 * 1024)]
Results = Annotated[dict[str, Any], object_within(64 * 1024)]


class PlannedStep(Part):
    """A step before anything has happened to it."""

    name: Text
    step_type: StepType
    depends_on: StepIds | UnsetType = UNSET
    optional: bool | UnsetType = UNSET
    max_attempts: MaxAttempts = 3
    assignee: Actor | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET


class DefineWorkflow(Message):
    """What is to be done, perhaps with its first steps."""

    name: Text
    definition: Slug
    owner: Owner
    subjects: Subjects | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET
    steps: Annotated[dict[Slug, PlannedStep], Meta(max_length=100)] | UnsetType = UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        """The parameters of research have a form."""
        if self.definition == research.DEFINITION and self.parameters is not UNSET:
            yield from research.parameter_problems(self.parameters)


class WorkflowDefined(DefineWorkflow):
    """What was to be done."""


class AddStep(Message):
    """One step more."""

    step_id: Slug
    name: Text
    step_type: StepType
    depends_on: StepIds | UnsetType = UNSET
    optional: bool | UnsetType = UNSET
    max_attempts: MaxAttempts = 3
    assignee: Actor | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET


class StepAdded(AddStep):
    """One step more."""


class AssignStep(Message):
    """Who does the step; null: nobody."""

    step_id: Slug
    assignee: Actor | None


class StepAssigned(AssignStep):
    """Who does the step; null: nobody."""


class SetDeadline(Message):
    """Until when the step, or without step_id the whole, is to be done; null: no limit."""

    deadline: Time | None
    step_id: Slug | UnsetType = UNSET


class DeadlineSet(SetDeadline):
    """Until when the step, or without step_id the whole, is to be done; null: no limit."""


class StartWorkflow(Message):
    """The run begins."""


class WorkflowStarted(StartWorkflow):
    """The run began."""


class StartStep(Message):
    """The next attempt at a step."""

    step_id: Slug


class StepStarted(StartStep, kw_only=True):
    """An attempt at a step, counted from 1."""

    attempt: Count


class CompleteStep(Message):
    """A step is done; with an attempt: if that is the running one."""

    step_id: Slug
    attempt: Count | UnsetType = UNSET
    output: Output | UnsetType = UNSET
    confidence: Score | UnsetType = UNSET


class StepCompleted(CompleteStep):
    """A step was done."""


class DecideStep(Message):
    """Its assignee says yes or no to a step of approval."""

    step_id: Slug
    approver_id: AggregateId
    approved: bool
    comment: Text | UnsetType = UNSET


class StepApproved(DecideStep):
    """The assignee said yes: the step is done."""


class StepRejected(DecideStep):
    """The assignee said no: the step failed."""


class FailStep(Message):
    """A step failed. Not retryable: it has no attempts left."""

    step_id: Slug
    error: LongText
    attempt: Count | UnsetType = UNSET
    retryable: bool = True


class StepFailed(FailStep):
    """A step failed."""


class ExpireDeadline(Message):
    """A timer says that a deadline is reached: the step's, or without step_id that of the whole."""

    deadline: Time
    step_id: Slug | UnsetType = UNSET


class DeadlineMissed(ExpireDeadline):
    """The step, or without step_id the whole, failed for lack of time."""


class SkipStep(Message):
    """An optional step is left out."""

    step_id: Slug
    reason: Text


class StepSkipped(SkipStep):
    """An optional step was left out."""


class PauseWorkflow(Message):
    """Nothing starts for a while; what runs may end."""

    reason: Text


class WorkflowPaused(PauseWorkflow):
    """Nothing starts for a while."""


class ResumeWorkflow(Message):
    """It goes on."""


class WorkflowResumed(ResumeWorkflow):
    """It went on."""


class CompleteWorkflow(Message):
    """All that had to be done is done."""

    results: Results | UnsetType = UNSET


class WorkflowCompleted(CompleteWorkflow):
    """All that had to be done was done."""


class FailWorkflow(Message):
    """It cannot be done."""

    error: LongText


class WorkflowFailed(FailWorkflow):
    """It could not be done, or a step that had to be done has no attempts left."""


class CancelWorkflow(Message):
    """It is no longer wanted."""

    reason: Text


class WorkflowCancelled(CancelWorkflow):
    """It was no longer wanted."""


Command = (
    DefineWorkflow
    | AddStep
    | AssignStep
    | SetDeadline
    | StartWorkflow
    | StartStep
    | CompleteStep
    | DecideStep
    | FailStep
    | ExpireDeadline
    | SkipStep
    | PauseWorkflow
    | ResumeWorkflow
    | CompleteWorkflow
    | FailWorkflow
    | CancelWorkflow
)
Event = (
    WorkflowDefined
    | StepAdded
    | StepAssigned
    | DeadlineSet
    | WorkflowStarted
    | StepStarted
    | StepCompleted
    | StepApproved
    | StepRejected
    | StepFailed
    | DeadlineMissed
    | StepSkipped
    | WorkflowPaused
    | WorkflowResumed
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
)
