"""Which worker gets which shards: evenly per kind and in all, moving as few as that allows, and to those who are warm.

aiokafka's round robin moves most partitions when a worker joins, and its sticky assignor balances only the total, so
that one worker can end up with all shards of the busy kind.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

Owned = dict[str, list[int]]  # topic -> partitions


class Member(NamedTuple):
    """A member of the group.

    topics: what it subscribes to; owned: what it had before; standby: what it was a standby of before, or, of a process
    that has just started, what the one before it had; standby_replicas: how many standbys it wishes each partition to
    have, 0 where it is to be none itself.
    """

    topics: Collection[str]
    owned: Owned
    standby: Owned = {}
    standby_replicas: int = 0


def balanced(partitions: Mapping[str, Iterable[int]], members: Mapping[str, Member]) -> dict[str, Owned]:
    """Assign all partitions of the topics, each to a member that subscribes to its topic.

    Returns a member's partitions by topic. Of each topic no subscriber has over one more than another, and, where all
    subscribe to the same, none in all; a member keeps what it had as far as that allows, and what nobody keeps goes, as
    far as that allows, to members that were standbys of it. A member that cannot keep all gives up what standbys with
    room can take. The same input gives the same answer on every worker.
    """
    return _balanced(partitions, members, swaps=True)


def standbys(
    partitions: Mapping[str, Iterable[int]], assigned: Mapping[str, Owned], members: Mapping[str, Member]
) -> dict[str, Owned]:
    """Return what each member is a standby of, by topic, when the partitions are assigned so.

    Each partition has as many standbys as the most that any member wishes, or as there are members that may be one:
    subscribers that do not own it and wish for some. The first one is who would get the partition if its owner went, so
    that all that a lost owner had is taken by those who are warm. The others are spread evenly. Whoever had a partition
    or was a standby of it, stays with it as far as that allows. The same input gives the same answer on every worker.
    """
    most = max((member.standby_replicas for member in members.values()), default=0)
    names = sorted(members)
    willing = [name for name in names if members[name].standby_replicas]
    chosen: dict[TopicPartition, list[str]] = {}
    if not most or not willing:
        return {name: {} for name in names}
    heirs = dict(_heirs(partitions, assigned, members))
    owner_of = {where: name for name in names for where in _places(assigned[name])}
    warm = {name: {*_places(members[name].owned), *_places(members[name].standby)} for name in names}
    for where, heir in heirs.items():
        chosen[where] = [heir] if heir in willing else []
    counts = Counter(heir for each in chosen.values() for heir in each)
    share = -(-len(owner_of) * min(most, len(willing)) // len(willing))  # rounded up
    most_each = 2 * share  # whoever is warm keeps as much
    for where in sorted(owner_of):
        mine = chosen.setdefault(where, [])
        others = [
            name
            for name in willing
            if name != owner_of[where] and name not in mine and where.topic in members[name].topics
        ]
        others.sort(key=lambda name: (counts[name] >= most_each, where not in warm[name], counts[name], name))
        added = others[: max(0, most - len(mine))]
        counts.update(added)
        mine += added
    return {name: _by_topic(where for where in sorted(chosen) if name in chosen[where]) for name in names}


def _heirs(
    partitions: Mapping[str, Iterable[int]], assigned: Mapping[str, Owned], members: Mapping[str, Member]
) -> Iterator[tuple[TopicPartition, str]]:
    """Yield of each partition who gets it if its owner goes.

    Without swaps, `balanced` comes to the same then: what makes one there, a partition for which nobody with room is
    warm, is not met when these are the warm ones.
    """
    for owner in sorted(assigned):
        lost = set(_places(assigned[owner]))
        if not lost or len(members) == 1:
            continue
        left = {
            name: Member(member.topics, assigned[name], _together(member.owned, member.standby))
            for name, member in members.items()
            if name != owner
        }
        for name, owned in _balanced(partitions, left, swaps=False).items():
            for where in sorted(lost.intersection(_places(owned))):
                yield where, name


def _balanced(
    partitions: Mapping[str, Iterable[int]], members: Mapping[str, Member], *, swaps: bool
) -> dict[str, Owned]:
    load = dict.fromkeys(sorted(members), 0)
    assigned: dict[str, Owned] = {name: {} for name in load}
    for topic in sorted(partitions):
        subscribers = [name for name in load if topic in members[name].topics]
        if not subscribers:
            continue
        owned = {name: members[name].owned.get(topic, ()) for name in subscribers}
        warm = {name: members[name].standby.get(topic, ()) for name in subscribers}
        for name, share in _shares(set(partitions[topic]), owned, warm, load, swaps=swaps).items():
            load[name] += len(share)
            if share:
                assigned[name][topic] = sorted(share)
    return assigned


def _shares(
    free: set[int],
    owned: Mapping[str, Iterable[int]],
    warm: Mapping[str, Iterable[int]],
    load: Mapping[str, int],
    *,
    swaps: bool,
) -> dict[str, list[int]]:
    """Divide the partitions of one topic among those who may have them.

    swaps: whether, of those that may have one more, another one gets it than it would be if nobody were warm.
    """
    each, extra = divmod(len(free), len(owned))
    had = {name: free.intersection(before) for name, before in owned.items()}
    lost = free.difference(*had.values())
    rank = {name: (load[name], -len(had[name])) for name in owned}
    order = sorted(owned, key=lambda name: (rank[name], name))
    favoured, alike = order[:extra], [name for name in order if extra and rank[name] == rank[order[extra - 1]]]
    room = {name: each + (name in favoured) for name in owned}
    shares: dict[str, list[int]] = {name: [] for name in owned}

    def give(partition: int, name: str) -> None:
        shares[name].append(partition)
        free.discard(partition)
        room[name] -= 1

    awaited = {partition for name in owned if room[name] > len(had[name]) for partition in warm[name]}
    for name, before in had.items():
        for partition in sorted(before, key=lambda each: (each in awaited, each)):
            if partition in free and room[name]:
                give(partition, name)
    for partition, name in _to_the_warm(lost, warm, room).items():
        give(partition, name)
    spare = [name for name in alike if swaps and name in favoured and room[name]]
    for partition in sorted(free & lost):  # of those who may have one more, one that is warm instead of one that is not
        instead = next((name for name in alike if name not in favoured and partition in warm[name]), None)
        if instead is not None and spare:
            room[spare.pop()] -= 1
            room[instead] += 1
            favoured.append(instead)
            give(partition, instead)
    for partition, name in _to_the_warm(free, warm, room).items():  # those that were given up, after those of nobody
        give(partition, name)
    for partition in sorted(free):
        give(partition, next(name for name in owned if room[name]))
    return shares


def _to_the_warm(lost: Collection[int], warm: Mapping[str, Iterable[int]], room: Mapping[str, int]) -> dict[int, str]:
    """Give as many partitions as possible to members that are warm, none more than it has room for.

    A maximum matching by augmenting paths: a partition that finds its members full may move others to theirs.
    """
    standbys_of: dict[int, list[str]] = {partition: [] for partition in sorted(lost)}
    for name, partitions in warm.items():
        for partition in sorted(set(partitions).intersection(standbys_of)):
            standbys_of[partition].append(name)
    given: dict[int, str] = {}
    holds: dict[str, set[int]] = {name: set() for name in warm}
    full: set[str] = set()  # from which no path leads to room, and none ever will
    for wanted in standbys_of:
        came: dict[str, int] = {}  # by which partition a member was reached
        found = _with_room(wanted, standbys_of, holds, room, full, came)
        if found is None:
            full.update(came)
            continue
        partition = -1
        while partition != wanted:
            partition = came[found]
            former = given.get(partition, "")
            given[partition] = found
            holds[found].add(partition)
            if former:
                holds[former].discard(partition)
            found = former
    return given


def _with_room(
    wanted: int,
    standbys_of: Mapping[int, Iterable[str]],
    holds: Mapping[str, Collection[int]],
    room: Mapping[str, int],
    full: Collection[str],
    came: dict[str, int],
) -> str | None:
    """Return the nearest member with room; each member on the path could hold the partition that it was reached by."""
    queue = [wanted]
    for partition in queue:
        for name in standbys_of[partition]:
            if name not in came and name not in full:
                came[name] = partition
                if len(holds[name]) < room[name]:
                    return name
                queue += sorted(holds[name])
    return None


def _places(owned: Owned) -> Iterator[TopicPartition]:
    return (TopicPartition(topic, partition) for topic, partitions in owned.items() for partition in partitions)


def _by_topic(places: Iterable[TopicPartition]) -> Owned:
    found: Owned = {}
    for topic, partition in places:
        found.setdefault(topic, []).append(partition)
    return found


def _together(one: Owned, other: Owned) -> Owned:
    return _by_topic(sorted({*_places(one), *_places(other)}))
