"""Research, from a question to a published report: two persons, an agent, a workflow and a document.

Needs a worker (`annals broker`, `annals topics create`, `annals worker`), and the same settings as that:

    python examples/research.py

The aggregates know nothing of one another. What holds them together are reactions: an event of one becomes a command
to another. A reaction's id is made from its cause, so that an event that is delivered twice causes nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from annals import RecordedEvent, cid_of, cid_text, encode
from annals.client import CommandClient, NewCommand, command, history, load_settings, new_id
from annals.schemas.kinds import agent, document, person, workflow
from annals.schemas.values.refs import ActorRef, OwnerRef, Ref

if TYPE_CHECKING:
    from annals import Message, Outcome, Settings

# --- What is to be done ----------------------------------------------------------------------------------------------

PHASES: Final = ("search", "analyse", "synthesise", "critique")
PARAMETERS: Final[dict[str, Any]] = {
    "question": "Does a chain of hashes show that nothing was altered?",
    "methodology": {
        "name": "literature review",
        "phases": ["scope", *PHASES, "approve"],
        "agent_types": ["researcher"],
        "estimated_minutes": 90,
    },
    "min_confidence": 0.75,
}
SOURCE: Final = "https://example.org/how-to-time-stamp-a-digital-document"
# What the agent's model would find out; no model is asked here.
FINDINGS: Final[dict[str, tuple[dict[str, Any], float]]] = {
    "search": ({"sources": [SOURCE]}, 0.9),
    "analyse": ({"notes": ["each link commits to all links before it"]}, 0.85),
    "synthesise": ({"summary": "Yes, for whoever has kept the head."}, 0.8),
    "critique": ({"objections": ["a head that nobody kept shows nothing"]}, 0.8),
}
RESULTS: Final[dict[str, Any]] = {
    "summary": "Yes, for whoever has kept the head.",
    "findings": [
        {
            "title": "A link commits to all before it",
            "content": "It holds the hash of the link before, which holds the hash of the one before that.",
            "confidence": 0.85,
            "source_urls": [SOURCE],
        }
    ],
    "sources": [
        {
            "url": SOURCE,
            "title": "How to time-stamp a digital document",
            "relevance": 0.9,
            "accessed_at": "2026-11-21T09:30:00Z",
        }
    ],
    "confidence": 0.8,
}


def plan(owner_id: str, agent_id: str, approver_id: str, document_id: str) -> workflow.DefineWorkflow:
    """The workflow: a step per phase, each after the one before."""
    owner = ActorRef(kind="person", id=owner_id)
    worker = ActorRef(kind="agent", id=agent_id)
    approver = ActorRef(kind="person", id=approver_id)
    steps = {"scope": workflow.PlannedStep(name="Scope", step_type="manual", assignee=owner)}
    for before, phase in zip(("scope", *PHASES), PHASES, strict=False):
        steps[phase] = workflow.PlannedStep(
            name=phase.capitalize(), step_type="agent", depends_on=[before], assignee=worker
        )
    steps["approve"] = workflow.PlannedStep(
        name="Approve", step_type="approval", depends_on=["critique"], assignee=approver
    )
    return workflow.DefineWorkflow(
        name="Do chains show what was altered?",
        definition="research",
        owner=OwnerRef(kind="person", id=owner_id),
        subjects=[Ref(kind="document", id=document_id)],
        parameters=PARAMETERS,
        steps=steps,
    )


# --- Reactions: an event, and the command that follows ---------------------------------------------------------------


def assign(started: RecordedEvent, agent_id: str) -> NewCommand:
    """StepStarted for an agent → AssignTask: the task is known by the event's CID."""
    task = agent.AssignTask(
        task_id=cid_text(started.cid),
        task_type=started.data["step_id"],
        needs=["web_search"],
        workflow_id=started.aggregate_id,
        step_id=started.data["step_id"],
        attempt=started.data["attempt"],
        input={"question": PARAMETERS["question"]},
    )
    return command("agent", agent_id, task).caused_by(started)


