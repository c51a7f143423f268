"""Judges by the topics' bytes what subscribers get in a history: each event that counts, in order.

Once, or, where a subscriber answers, at least once, and not before the event before it is acknowledged.

A publisher stops only where a fault explains it. Then what it has published is the beginning of what there was to be,
and nothing follows on what the journal lost.
"""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from annals.schemas.subscription import STREAM
from annals.workers.tools.simulation.checker import journal_of
from annals.workers.tools.simulation.group import KEYS
from annals.workers.tools.simulation.plan import PARTITIONS, home_of
from annals.workers.tools.simulation.process import GROUP
from annals.workers.tools.simulation.subscriptions import ANSWERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.schemas.subscription import Definition
    from annals.schemas.subscription import Record as Subscription
    from annals.workers.memory.partition import Entry, Record
    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.checker import Event
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

MOST_REMEDIES: Final = 6  # of one subscription
AGAIN_S: Final = 5.0
LOST_EVENTS: Final = ": published up to offset "
LOST_BEHIND: Final = "the journal lost events that it has had"
BEHIND_NONE: Final = ", behind event none, "
RESTORED: Final = "the journal was restored from a copy of its records, and it is not known"


class Published(NamedTuple):
    """A record for a subscriber, as it says itself."""

    cid: str
    says: tuple[str, int, str, bytes, bytes]


