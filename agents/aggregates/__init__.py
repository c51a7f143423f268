"""The aggregates, by kind: one line each. None of them knows another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.aggregates.agent import AGENT
from annals.agents.aggregates.document import DOCUMENT
from annals.agents.aggregates.location import LOCATION
from annals.agents.aggregates.organization import ORGANIZATION
from annals.agents.aggregates.person import PERSON
from annals.agents.aggregates.policy import POLICY
from annals.agents.aggregates.workflow import WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import Decider

REGISTRY: Final[Mapping[str, Decider[Any]]] = {
    "person": PERSON,
    "organization": ORGANIZATION,
    "agent": AGENT,
    "location": LOCATION,
    "policy": POLICY,
    "document": DOCUMENT,
    "workflow": WORKFLOW,
}
