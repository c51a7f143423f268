"""Judges by the topics' bytes what a reaction has sent in a history: for each event and each timer one command.

The rules of `reminders` stand here once more. The commands of a counter's process are in one partition, in the order in
which it reacted; how events and the clock come between one another is read from that, and held to what must be so.
"""

from __future__ import annotations

from base64 import b32encode
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from blake3 import blake3

from annals.workers.memory.partition import Status
from annals.workers.tools.simulation.checker import journal_of
from annals.workers.tools.simulation.judged_records import cid_of, committed
from annals.workers.tools.simulation.plan import AGGREGATES, CLOCK_S, PARTITIONS, START, home_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.workers.partitions import Key
    from annals.workers.tools.simulation.checker import Event
    from annals.workers.tools.simulation.process import Process
    from annals.workers.tools.simulation.world import World

SOURCE: Final = "counter"
TARGET: Final = "gauge"
REACTION: Final = "reminders"
TIMERS: Final = {"CounterOpened": ("open", 4.0), "CounterRenamed": ("name", 2.0), "Counted": ("count-{}", 1.5)}
REACTED: Final = ": reacted up to offset "
NEWER: Final = "run the newer release"
AGAIN_S: Final = 5.0
LATE_S: Final = 1.0  # a timer fires within this time of when it is due
KEYS: Final[tuple[Key, ...]] = tuple((SOURCE, partition) for partition in range(PARTITIONS))


class Sent(NamedTuple):
    """A command of the reaction: its id, the event that led to it, what it says, and when a broker had it."""

    id: str
    cause: str
    said: str
    at: str


class Timer(NamedTuple):
    """A timer that is set: when it is due, and the CID of the event that led to it."""

    due: str
    cause: str


class Quiet(NamedTuple):
    """Events that send nothing, by CID. end: what came at a lower offset, behind an end that was lost, may do so.

    No reactor saw that end: the journal had grown as far again when one opened.
    """

    cids: set[str]
    end: int


