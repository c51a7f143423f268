"""The members of a type as source text: inherited ones, defaults, other names on the wire, and their imports."""

from __future__ import annotations

from annals.schemas.kinds.agent import AgentDeployed
from annals.schemas.kinds.policy import ExemptionGranted
from annals.workers.tools.scaffold.members import imports, members


def test_inherited_members_come_with_their_defaults_and_required_ones_first() -> None:
    assert members(AgentDeployed) == [
        "    name: Slug",
        "    agent_type: AgentType",
        "    owner_id: AggregateId",
        "    purpose: LongText | UnsetType = UNSET",
        "    capacity: Capacity = 1",
    ]


def test_a_member_keeps_its_name_on_the_wire() -> None:
    assert '    from_: Time = msgspec.field(name="from")' in members(ExemptionGranted)


def test_a_name_is_imported_from_where_it_is_defined() -> None:
    found = imports(AgentDeployed, members(AgentDeployed))
    assert "from annals.schemas.kinds.agent import AgentType" in found
    assert "from annals.schemas.values.fields import Slug" in found
    assert "from msgspec import UNSET" in found
    assert "import msgspec" in imports(ExemptionGranted, members(ExemptionGranted))
