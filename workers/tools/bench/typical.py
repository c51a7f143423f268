"""A typical command of each kind, and a history of some length before it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Story(NamedTuple):
    """Commands as (name, data): those that come before, and the typical one, which causes events."""

    before: list[tuple[str, dict[str, Any]]]
    command: tuple[str, dict[str, Any]]


CID: Final = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
OWNER: Final = {"kind": "organization", "id": "organization-0000007"}
DOCUMENT: Final = {"size_bytes": 48_213, "media_type": "application/pdf"}
ADDRESS: Final = {"lines": ["12 St James's Square"], "locality": "London", "country": "GB", "postal_code": "SW1Y 4JH"}
MEMBERS: Final = 20
RULES: Final = 10

STORIES: Final[dict[str, Story]] = {
    "person": Story(
        [
            ("RegisterPerson", {"name": "Ada Lovelace", "email": "ada@example.org", "languages": ["en", "fr"]}),
            ("AddEmail", {"email": "ada.king@example.org"}),
        ],
        ("RenamePerson", {"name": "Ada King, Countess of Lovelace", "reason": "marriage"}),
    ),
    "organization": Story(
        [
            ("RegisterOrganization", {"name": "Analytical Engines", "organization_type": "corporation"}),
            ("ActivateOrganization", {}),
            ("AddUnit", {"unit_id": "research", "name": "Research", "unit_type": "department"}),
            ("DefineRole", {"role_id": "analyst", "title": "Analyst", "permissions": ["read", "write"]}),
            *(
                ("AddMember", {"person_id": f"person-{number:07}", "role_id": "analyst", "since": "2026-01-01"})
                for number in range(MEMBERS)
            ),
        ],
        (
            "AddMember",
            {"person_id": "person-0004711", "role_id": "analyst", "unit_id": "research", "since": "2026-02-01"},
        ),
    ),
    "agent": Story(
        [
            ("DeployAgent", {"name": "reader-1", "agent_type": "researcher", "owner_id": "p-1", "capacity": 10}),
            ("ConfigureModel", {"provider": "example", "model": "large-2", "temperature": 0.2, "max_tokens": 4096}),
            ("GrantCapability", {"capability": "web_search"}),
            ("ActivateAgent", {}),
        ],
        (
            "AssignTask",
            {
                "task_id": "task-0000042",
                "task_type": "search",
                "needs": ["web_search"],
                "workflow_id": "workflow-0000003",
                "step_id": "search",
                "attempt": 1,
                "input": {"question": "What did the engine compute first?", "max_sources": 20},
            },
        ),
    ),
    "location": Story(
        [("DefineLocation", {"name": "Laboratory", "location_type": "physical", "address": ADDRESS})],
        ("SetPlace", {"coordinates": {"latitude": 51.5074, "longitude": -0.1357}}),
    ),
    "policy": Story(
        [
            (
                "DraftPolicy",
                {
                    "name": "Use of AI",
                    "description": "What agents may do by themselves.",
                    "owner": OWNER,
                    "enforcement": "hard",
                },
            ),
            *(
                ("SetRule", {"rule_id": f"rule-{number}", "text": "A person approves.", "severity": "high"})
                for number in range(RULES)
            ),
        ],
        ("SetRule", {"rule_id": "sources", "text": "A finding names its sources.", "severity": "medium"}),
    ),
    "document": Story(
        [
            (
                "CreateDocument",
                {"title": "Note G", "document_type": "note", "owner": OWNER, "content_cid": CID, **DOCUMENT},
            )
        ],
        ("AddVersion", {"content_cid": CID[:-1] + "a", **DOCUMENT, "summary": "Bernoulli numbers corrected"}),
    ),
    "workflow": Story(
        [
            (
                "DefineWorkflow",
                {
                    "name": "Review",
                    "definition": "review",
                    "owner": OWNER,
                    "steps": {
                        "scope": {"name": "Scope", "step_type": "automated"},
                        "search": {"name": "Search", "step_type": "automated", "depends_on": ["scope"]},
                        "analyse": {"name": "Analyse", "step_type": "automated", "depends_on": ["search"]},
                        "write": {"name": "Write", "step_type": "automated", "depends_on": ["analyse"]},
                    },
                },
            ),
            ("StartWorkflow", {}),
            ("StartStep", {"step_id": "scope"}),
        ],
        ("CompleteStep", {"step_id": "scope", "output": {"questions": 3, "scope": "1842 to 1843"}, "confidence": 0.9}),
    ),
}
