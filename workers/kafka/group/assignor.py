"""The assignor: what members tell the leader, what the leader answers, and who owns what and stands by for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from annals.schemas.depth import decoded
from annals.workers.kafka.group.sharing import Member, Owned, balanced, standbys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "PROTOCOL_VERSION",
    "READING_PROTOCOL",
    "BalancedAssignor",
    "Member",
    "MemberData",
    "Owned",
    "Shared",
    "balanced",
    "standbys",
]

PROTOCOL_VERSION: Final = 0
READING_PROTOCOL: Final = "annals-reading"
"""The name of the assignor of those who read."""
MEMBER_VERSION: Final = 1
ANSWER_VERSION: Final = 1


class MemberData(msgspec.Struct):
    """What a member tells the leader, in JSON, beside its topics.

    Members of it that a reader does not know are ignored, so that later releases may add some; what one of them means
    never changes. Releases before version 1 sent `owned` alone, without a name; those before standbys neither tell of
    any nor keep one.
    """

    version: int = 0
    owned: Owned = {}
    standby: Owned = {}
    standby_replicas: int = 0


class Answer(msgspec.Struct):
    """What the leader tells a member, in JSON, beside what it owns: what it is a standby of."""

    version: int = 0
    standby: Owned = {}


class Shared(NamedTuple):
    """Who owns what, and who is a standby of what."""

    owned: dict[str, Owned]
    standby: dict[str, Owned]


_MEMBER_DATA: Final = msgspec.json.Decoder(MemberData)
_OWNED: Final = msgspec.json.Decoder(Owned)
_ANSWER: Final = msgspec.json.Decoder(Answer)


class BalancedAssignor(AbstractPartitionAssignor):
    """The group protocol's side of `sharing`: members tell the leader what they have, and it tells them the standbys.

    owned, standby: what this consumer owns, and is a standby of, as of its last assignment; before the first one
    `standby` is what it had before it was restarted.
    """

    name: ClassVar[str] = "annals-balanced"
    owned: ClassVar[Owned] = {}
    standby: ClassVar[Owned] = {}
    standby_replicas: ClassVar[int] = 0
    is_outdated: ClassVar[bool] = False
    """Whether the members know this one by what it told before it was restarted: it has to join once more."""

    @classmethod
    def of_one_consumer(cls, standby_replicas: int = 0, before: Owned | None = None) -> type[Self]:
        """Return a class of its own: aiokafka takes classes, and what a member had is that member's alone.

        standby_replicas: how many standbys of each partition this member wishes; 0: it is none itself; before: what it
        had before it was restarted.
        """
        had = {"owned": {}, "standby": before or {}}
        return type(cls.__name__, (cls,), {**had, "standby_replicas": standby_replicas})

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the partitions of all subscribed topics; the leader of the group calls it."""
        shared = cls.shared_over(cluster, members)
        return {
            name: ConsumerProtocolMemberAssignment(
                PROTOCOL_VERSION,
                sorted(owned.items()),
                msgspec.json.encode(Answer(ANSWER_VERSION, shared.standby[name])),
            )
            for name, owned in shared.owned.items()
        }

    @classmethod
    def shared_over(cls, cluster: Any, members: Mapping[str, Any]) -> Shared:
        """Return who gets which partitions and who stands by for which, by what the members told."""
        told = {name: _told(data) for name, data in members.items()}
        topics = {topic for member in told.values() for topic in member.topics}
        partitions = {topic: cluster.partitions_for_topic(topic) or () for topic in topics}
        owned = balanced(partitions, told)
        return Shared(owned, standbys(partitions, owned, told))

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return this member's subscription, and what it has."""
        data = msgspec.json.encode(MemberData(MEMBER_VERSION, cls.owned, cls.standby, cls.standby_replicas))
        return ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, list(topics), data)

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what this member has, and what it is a standby of: nothing by the answer of an older release."""
        cls.owned = {topic: list(partitions) for topic, partitions in assignment.assignment}
        try:
            answer = decoded(_ANSWER.decode, assignment.user_data or b"{}")
        except ValueError:
            answer = Answer()
        cls.standby = answer.standby


def _told(data: Any) -> Member:
    """Return a member by what it told; nothing but its topics where it does not say, or says what cannot be read."""
    topics, text = frozenset(data.subscription), data.user_data or b"{}"
    try:
        told = decoded(_MEMBER_DATA.decode, text)
        owned = told.owned if told.version else decoded(_OWNED.decode, text)
    except ValueError:
        return Member(topics, {})
    if not told.version:
        return Member(topics, owned)
    return Member(topics, owned, told.standby, max(0, told.standby_replicas))
