"""The read models, by name: one line each. None of them knows another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.projections.agent_workload import AGENT_WORKLOAD
from annals.agents.projections.documents import DOCUMENTS
from annals.agents.projections.locations import LOCATIONS
from annals.agents.projections.organization_members import ORGANIZATION_MEMBERS
from annals.agents.projections.organizations import ORGANIZATIONS
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.projections.policies_in_force import POLICIES_IN_FORCE
from annals.agents.projections.workflow_board import WORKFLOW_BOARD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.projections.projection import Projection

REGISTRY: Final[Mapping[str, Projection[Any]]] = {
    "people_directory": PEOPLE_DIRECTORY,
    "organization_members": ORGANIZATION_MEMBERS,
    "documents": DOCUMENTS,
    "policies_in_force": POLICIES_IN_FORCE,
    "locations": LOCATIONS,
    "organizations": ORGANIZATIONS,
    "agent_workload": AGENT_WORKLOAD,
    "workflow_board": WORKFLOW_BOARD,
}
