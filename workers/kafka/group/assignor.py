"""Which worker gets which shards: evenly per kind and in all, moving as few as that allows.

aiokafka's round robin moves most partitions when a worker joins, and its sticky assignor balances only the total, so
that one worker can end up with all shards of the busy kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Owned = dict[str, list[int]]  # topic -> partitions

VERSION: Final = 0


def balanced(topics: Mapping[str, Iterable[int]], owned: Mapping[str, Owned]) -> dict[str, Owned]:
    """Assign all partitions of the topics to the members of `owned`, who name what they had before.

    Returns a member's partitions by topic. Of each topic, and in all, no member has over one more than another; a
    member keeps what it had as far as that allows. The same input gives the same answer on every worker.
    """
    members = sorted(owned)
    load = dict.fromkeys(members, 0)
    assigned: dict[str, Owned] = {member: {} for member in members}
    for topic in sorted(topics):
        free = set(topics[topic])
        each, extra = divmod(len(free), len(members))
        had = {member: sorted(free.intersection(owned[member].get(topic, ()))) for member in members}
        favoured = sorted(members, key=lambda member: (load[member], -len(had[member]), member))[:extra]
        quota = {member: each + (member in favoured) for member in members}
        taken: dict[str, list[int]] = {member: [] for member in members}
        for member in members:
            for partition in had[member]:
                if partition in free and len(taken[member]) < quota[member]:
                    taken[member].append(partition)
                    free.discard(partition)
        for partition in sorted(free):
            member = next(member for member in members if len(taken[member]) < quota[member])
            taken[member].append(partition)
        for member in members:
            load[member] += len(taken[member])
            if taken[member]:
                assigned[member][topic] = sorted(taken[member])
    return assigned


class BalancedAssignor(AbstractPartitionAssignor):
    """The group protocol's side of `balanced`: members tell the leader what they had in their metadata."""

    name: ClassVar[str] = "annals-balanced"
    owned: ClassVar[Owned] = {}

    @classmethod
    def of_one_consumer(cls) -> type[BalancedAssignor]:
        """Return a class of its own: aiokafka takes classes, and what a member had is that member's alone."""
        return type(cls.__name__, (cls,), {"owned": {}})

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the partitions of all subscribed topics; the leader of the group calls it."""
        names = {topic for member in members.values() for topic in member.subscription}
        topics = {topic: cluster.partitions_for_topic(topic) or () for topic in names}
        assigned = balanced(topics, {name: _owned(member.user_data) for name, member in members.items()})
        return {
            member: ConsumerProtocolMemberAssignment(VERSION, sorted(of.items()), b"")
            for member, of in assigned.items()
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return this member's subscription, and what it has."""
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), msgspec.json.encode(cls.owned))

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what this member has."""
        cls.owned = {topic: list(partitions) for topic, partitions in assignment.assignment}


def _owned(user_data: bytes | None) -> Owned:
    """Return what a member had; nothing where it does not say, or says what cannot be read."""
    try:
        return msgspec.json.decode(user_data or b"{}", type=Owned)
    except msgspec.DecodeError:
        return {}