class PublishingJudge:
    """Judges publishers, and resumes subscriptions that could not go on once the faults are over."""

    def __init__(self, world: World) -> None:
        """Take the world; nothing is published yet."""
        self._world = world
        self._ever: dict[tuple[str, int], list[Entry]] = {}
        self._cut: set[tuple[str, int]] = set()
        self._stopped: set[Key] = set()
        self._lacking: set[str] = set()  # subscriptions that had events which a journal lost
        self._remedies: Counter[str] = Counter()
        self._set_back: Counter[str] = Counter()  # how often somebody had a subscription go on with an older progress
        self._reasons: dict[str, str] = {}
        self._acts_at = 0.0

    def will_cut(self, where: tuple[str, int]) -> None:
        """Take note of what a partition has, in order, before it loses some of it."""
        self._cut.add(where)
        self.all_of(where)

    def told(self, process: Process, key: Key, reason: str) -> None:
        """Judge a stop as it happens."""
        world = self._world
        world.note(f"the publisher of {key[0]}-{key[1]} on worker {process.number} stopped: {reason}")
        world.counts["publisher stopped"] += 1
        self._stopped.add(key)
        if not self.is_explained(process, key, reason, LOST_EVENTS, world.names.progress):
            world.problems.append(f"publisher stopped without a cause: {key[0]}-{key[1]}: {reason}")

    def is_explained(self, process: Process, key: Key, reason: str, lost_events: str, *topics: str) -> bool:
        """Whether a fault explains a stop: of the journal, in words for lost events, or of partitions beside it."""
        world = self._world
        is_lost = lost_events in reason or RESTORED in reason
        is_cut = key in world.cut or key in world.given_up or key in world.perhaps_cut
        # Where what was lost had no event, nobody else has to stop.
        is_cut |= BEHIND_NONE in reason and key in world.shortened
        reader = process.readers.stopped().get(key)  # judged itself
        return (
            (is_lost and is_cut)
            or (is_lost and reader is not None and reason.endswith(reader))
            or any((topic, key[1]) in self._cut and reason.startswith(f"{topic}-{key[1]} ") for topic in topics)
        )

    def told_of_a_pause(self, name: str, partition: str, reason: str) -> None:
        """Judge that a subscription cannot go on."""
        world = self._world
        world.note(f"{name} cannot go on in {partition}: {reason}")
        world.counts["subscription stopped"] += 1
        self._reasons[name] = reason
        cut = (*world.given_up, *world.cut)  # where the group's offset was lost, too, those who write go on
        if LOST_BEHIND in reason and any(partition == f"{kind}-{at}" for kind, at in cut):
            self._lacking.add(name)
            return
        topics = self._topics(name)
        if not any(f"{topic}-{number} " in reason for topic, number in self._cut if topic in topics):
            world.problems.append(f"subscription stopped without a cause: {name} in {partition}: {reason}")

    def has_stopped(self, key: Key) -> bool:
        """Whether nothing of a partition is delivered any more to the subscriber that answers."""
        return key in self._stopped or ANSWERED in self._lacking

    def failed(self, process: Process, key: Key, error: Exception) -> None:
        """Take note of a failure that is no fault's: of the program."""
        self._world.problems.append(f"publisher failed: {key[0]}-{key[1]} on worker {process.number}: {error!r}")

    def behind(self) -> list[str]:
        """Return what is not published to the journals' ends."""
        missing = [
            f"nobody publishes {key[0]}-{key[1]}"
            for key in KEYS
            if not any(key in process.readers.publishers.here for process in self._world.processes)
        ]
        missing += [f"{name} is paused" for name in self._paused()]
        missing += [] if self._world.parking is None else self._world.parking.behind()
        return missing + [line for process in self._world.processes for line in process.readers.publishers.behind()]

    def resume(self) -> None:
        """Do what a pause asks for, and resume, as somebody does who has looked at it; now and then, not for ever."""
        world = self._world
        paused = self._paused()
        if not paused or world.loop.time() < self._acts_at:
            return
        self._acts_at = world.loop.time() + AGAIN_S
        for name in paused:
            self._remedies[name] += 1
            if self._remedies[name] <= MOST_REMEDIES:
                if "delete the group" in self._reasons.get(name, ""):
                    world.model.groups.pop(world.names.publishing_group(GROUP, name), None)
                    self._set_back[name] += 1
                world.subscriptions.turn(name, is_active=True)
                world.person.acted_at = world.loop.time()

    def differences(self) -> list[str]:
        """Return what subscribers have that they should not, and the other way round."""
        found, logs = [], self._world.all_logs()
        journals = {key: journal_of(logs, *key)[0] for key in KEYS}
        for name, kept in self._world.subscriptions.all().items():
            has: dict[Key, list[Published]] = {key: [] for key in KEYS}
            for partition in range(PARTITIONS):
                where = self._world.names.subscribers(name), partition
                for kind, aggregate, published in _published(self.all_of(where)):
                    if home_of(aggregate) != partition:
                        found.append(f"published elsewhere: {published.cid} to {where[0]}-{partition}")
                    has[kind, home_of(aggregate)].append(published)
            for key in KEYS:
                wanted = _wanted(kept.record, key, journals[key])
                may_lack = key in self._stopped or name in self._lacking
                if kept.record.definition.delivery == STREAM:
                    is_cut = (self._world.names.progress, key[1]) in self._cut
                    first = without_replays(has[key], self._set_back[name] if is_cut else 0)
                    lines = _compared(first, wanted, may_lack=may_lack)
                else:
                    settled = self._acknowledged() | self._discarded()
                    lines = _delivered(has[key], wanted, settled, may_lack=may_lack)
                found += [f"{line}: {name} of {key[0]}-{key[1]}" for line in lines]
        if self._world.subscriber is not None:
            there = {event.cid for chains in journals.values() for chain in chains.values() for event in chain}
            found += self._world.subscriber.overtaken(there - self._discarded())
            found += [] if self._world.parking is None else self._world.parking.differences()
        return found

    def _acknowledged(self) -> set[str]:
        return set() if self._world.subscriber is None else self._world.subscriber.acknowledged

    def _discarded(self) -> set[str]:
        return set() if self._world.parking is None else self._world.parking.discarded()

    def _paused(self) -> list[str]:
        """Return those that somebody should resume: nobody in a history deletes one, and puts it anew."""
        kept = self._world.subscriptions.all()
        return [name for name, each in kept.items() if not each.record.is_active and name not in self._lacking]

    def _topics(self, name: str) -> tuple[str, str]:
        return self._world.names.subscribers(name), self._world.names.progress

    def all_of(self, where: tuple[str, int]) -> list[Entry]:
        """Return all batches that a partition ever had, in the order in which they came."""
        ever = self._ever.setdefault(where, [])
        known = set(ever)
        ever += [entry for entry in self._world.model.logs[where].entries if entry not in known]
        return ever


def _published(entries: list[Entry]) -> Iterator[tuple[str, bytes, Published]]:
    for entry in entries:
        if not entry.is_marker and entry.status.value == "committed":
            for record in entry.records():
                yield _read(record)


