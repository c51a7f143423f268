"""The story: a lab opens, people join, a rule is made, an agent is hired, does research, and the report is out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annals.schemas.canonical import encode
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.kinds import agent, document, location, organization, person, policy
from annals.schemas.kinds.location import Position, PostalAddress
from annals.schemas.kinds.policy import PolicyTarget
from annals.schemas.values.refs import ActorRef, OwnerRef, ReaderRef
from annals.workers.tools.demo.research import RESULTS, research

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from annals.workers.tools.demo.teller import Teller

# Ids of people are pseudonyms: a journal does not forget, so nothing in it but sealable data may name somebody.
ADA: Final = "p-1"
GRACE: Final = "p-2"
ADA_TWICE: Final = "p-3"
LAB: Final = "lab"
INSTITUTE: Final = "institute"
RULES: Final = "ai-rules"
SCOUT: Final = "scout"
REPORT: Final = "report"

MODEL: Final = "Large 1"  # of the agent, when it is hired
ADA_EMAIL: Final = "ada@institute.example"
OWNER: Final = OwnerRef(kind="organization", id=INSTITUTE)


def research_id(run: int) -> str:
    """Return which workflow is that of a run."""
    return f"research-{run}"


class Scene(NamedTuple):
    """A line of the story: its title, what it is about, and how it is told."""

    title: str
    meaning: str
    tell: Callable[[Teller], Awaitable[None]]


async def open_lab(teller: Teller) -> None:
    """A place, and a body with a unit and a role."""
    address = PostalAddress(locality="London", country="GB", lines=["12 St James's Square"])
    define = location.DefineLocation(name="Analytical Lab", location_type="physical", address=address)
    await teller.tell("location", LAB, define)
    await teller.tell("location", LAB, location.SetPlace(coordinates=Position(latitude=51.507, longitude=-0.136)))
    register = organization.RegisterOrganization(name="Institute of Chains", organization_type="non_profit")
    await teller.tell("organization", INSTITUTE, register)
    await teller.tell("organization", INSTITUTE, organization.ActivateOrganization())
    await teller.tell("organization", INSTITUTE, organization.UpdateProfile(country="GB", headquarters_id=LAB))
    unit = organization.AddUnit(unit_id="ai", name="Artificial Intelligence", unit_type="department")
    await teller.tell("organization", INSTITUTE, unit)
    role = organization.DefineRole(role_id="researcher", title="Researcher", permissions=["documents.write"])
    await teller.tell("organization", INSTITUTE, role)


async def join(teller: Teller) -> None:
    """Two people; one was entered twice."""
    await teller.tell("person", ADA, person.RegisterPerson(name="Ada Lovelace"), "Ada")
    await teller.tell("person", GRACE, person.RegisterPerson(name="Grace Hopper"), "Grace")
    await teller.tell("person", ADA_TWICE, person.RegisterPerson(name="A. Lovelace"), "Ada once more, by mistake")
    await teller.tell("person", ADA, person.AddEmail(email=ADA_EMAIL))
    await teller.refuse("person", ADA, person.SetPrimaryEmail(email=ADA_EMAIL), "email_unverified")
    await teller.tell("person", ADA, person.VerifyEmail(email=ADA_EMAIL))
    await teller.tell("person", ADA, person.SetPrimaryEmail(email=ADA_EMAIL))
    for who in (ADA, GRACE):
        member = organization.AddMember(person_id=who, role_id="researcher", unit_id="ai", since="2026-11-21")
        await teller.tell("organization", INSTITUTE, member)
    await teller.tell("person", ADA_TWICE, person.MergePerson(merged_into=ADA, reason="entered twice"))


async def rule(teller: Teller) -> None:
    """A policy, which its owner cannot approve."""
    draft = policy.DraftPolicy(
        name="Answers need sources",
        description="What an agent finds out counts when it names its sources and a person has approved it.",
        owner=OwnerRef(kind="person", id=ADA),
        enforcement="hard",
        targets=[PolicyTarget(scope="unit", id="ai")],
    )
    await teller.tell("policy", RULES, draft)
    await teller.tell(
        "policy", RULES, policy.SetRule(rule_id="sources", text="Every finding names its sources.", severity="high")
    )
    await teller.tell("policy", RULES, policy.SubmitPolicy())
    await teller.refuse("policy", RULES, policy.ApprovePolicy(approver_id=ADA), "own_approval")
    await teller.tell("policy", RULES, policy.ApprovePolicy(approver_id=GRACE))
    await teller.tell("policy", RULES, policy.ActivatePolicy(effective_from="2026-11-21T00:00:00Z"))


async def hire(teller: Teller) -> None:
    """An agent, which needs a model before it can work."""
    deploy = agent.DeployAgent(name="scout", agent_type="researcher", owner_id=ADA, capacity=2)
    await teller.tell("agent", SCOUT, deploy)
    await teller.refuse("agent", SCOUT, agent.ActivateAgent(), "model_missing")
    await teller.tell("agent", SCOUT, agent.ConfigureModel(provider="acme", model=MODEL, temperature=0.2))
    await teller.tell("agent", SCOUT, agent.GrantCapability(capability="web_search"))
    await teller.tell("agent", SCOUT, agent.ActivateAgent())


async def do_research(teller: Teller) -> None:
    """The agent works, and a person approves."""
    await research(teller, research_id(1), SCOUT, owner=ADA, approver=GRACE)


async def publish(teller: Teller) -> None:
    """A document, reviewed and published: twice, which is once."""
    block = encode(RESULTS)
    report = document.CreateDocument(
        title="Do chains show what was altered?",
        document_type="report",
        owner=OwnerRef(kind="person", id=ADA),
        authors=[ActorRef(kind="agent", id=SCOUT)],
        content_cid=cid_text(cid_of(block)),
        size_bytes=len(block),
        media_type="application/vnd.ipld.dag-cbor",
    )
    await teller.tell("document", REPORT, report)
    await teller.tell("document", REPORT, document.SubmitDocument(reviewer_ids=[GRACE]))
    await teller.tell("document", REPORT, document.ApproveDocument(reviewer_id=GRACE))
    published = await teller.tell("document", REPORT, document.PublishDocument())
    await teller.again(published, document.PublishDocument())
    share = document.ShareDocument(grantee=ReaderRef(kind="organization", id=INSTITUTE), access="read")
    await teller.tell("document", REPORT, share)


STORY: Final = (
    Scene(
        "A lab opens",
        "A command is a wish (left); the event that follows is a fact with a version and a CID.",
        open_lab,
    ),
    Scene("Ada and Grace join", "✗: refused on purpose. A refused wish leaves no trace in the journal.", join),
    Scene("A rule for AI", "Nobody approves what is their own.", rule),
    Scene("An agent is hired", "An agent without a model cannot work.", hire),
    Scene(
        "It does research",
        "Reactions make events of one aggregate commands to another: workflow → agent → workflow.",
        do_research,
    ),
    Scene("The report is out", "The same command twice is one event.", publish),
)