def complete(completed: RecordedEvent) -> NewCommand:
    """TaskCompleted → CompleteStep, of the attempt that the task was for."""
    data = completed.data
    done = workflow.CompleteStep(
        step_id=data["step_id"], attempt=data["attempt"], output=data["result"], confidence=data["confidence"]
    )
    return command("workflow", data["workflow_id"], done).caused_by(completed)


def fail(failed: RecordedEvent) -> NewCommand:
    """TaskFailed → FailStep, of the attempt that the task was for."""
    data = failed.data
    broken = workflow.FailStep(
        step_id=data["step_id"],
        attempt=data["attempt"],
        error=data["error"],
        retryable=data.get("retryable", True),
    )
    return command("workflow", data["workflow_id"], broken).caused_by(failed)


# --- The story -------------------------------------------------------------------------------------------------------


class World(Protocol):
    """Where commands are sent and events are read: a worker behind Kafka, or all of it in memory."""

    async def send(self, command: NewCommand) -> Outcome:
        """Send a command, and return what became of it."""

    async def event(self, kind: str, aggregate_id: str, cid: str) -> RecordedEvent:
        """Return the event of an aggregate that has this CID (text)."""


class Story:
    """Sends one command after another, and stops where an outcome is not the one that the story tells of."""

    def __init__(self, world: World, run: str) -> None:
        """Take the world, and what makes the ids of this run its own."""
        self._world = world
        self.owner, self.approver = f"ada-{run}", f"grace-{run}"
        self.agent, self.workflow, self.document = f"scout-{run}", f"research-{run}", f"report-{run}"

    async def send(self, new: NewCommand, refused_by: str | None = None) -> Outcome:
        """Send a command; `refused_by` names the rule, where the story has it refused."""
        outcome = await self._world.send(new)
        error = outcome.error
        broken = None if error is None else error.details.get("rule", error.code)
        answer = ", ".join(event.type for event in outcome.events) or broken or "already true"
        print(f"{new.kind:<9} {type(new.message).__name__:<17} {outcome.status:<10} {answer}")
        if broken != refused_by:
            raise RuntimeError(f"the story has {refused_by or 'it accepted'}, but: {outcome}")
        return outcome

    async def tell(self, kind: str, aggregate_id: str, message: Message, refused_by: str | None = None) -> Outcome:
        """Send a command that nothing caused."""
        return await self.send(command(kind, aggregate_id, message).with_id(new_id()), refused_by)

    async def plan(self, message: Message, refused_by: str | None = None) -> Outcome:
        """Send a command to the workflow."""
        return await self.tell("workflow", self.workflow, message, refused_by)

    async def caused(self, outcome: Outcome) -> RecordedEvent:
        """Return the event that a command caused, as its readers see it."""
        return await self._world.event(outcome.kind, outcome.aggregate_id, outcome.events[-1].cid)


async def staff(story: Story) -> None:
    """Two persons, and the agent of one of them."""
    await story.tell("person", story.owner, person.RegisterPerson(name="Ada Lovelace"))
    await story.tell("person", story.approver, person.RegisterPerson(name="Grace Hopper"))
    deploy = agent.DeployAgent(name="scout", agent_type="researcher", owner_id=story.owner, capacity=2)
    await story.tell("agent", story.agent, deploy)
    await story.tell("agent", story.agent, agent.ActivateAgent(), refused_by="model_missing")
    await story.tell("agent", story.agent, agent.ConfigureModel(provider="acme", model="Large 2", temperature=0.2))
    await story.tell("agent", story.agent, agent.GrantCapability(capability="web_search"))
    await story.tell("agent", story.agent, agent.ActivateAgent())


async def begin(story: Story) -> None:
    """The question, and the first step, which a person does."""
    await story.plan(plan(story.owner, story.agent, story.approver, story.document))
    await story.plan(workflow.StartWorkflow())
    await story.plan(workflow.StartStep(step_id="search"), refused_by="dependencies_open")
    await story.plan(workflow.StartStep(step_id="scope"))
    await story.plan(workflow.CompleteStep(step_id="scope", output={"languages": ["en"]}))