class ReactingJudge:
    """Judges reactors, and starts workers of an older release again once the faults are over."""

    def __init__(self, world: World) -> None:
        """Take the world; nothing has stopped yet."""
        self._world = world
        self._stopped: set[Key] = set()
        self._opening: dict[tuple[int, Key], int] = {}
        self._least_end: dict[Key, int] = {}
        self._acts_at = 0.0

    def told(self, process: Process, key: Key, phase: str, reason: str) -> None:
        """Judge a stop as it happens."""
        world, topics = self._world, self._world.names
        world.note(f"the reactor of {key[0]}-{key[1]} on worker {process.number} {phase}: {reason}")
        world.counts[f"reactor {phase}"] += 1
        if NEWER in reason and world.controls.release > process.readers.reactors.version:
            return
        self._stopped.add(key)
        kept = topics.progress, topics.timers(REACTION)
        if phase == "failed" or not world.publishing.is_explained(process, key, reason, REACTED, *kept):
            world.problems.append(f"reactor {phase} without a cause: {key[0]}-{key[1]}: {reason}")

    def opens(self, process: Process, key: Key, phase: str) -> None:
        """Take note of where a journal ends as its reactor opens: what comes behind that is newer than the reaction."""
        end = self._world.model.logs[self._world.names.events(SOURCE), key[1]].stable
        if phase == "opening":
            self._opening[process.number, key] = end
        else:
            seen = max(end, self._opening[process.number, key])
            self._least_end[key] = min(seen, self._least_end.get(key, seen))

    def failed(self, process: Process, key: Key, error: Exception) -> None:
        """Take note of a failure that is no fault's: of the program."""
        self._world.problems.append(f"reactor failed: {key[0]}-{key[1]} on worker {process.number}: {error!r}")

    def behind(self) -> list[str]:
        """Return what is not reacted to up to now."""
        processes = self._world.processes
        missing = [
            f"nobody reacts to {key[0]}-{key[1]}"
            for key in KEYS
            if not any(key in process.readers.reactors.here for process in processes)
        ]
        old = [f"worker {process.number} is of an older release" for process in processes if _is_old(process)]
        return missing + old + [line for process in processes for line in process.readers.reactors.behind()]

    async def look(self) -> None:
        """Start a worker again whose release has an older version than the one that has run."""
        world = self._world
        await world.reading.look()
        if world.loop.time() < self._acts_at:
            return
        for process in [process for process in world.processes if _is_old(process)]:
            world.kill(process)
            world.start(process.host)
            world.person.acted_at = world.loop.time()
            self._acts_at = world.loop.time() + AGAIN_S

    def differences(self) -> list[str]:
        """Return what the reaction has sent that it should not, and the other way round."""
        logs, sent, found = self._world.all_logs(), self._sent(), list[str]()
        doubled = [
            id_ for id_, count in Counter(each.id for some in sent.values() for each in some).items() if count > 1
        ]
        if doubled:
            found.append(f"reacted again: {doubled[0]} and {len(doubled) - 1} others")
        for key in KEYS:
            chains = journal_of(logs, *key)[0]
            now, quiet = self._now(key), self._quiet(key)
            for aggregate in sorted(chains.keys() | {each for each in sent if home_of(each.encode()) == key[1]}):
                chain, commands = chains.get(aggregate, []), sent[aggregate]
                there = {event.cid for event in chain}
                gone = [each.cause for each in commands if each.cause not in there]
                if not gone:
                    process = _Process(aggregate, chain, quiet, self._most_ahead())
                    lines = process.judged(commands, None if key in self._stopped else now)
                    found += [f"{line}: {key[0]} {aggregate}" for line in lines]
                elif not self._world.lost_events.issuperset(gone):
                    found.append(f"reacted to what never was: {gone[0]}: {key[0]} {aggregate}")
                elif key not in self._stopped:
                    found.append(f"reacted on: nobody noticed that {gone[0]} is gone: {key[0]} {aggregate}")
        return found

    def _sent(self) -> dict[str, list[Sent]]:
        """Return the commands of the reaction by the counter that led to them, in their order."""
        found: dict[str, list[Sent]] = defaultdict(list)
        logs = self._world.all_logs()
        for partition in range(PARTITIONS):
            for entry in logs[self._world.names.commands(TARGET), partition]:
                for record in entry.records() if not entry.is_marker and entry.status is Status.COMMITTED else ():
                    if b'"causation_id"' in (record.value or b""):
                        command = orjson.loads(record.value or b"")
                        source = f"a{(int(command['aggregate_id'][1:]) - 1) % AGGREGATES}"
                        at = _text(START + timedelta(milliseconds=record.timestamp + 1))
                        said = command["data"]["name"]
                        found[source].append(Sent(command["id"], command["causation_id"], said, at))
        return found

    def _quiet(self, key: Key) -> Quiet:
        """Return which events of a partition send nothing, since they were there when the reaction was resumed."""
        before = self._world.controls.before[key[1]]
        cids = {cid_of(record.value or b"") for _, record in committed(before)}
        end = max((entry.end for entry in before), default=0)
        return Quiet(cids, min(end, self._least_end.get(key, end)))

    def _now(self, key: Key) -> str:
        """Return up to when timers have fired: the time by the clock of who reacts to a partition, and some before."""
        (host,) = (each.host for each in self._world.processes if key in each.readers.reactors.here)
        return _text(START + timedelta(seconds=self._world.loop.time() + host.clock_s - LATE_S))

    def _most_ahead(self) -> timedelta:
        """Return how far ahead of the brokers' a host's clock can have been."""
        steps = (fault.size - 0.5 for fault in self._world.plan.faults if fault.what == "clock_step")
        return timedelta(seconds=CLOCK_S * sum(max(0.0, step) for step in steps))


