"""Research by an agent, approved by a person: the part of the story that is told anew in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.schemas.cid import cid_text
from annals.schemas.kinds import agent, workflow
from annals.schemas.values.refs import ActorRef, OwnerRef
from annals.workers.tools.demo.reacting import ASSIGN_TASKS, COMPLETE_STEPS

if TYPE_CHECKING:
    from annals.workers.tools.demo.teller import Teller

SOURCE: Final = "https://example.org/how-to-time-stamp-a-digital-document"
PARAMETERS: Final[dict[str, Any]] = {
    "question": "Does a chain of hashes show that nothing was altered?",
    "methodology": {"name": "literature review", "phases": ["search", "approve"], "agent_types": ["researcher"]},
    "min_confidence": 0.75,
}
# What the agent's model would find out; no model is asked here.
FOUND: Final[dict[str, Any]] = {"sources": [SOURCE], "answer": "Yes, for whoever has kept the head."}
RESULTS: Final[dict[str, Any]] = {
    "summary": "Yes, for whoever has kept the head.",
    "findings": [{"title": "A link commits to all before it", "confidence": 0.9, "source_urls": [SOURCE]}],
    "sources": [{"url": SOURCE, "title": "How to time-stamp a digital document"}],
    "confidence": 0.9,
}


async def research(teller: Teller, workflow_id: str, agent_id: str, *, owner: str, approver: str) -> None:
    """Tell it from the question to the approved answer.

    What joins workflow and agent is told by nobody here: the project's reactions send it. Its ids are the CIDs of the
    events that caused it, so that whoever reacts twice to one event causes nothing twice.
    """
    await teller.resume(ASSIGN_TASKS, COMPLETE_STEPS)
    await teller.tell("workflow", workflow_id, _plan(agent_id, owner, approver))
    await teller.tell("workflow", workflow_id, workflow.StartWorkflow())
    await teller.refuse("workflow", workflow_id, workflow.StartStep(step_id="approve"), "dependencies_open")
    started = await teller.event(await teller.tell("workflow", workflow_id, workflow.StartStep(step_id="search")))
    await teller.reaction(ASSIGN_TASKS, started, agent_id)

    task_id = cid_text(started.cid)
    await teller.tell("agent", agent_id, agent.StartTask(task_id=task_id))
    completed = agent.CompleteTask(task_id=task_id, result=FOUND, confidence=0.9, input_tokens=900, output_tokens=120)
    ended = await teller.event(await teller.tell("agent", agent_id, completed))
    await teller.reaction(COMPLETE_STEPS, ended, workflow_id)

    await teller.tell("workflow", workflow_id, workflow.StartStep(step_id="approve"))
    decision = workflow.DecideStep(step_id="approve", approver_id=approver, approved=True)
    await teller.tell("workflow", workflow_id, decision)
    await teller.tell("workflow", workflow_id, workflow.CompleteWorkflow(results=RESULTS))


def _plan(agent_id: str, owner: str, approver: str) -> workflow.DefineWorkflow:
    search = workflow.PlannedStep(
        name="Search", step_type="agent", assignee=ActorRef(kind="agent", id=agent_id), max_attempts=2
    )
    approve = workflow.PlannedStep(
        name="Approve", step_type="approval", depends_on=["search"], assignee=ActorRef(kind="person", id=approver)
    )
    return workflow.DefineWorkflow(
        name="Do chains show what was altered?",
        definition="research",
        owner=OwnerRef(kind="person", id=owner),
        parameters=PARAMETERS,
        steps={"search": search, "approve": approve},
    )