def _read(record: Record) -> tuple[str, bytes, Published]:
    headers = {name: (value or b"").decode() for name, value in record.headers}
    kind = headers["ce_source"].removeprefix("/annals/")
    key = record.key or b""
    says = headers["ce_type"], int(headers["ce_sequence"]), headers["ce_subject"], key, record.value or b""
    return kind, key, Published(headers["ce_id"], says)


def _wanted(record: Subscription, key: Key, chains: dict[str, list[Event]]) -> list[Published]:
    """Return the records that a subscription should have of a journal, in its order."""
    kind = key[0]
    events = [event for chain in chains.values() for event in chain]
    return [
        Published(
            event.cid,
            (
                f"annals.{kind}.{event.block['type']}.v1",
                event.block["version"],
                event.block["aggregate_id"],
                event.block["aggregate_id"].encode(),
                orjson.dumps(event.block["data"]),
            ),
        )
        for event in sorted(events, key=lambda event: event.offset)
        if _wants(_definition_at(record, key, event.offset), kind, event.block["type"])
    ]


def _definition_at(record: Subscription, key: Key, offset: int) -> Definition:
    """Return the definition that an event is judged by: the first one that held up to a later offset."""
    kind, partition = key
    former = (each.definition for each in record.former if offset < each.until[kind][partition])
    return next(former, record.definition)


def _wants(definition: Definition, kind: str, event: str) -> bool:
    is_of_kind = not definition.kinds or kind in definition.kinds
    return is_of_kind and (not definition.types or event in definition.types)


def _delivered(
    has: list[Published], wanted: list[Published], acknowledged: set[str], *, may_lack: bool
) -> Iterator[str]:
    """Yield what is wrong with what was delivered to one that answers: at least once, and until it acknowledged it."""
    there = {each.cid: each for each in wanted}
    for each in has:
        if each.cid not in there and not may_lack:
            yield f"published on: nobody noticed that {each.cid} is gone"
        elif there.get(each.cid, each) != each:
            yield f"published wrong: {each} instead of {there[each.cid]}"
    got = set(has)
    missing = [each.cid for each in wanted if each not in got]
    forgotten = [each.cid for each in wanted if each in got and each.cid not in acknowledged]
    if missing and not may_lack:
        yield f"not published: {missing[0]} and {len(missing) - 1} others"
    elif forgotten and not may_lack:
        yield f"not acknowledged: {forgotten[0]} and {len(forgotten) - 1} others, and never delivered again"


def without_replays(has: list[Published], most: int) -> list[Published]:
    """Return what was published, but for what came again since its progress was an older one, at most so many times.

    Each time it goes on from an earlier place, and has all from there on as it was; all is returned where it has not.
    """
    kept: list[Published] = []
    places: dict[Published, int] = {}
    at, times = 0, 0
    for each in has:
        place = places.get(each)
        if place is None and at == len(kept):
            places[each] = at
            kept.append(each)
        elif place is not None and place < at and times < most:
            times, at = times + 1, place
        elif place is None or place != at:
            return has
        at += 1
    return kept


def _compared(has: list[Published], wanted: list[Published], *, may_lack: bool) -> Iterator[str]:
    there = {each.cid for each in wanted}
    kept = list(takewhile(lambda each: each.cid in there, has))
    again = [each for each in has[len(kept) :] if each.cid in there]
    doubled = [cid for cid, count in Counter(each.cid for each in has).items() if count > 1]
    if doubled:
        yield f"published again: {doubled[0]} and {len(doubled) - 1} others"
    elif again:
        yield f"published on: {again[0].cid} behind {has[len(kept)].cid}, which the journal lost"
    elif kept != wanted[: len(kept)]:
        at = next(at for at, (one, other) in enumerate(zip(kept, wanted, strict=False)) if one != other)
        yield f"published wrong: {kept[at]} instead of {wanted[at]}"
    elif len(has) > len(kept) and not may_lack:
        yield f"published on: nobody noticed that {has[len(kept)].cid} is gone"
    elif len(kept) < len(wanted) and not may_lack:
        yield f"not published: {wanted[len(kept)].cid} and {len(wanted) - len(kept) - 1} others"
