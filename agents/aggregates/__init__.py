"""The aggregates, by kind: one line each. None of them knows another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agents.aggregates.agent import AGENT
from agents.aggregates.document import DOCUMENT
from agents.aggregates.location import LOCATION
from agents.aggregates.organization import ORGANIZATION
from agents.aggregates.person import PERSON
from agents.aggregates.policy import POLICY
from agents.aggregates.workflow import WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.decider import Decider

REGISTRY: Final[Mapping[str, Decider[Any]]] = {
    "person": PERSON,
    "organization": ORGANIZATION,
    "agent": AGENT,
    "location": LOCATION,
    "policy": POLICY,
    "document": DOCUMENT,
    "workflow": WORKFLOW,
}
