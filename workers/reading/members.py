"""What the members of the group that reads know of one another: each tells the leader, and the leader tells all.

Both messages are JSON with a version. Members of them that a release does not know are ignored, so that later ones may
add some; what one of them means never changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from annals.agents.reading.ports import Member
from annals.schemas.depth import decoded
from annals.workers.kafka.group.assignor import PROTOCOL_VERSION, READING_PROTOCOL, BalancedAssignor, Owned
from annals.workers.settings.values import web_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.workers.settings import Settings

VERSION: Final = 1
JOURNALS: Final = "events."
MOST_PROJECTIONS: Final = 1_000  # of a member: the leader tells each member of all, and the brokers keep it in a record
LONGEST_NAME: Final = 200
LONGEST_ADDRESS: Final = 1_000


class Told(msgspec.Struct):
    """What a member tells the leader: what it had, where its API is, and what it can do.

    standby: what it was a standby of, or, of a process that has just started, what the one before it had.
    standby_replicas: how many standbys of each partition it wishes; 0: it is none itself. again: grows where this
    member joins once more, as brokers ask the others only about what has changed.
    """

    version: int = 0
    owned: Owned = {}
    url: str | None = None
    projections: dict[str, int] = {}
    publishes: bool = True
    standby: Owned = {}
    standby_replicas: int = 0
    again: int = 0


class Roll(msgspec.Struct):
    """What the leader tells a member: which one it is, all members, and what it is a standby of, by topic."""

    version: int = 0
    me: str = ""
    members: list[Member] = []
    standby: Owned = {}


_TOLD: Final = msgspec.json.Decoder(Told)
_ROLL: Final = msgspec.json.Decoder(Roll)


def _nobody(member_id: str) -> None:
    """Tell nobody of an assignment."""


class GroupMembers:
    """The group that reads, as of the last assignment (the `Members` port)."""

    def __init__(self) -> None:
        """Begin before the first assignment."""
        self._roll = Roll()
        self.on_joined: Callable[[str], None] = _nobody
        """Called with this member's id at each assignment."""

    @property
    def me(self) -> Member | None:
        """This process; None before its first assignment."""
        return next((member for member in self._roll.members if member.id == self._roll.me), None)

    def all(self) -> Sequence[Member]:
        """Return all members, this process among them; empty before the first assignment."""
        return self._roll.members

    def owner(self, kind: str, partition: int) -> Member | None:
        """Return who has a partition; None while nobody is known to."""
        return next((member for member in self._roll.members if partition in member.partitions.get(kind, ())), None)

    def standbys(self, kind: str, partition: int) -> list[Member]:
        """Return who is a standby of a partition; empty while nobody is known to."""
        return [member for member in self._roll.members if partition in member.standby.get(kind, ())]

    def assigned(self, data: bytes | None) -> None:
        """Take what the leader told; what cannot be read tells nothing."""
        try:
            self._roll = decoded(_ROLL.decode, data or b"{}")
        except ValueError:
            self._roll = Roll()
        if self._roll.me:
            self.on_joined(self._roll.me)

    def differing(self) -> list[str]:
        """Return a sentence for each member that publishes where this one does not, or the other way round."""
        me = self.me
        if me is None:
            return []
        return [
            f"ANNALS_PUBLISH is {me.publishes:d} here and {other.publishes:d} at {other.url or other.id}: set it alike "
            f"on all workers that read, or what is published depends on who has a partition"
            for other in self._roll.members
            if other.publishes != me.publishes
        ]


class ReadingAssignor(BalancedAssignor):
    """Assigns as the write path does, under a name of its own, and tells each member of all."""

    name: ClassVar[str] = READING_PROTOCOL
    told: ClassVar[Told]
    members: ClassVar[GroupMembers]
    journals: ClassVar[frozenset[str]] = frozenset()
    """What this deployment's topics of events begin with, as far as this member subscribes to any."""
    has_joined: ClassVar[bool] = False

    @classmethod
    def of_one_reader(cls, told: Told, members: GroupMembers) -> type[Self]:
        """Return a class of one consumer's own.

        told: what this member tells before its first assignment; members: takes what the leader tells.
        """
        return type(cls.__name__, (cls,), {"owned": {}, "standby": told.standby, "told": told, "members": members})

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the partitions of all journals; the leader of the group calls it."""
        owned, standby = cls.shared_over(cluster, members)
        everybody = [
            _member(name, cls._by_kind(owned[name]), cls._by_kind(standby[name]), data.user_data)
            for name, data in sorted(members.items())
        ]
        return {
            name: ConsumerProtocolMemberAssignment(
                PROTOCOL_VERSION,
                sorted(mine.items()),
                msgspec.json.encode(Roll(VERSION, name, everybody, standby[name])),
            )
            for name, mine in owned.items()
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return this member's subscription, what it has, and what it tells."""
        topics = list(topics)
        cls.journals = frozenset(_journals_of(topic) for topic in topics)
        told = msgspec.structs.replace(cls.told, version=VERSION, owned=cls.owned, standby=cls.standby)
        return ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, topics, msgspec.json.encode(told))

    @classmethod
    def _by_kind(cls, owned: Owned) -> dict[str, list[int]]:
        """Return partitions by kind; those of another deployment's topics are nobody's here."""
        return {
            topic.rpartition(JOURNALS)[2]: partitions
            for topic, partitions in owned.items()
            if not cls.journals or _journals_of(topic) in cls.journals
        }

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what this member has, and who the others are.

        The brokers take a static member back without a rebalance: its first assignment may be one that was made when it
        told something else, and the others go by that.
        """
        super().on_assignment(assignment)
        cls.members.assigned(assignment.user_data)
        me = cls.members.me
        cls.is_outdated = not cls.has_joined and me is not None and not _is_known_as(me, cls.told)
        cls.has_joined = True
        if cls.is_outdated:
            cls.told = msgspec.structs.replace(cls.told, again=cls.told.again + 1)


def lasting_instance(settings: Settings) -> str | None:
    """Return the id by which this process is a static member; None where its address is another after a restart.

    The brokers take a static member back without a rebalance, so that nobody would be told the new address.
    """
    return None if settings.api_port == 0 and settings.api_advertised_url is None else settings.instance_id


def _member(
    name: str, partitions: dict[str, list[int]], standby: dict[str, list[int]], user_data: bytes | None
) -> Member:
    """Return a member by what it told; who tells nothing that can be read is one without an address."""
    try:
        told = decoded(_TOLD.decode, user_data or b"{}")
    except ValueError:
        told = Told()
    known = told.projections
    if len(known) > MOST_PROJECTIONS or max(map(len, known), default=0) > LONGEST_NAME:
        known = {}
    return Member(name, _address(told.url), partitions, known, told.publishes, standby)


def _is_known_as(member: Member, told: Told) -> bool:
    """Whether a member is known by what it tells now."""
    known = _member(member.id, member.partitions, member.standby, msgspec.json.encode(told))
    return known == member


def _journals_of(topic: str) -> str:
    """Return what the topic of a kind's events begins with."""
    return "".join(topic.rpartition(JOURNALS)[:2])


def _address(url: str | None) -> str | None:
    """Return an address that others may be sent to; None for anything else."""
    if url is None or len(url) > LONGEST_ADDRESS or not url.isprintable():
        return None
    try:
        return web_address(url)
    except ValueError:
        return None
