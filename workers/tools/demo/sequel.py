"""What happens in every later run on the same data: each aggregate of the story goes on, and its chain grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.schemas.canonical import encode
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.kinds import agent, document, organization, person, policy
from annals.workers.tools.demo.research import RESULTS, research
from annals.workers.tools.demo.story import ADA, GRACE, INSTITUTE, MODEL, REPORT, RULES, SCOUT, Scene, research_id

if TYPE_CHECKING:
    from annals.workers.tools.demo.teller import Teller

NAMES: Final = ("Ada Lovelace", "Ada King", "Ada Byron")  # each run has the next one


def model_of(run: int) -> str:
    """Return which model the agent has from a run on."""
    return MODEL if run == 1 else f"Large {run}"


def sequel(run: int) -> Scene:
    """What a run adds, from the second one on; each command of it differs from those of the runs before."""

    async def tell(teller: Teller) -> None:
        await teller.tell("person", ADA, person.RenamePerson(name=NAMES[(run - 1) % len(NAMES)], reason="new papers"))
        website = f"https://institute.example/{run}"
        await teller.tell("organization", INSTITUTE, organization.UpdateProfile(website=website))
        await teller.tell("policy", RULES, policy.SuspendPolicy(reason="under discussion"))
        await teller.tell("policy", RULES, policy.ResumePolicy())
        await teller.tell("agent", SCOUT, agent.ConfigureModel(provider="acme", model=model_of(run)))
        await research(teller, research_id(run), SCOUT, owner=ADA, approver=GRACE)
        await _new_edition(teller, run)

    meaning = "The same chains go on: a new name, a newer model, more research, a new edition of the report."
    return Scene(f"Run {run} of this folder", meaning, tell)


async def _new_edition(teller: Teller, run: int) -> None:
    block = encode({**RESULTS, "edition": run})
    version = document.AddVersion(
        content_cid=cid_text(cid_of(block)),
        size_bytes=len(block),
        media_type="application/vnd.ipld.dag-cbor",
        summary=f"edition {run}",
    )
    await teller.tell("document", REPORT, document.ReopenDocument(reason="new results"))
    await teller.tell("document", REPORT, version)
    await teller.tell("document", REPORT, document.SubmitDocument(reviewer_ids=[GRACE]))
    await teller.tell("document", REPORT, document.ApproveDocument(reviewer_id=GRACE))
    await teller.tell("document", REPORT, document.PublishDocument())