async def attempt(story: Story, phase: str, error: str | None = None) -> None:
    """One attempt of the agent at a phase; `error`: how it fails."""
    started = await story.caused(await story.plan(workflow.StartStep(step_id=phase)))
    task_id = cid_text(started.cid)
    await story.send(assign(started, story.agent))
    await story.tell("agent", story.agent, agent.StartTask(task_id=task_id))
    if error is not None:
        failed = agent.FailTask(task_id=task_id, error=error, retryable=True)
        await story.send(fail(await story.caused(await story.tell("agent", story.agent, failed))))
        return
    result, confidence = FINDINGS[phase]
    completed = agent.CompleteTask(
        task_id=task_id, result=result, confidence=confidence, input_tokens=1_200, output_tokens=300
    )
    reaction = complete(await story.caused(await story.tell("agent", story.agent, completed)))
    await story.send(reaction)
    await story.send(reaction)  # delivered twice: a duplicate


async def end(story: Story) -> None:
    """The report is written and approved, and the research is over."""
    block = encode(RESULTS)
    report = document.CreateDocument(
        title="Do chains show what was altered?",
        document_type="report",
        owner=OwnerRef(kind="person", id=story.owner),
        authors=[ActorRef(kind="agent", id=story.agent)],
        content_cid=cid_text(cid_of(block)),
        size_bytes=len(block),
        media_type="application/vnd.ipld.dag-cbor",
    )
    await story.tell("document", story.document, report)
    await story.plan(workflow.CompleteWorkflow(results=RESULTS), refused_by="steps_open")
    await story.plan(workflow.StartStep(step_id="approve"))
    approval = workflow.DecideStep(step_id="approve", approver_id=story.owner, approved=True)
    await story.plan(approval, refused_by="not_the_assignee")
    await story.plan(workflow.DecideStep(step_id="approve", approver_id=story.approver, approved=True))
    unsure = RESULTS | {"confidence": 0.5}
    await story.plan(workflow.CompleteWorkflow(results=unsure), refused_by="confidence_too_low")
    await story.plan(workflow.CompleteWorkflow(results=RESULTS))
    await story.tell("document", story.document, document.SubmitDocument(reviewer_ids=[story.approver]))
    await story.tell("document", story.document, document.ApproveDocument(reviewer_id=story.approver))
    await story.tell("document", story.document, document.PublishDocument())


async def research(world: World, run: str) -> None:
    """The whole story.

    Raises:
        RuntimeError: an outcome is not the one that the story tells of.
    """
    story = Story(world, run)
    await staff(story)
    await begin(story)
    await attempt(story, "search", error="the search engine did not answer")
    for phase in PHASES:
        await attempt(story, phase)
    await end(story)


# --- Against a worker ------------------------------------------------------------------------------------------------


class Kafka:
    """A worker behind Kafka."""

    def __init__(self, client: CommandClient, settings: Settings) -> None:
        """Take the client for commands, and where the events are."""
        self._client = client
        self._settings = settings

    async def send(self, command: NewCommand) -> Outcome:
        """Send a command, and return what became of it."""
        return await self._client.send(command.kind, command.envelope())

    async def event(self, kind: str, aggregate_id: str, cid: str) -> RecordedEvent:
        """Return the event of an aggregate that has this CID."""
        async for counted in history(self._settings, kind, aggregate_id):
            if cid_text(counted.cid) == cid:
                return RecordedEvent(**counted.event, cid=counted.cid)
        raise LookupError(f"{kind} {aggregate_id} has no event {cid}")


async def main() -> None:
    """Tell the story to the worker that the settings lead to."""
    settings = load_settings()
    async with CommandClient(settings) as client:
        await research(Kafka(client, settings), new_id())


if __name__ == "__main__":
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    asyncio.run(main())
