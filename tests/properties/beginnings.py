"""Where drawn commands seldom get by themselves: commands for histories to begin with, by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.schemas.kinds import agent, organization, workflow
from annals.schemas.values.refs import ActorRef, OwnerRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.schemas.messages import Message

ADA = ActorRef(kind="person", id="p-1")
STUDY: Final[dict[str, Any]] = {"question": "Why?", "methodology": {"name": "reading"}}


def _run(definition: str, **more: Any) -> tuple[Message, ...]:
    """A workflow with a step of every sort, the first ones running."""
    steps = {
        "scope": workflow.PlannedStep(name="Scope", step_type="manual", assignee=ADA, max_attempts=2),
        "search": workflow.PlannedStep(name="Search", step_type="agent", depends_on=["scope"], assignee=ADA),
        "tidy": workflow.PlannedStep(name="Tidy", step_type="automated", optional=True, max_attempts=1),
        "late": workflow.PlannedStep(name="Late", step_type="automated", deadline="2026-01-01T12:00:00Z"),
        "approve": workflow.PlannedStep(name="Approve", step_type="approval", assignee=ADA),
    }
    owner = OwnerRef(kind="organization", id="o-1")
    begun = ("scope", "tidy", "late", "approve")
    return (
        workflow.DefineWorkflow(name="Study", definition=definition, owner=owner, steps=steps, **more),
        workflow.StartWorkflow(),
        *(workflow.StartStep(step_id=step_id) for step_id in begun),
    )


def _done(definition: str, **more: Any) -> tuple[Message, ...]:
    """The same, with all that has to be done done."""
    return (
        *_run(definition, **more),
        workflow.CompleteStep(step_id="scope"),
        workflow.StartStep(step_id="search"),
        workflow.CompleteStep(step_id="search", attempt=1, output={"found": 3}, confidence=0.8),
        workflow.FailStep(step_id="tidy", error="no broom"),
        workflow.CompleteStep(step_id="late"),
        workflow.DecideStep(step_id="approve", approver_id="p-1", approved=True),
    )


_AGENT: Final = (
    agent.DeployAgent(name="ada", agent_type="researcher", owner_id="p-1", capacity=4),
    agent.ConfigureModel(provider="a", model="m"),
    agent.GrantCapability(capability="a"),
    agent.ActivateAgent(),
    agent.AssignTask(task_id="a", task_type="search", needs=["a"], workflow_id="w-1", step_id="search", attempt=1),
    agent.AssignTask(task_id="b", task_type="search"),
)
_BODY: Final = (
    organization.RegisterOrganization(name="Lab", organization_type="other"),
    organization.ActivateOrganization(),
    organization.AddUnit(unit_id="a", name="A", unit_type="team"),
    organization.DefineRole(role_id="a", title="Fellow"),
    organization.AddMember(person_id="p-1", role_id="a", unit_id="a", since="2026-01-01"),
)

BEGINNINGS: Final[Mapping[str, Sequence[Sequence[Message]]]] = {
    "agent": (_AGENT, (*_AGENT, agent.StartTask(task_id="a"))),
    "organization": (_BODY,),
    "workflow": (
        _run("other", deadline="2026-01-01T12:00:00Z"),
        _done("other"),
        _done("research", parameters=STUDY),
    ),
}
