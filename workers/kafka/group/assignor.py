"""Which worker gets which shards: evenly per kind and in all, moving as few as that allows.

aiokafka's round robin moves most partitions when a worker joins, and its sticky assignor balances only the total, so
that one worker can end up with all shards of the busy kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from annals.schemas.depth import decoded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Owned = dict[str, list[int]]  # topic -> partitions

PROTOCOL_VERSION: Final = 0
MEMBER_VERSION: Final = 1


class MemberData(msgspec.Struct):
    """What a member tells the leader, in JSON, beside its topics.

    Members of it that a reader does not know are ignored, so that later releases may add some; what one of them means
    never changes. Releases before version 1 sent `owned` alone, without a name.
    """

    version: int = 0
    owned: Owned = {}


_MEMBER_DATA: Final = msgspec.json.Decoder(MemberData)
_OWNED: Final = msgspec.json.Decoder(Owned)


class Member(NamedTuple):
    """A member of the group: what it subscribes to, and what it had before."""

    topics: Collection[str]
    owned: Owned


def balanced(partitions: Mapping[str, Iterable[int]], members: Mapping[str, Member]) -> dict[str, Owned]:
    """Assign all partitions of the topics, each to a member that subscribes to its topic.

    Returns a member's partitions by topic. Of each topic no subscriber has over one more than another, and, where all
    subscribe to the same, none in all; a member keeps what it had as far as that allows. The same input gives the same
    answer on every worker.
    """
    load = dict.fromkeys(sorted(members), 0)
    assigned: dict[str, Owned] = {name: {} for name in load}
    for topic in sorted(partitions):
        subscribers = [name for name in load if topic in members[name].topics]
        if not subscribers:
            continue
        shares = _shares(
            set(partitions[topic]), {name: members[name].owned.get(topic, ()) for name in subscribers}, load
        )
        for name, share in shares.items():
            load[name] += len(share)
            if share:
                assigned[name][topic] = sorted(share)
    return assigned


def _shares(free: set[int], owned: Mapping[str, Iterable[int]], load: Mapping[str, int]) -> dict[str, list[int]]:
    """Divide the partitions of one topic among those who may have them."""
    each, extra = divmod(len(free), len(owned))
    had = {name: sorted(free.intersection(before)) for name, before in owned.items()}
    favoured = sorted(owned, key=lambda name: (load[name], -len(had[name]), name))[:extra]
    quota = {name: each + (name in favoured) for name in owned}
    shares: dict[str, list[int]] = {name: [] for name in owned}
    for name, before in had.items():
        for partition in before:
            if partition in free and len(shares[name]) < quota[name]:
                shares[name].append(partition)
                free.discard(partition)
    for partition in sorted(free):
        name = next(name for name in owned if len(shares[name]) < quota[name])
        shares[name].append(partition)
    return shares


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
        return {
            member: ConsumerProtocolMemberAssignment(PROTOCOL_VERSION, sorted(of.items()), b"")
            for member, of in cls.balanced_over(cluster, members).items()
        }

    @classmethod
    def balanced_over(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Owned]:
        """Return who gets which partitions, by what the members told."""
        told = {name: Member(frozenset(data.subscription), _owned(data.user_data)) for name, data in members.items()}
        topics = {topic for member in told.values() for topic in member.topics}
        return balanced({topic: cluster.partitions_for_topic(topic) or () for topic in topics}, told)

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return this member's subscription, and what it has."""
        data = msgspec.json.encode(MemberData(MEMBER_VERSION, cls.owned))
        return ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, list(topics), data)

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what this member has."""
        cls.owned = {topic: list(partitions) for topic, partitions in assignment.assignment}


def _owned(user_data: bytes | None) -> Owned:
    """Return what a member had; nothing where it does not say, or says what cannot be read."""
    try:
        data = decoded(_MEMBER_DATA.decode, user_data or b"{}")
        return data.owned if data.version else decoded(_OWNED.decode, user_data or b"{}")
    except ValueError:
        return {}