class _Process:
    """What a counter's process has seen, and which timers it has set, as its commands tell one after another."""

    def __init__(self, aggregate: str, chain: list[Event], quiet: Quiet, ahead: timedelta) -> None:
        """Take the events, which of them send nothing, and how far ahead clocks may have been."""
        self._aggregate = aggregate
        self._chain = chain
        self._ahead = ahead
        self._seen = 0
        self._timers: dict[str, Timer] = {}
        self._quiet = quiet

    def judged(self, commands: list[Sent], now: str | None) -> Iterator[str]:
        """Yield the first thing that is wrong. now: up to when all must have happened; None: it may end anywhere."""
        for command in commands:
            wrong = self._of_event(command) if command.id.startswith(command.cause) else self._of_timer(command)
            if wrong is not None:
                yield wrong
                return
        if now is None:
            return
        self._pass_quiet(len(self._chain))
        if left := self._chain[self._seen :]:
            yield f"not reacted to: {left[0].cid} and {len(left) - 1} others"
        elif due := [name for name, timer in self._timers.items() if timer.due <= now]:
            yield f"timer never fired: {due[0]} and {len(due) - 1} others"

    def _pass_quiet(self, most: int, cause: str = "") -> None:
        """See events that lead to no command, up to so many; nor do timers that are due before one of them.

        cause: of the command that comes next.
        """
        for event in self._chain[self._seen : most]:
            if event.cid not in self._quiet.cids and (event.offset >= self._quiet.end or event.cid == cause):
                return
            recorded_at = event.block["recorded_at"]
            self._timers = {name: timer for name, timer in self._timers.items() if timer.due > recorded_at}
            self._see()

    def _of_event(self, command: Sent) -> str | None:
        self._pass_quiet(len(self._chain), command.cause)
        event = self._chain[self._seen] if self._seen < len(self._chain) else None
        if event is None or command.cause != event.cid:
            return f"reacted out of order: to {command.cause} behind {self._seen} events"
        if command.id != f"{event.cid}:RenameCounter" or command.said != f"event.{event.block['version']}":
            return f"reacted wrong: {command}"
        if late := [name for name, timer in self._timers.items() if timer.due <= event.block["recorded_at"]]:
            return f"timer overtaken: {late[0]} by {event.cid}"
        self._see()
        return None

    def _of_timer(self, command: Sent) -> str | None:
        name, _, seen = command.said.rpartition(".")
        self._pass_quiet(int(seen))  # behind the others the clock may have come first
        timer = self._timers.pop(name, None)
        if timer is None or command.id != f"t:{self._digest(name, timer)}:RenameCounter":
            return f"timer fired that was not set: {command}"
        if command.cause != timer.cause or int(seen) != self._seen:
            return f"reacted wrong: {command}"
        if any((other.due, each) < (timer.due, name) for each, other in self._timers.items()):
            return f"timer out of order: {command}"
        following = self._chain[self._seen : self._seen + 1]
        is_forced = any(timer.due <= event.block["recorded_at"] for event in following)
        if not is_forced and timer.due > _text(datetime.fromisoformat(command.at) + self._ahead):
            return f"timer early: {command}, due {timer.due}"
        return None

    def _see(self) -> None:
        """Take the next event, and the timers that it sets and cancels."""
        event = self._chain[self._seen]
        self._seen += 1
        kind, recorded_at = event.block["type"], datetime.fromisoformat(event.block["recorded_at"])
        if kind == "CounterClosed":
            self._timers.clear()
            return
        if kind == "Counted":
            self._timers.pop("open", None)
        name, seconds = TIMERS[kind]
        due = _text(recorded_at + timedelta(seconds=seconds))
        self._timers[name.format(event.block["version"])] = Timer(due, event.cid)

    def _digest(self, name: str, timer: Timer) -> str:
        said = orjson.dumps([REACTION, self._aggregate, "", name, timer.due, timer.cause])
        return b32encode(blake3(said).digest()).decode().rstrip("=").lower()


def _is_old(process: Process) -> bool:
    """Whether a process cannot react, since its release is older than the version that has run."""
    reactors = process.readers.reactors
    return any(here.reactor.phase == "stopped" and NEWER in here.reactor.reason for here in reactors.here.values())


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
