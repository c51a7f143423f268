"""Judges a history by what is left in its topics, and shares no code with what wrote it.

Blocks are decoded by libipld and hashed by blake3 (`judged_records`); keys are placed by the producers' own murmur2.
Everything else that a block, an outcome or a header must say is written down here once more, from the contract.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from libipld import decode_dag_cbor, encode_multibase

from annals.workers.tools.simulation.judged_records import answered_by, block_of, cid_of, committed, not_aborted
from annals.workers.tools.simulation.plan import KINDS, PARTITIONS, home_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from annals.workers.memory.partition import Entry, Record
    from annals.workers.tools.simulation.judged_records import Logs

    Place = tuple[str, int, int]  # of a command: its kind, partition and offset

EVENTS_OF: Final = {"OpenCounter": "CounterOpened", "RenameCounter": "CounterRenamed", "CloseCounter": "CounterClosed"}


class Event(NamedTuple):
    """An event that counts."""

    offset: int
    batch: int
    cid: str
    block: dict[str, Any]


class Command(NamedTuple):
    """A record of a command topic."""

    kind: str
    partition: int
    offset: int
    record: Record
    content: dict[str, Any] | None


class Excuses(NamedTuple):
    """What faults did to the topics, by kind and partition.

    strangers: the command ids of events that a fault wrote; lost_offsets: where the group's offset was taken away, by a
    fault or with what was accepted, so that what has no outcome may be answered again; lost_events: the CIDs of events
    that were cut off; lost_answers: batches of outcomes that were cut off, by topic and partition; starts: the first
    offsets that are left, since what was before has expired; decided_again: where commands whose events were cut off
    are.
    """

    strangers: Collection[str] = ()
    lost_offsets: Collection[tuple[str, int]] = ()
    lost_events: Collection[str] = ()
    lost_answers: Mapping[tuple[str, int], Sequence[Entry]] = MappingProxyType({})
    starts: Mapping[tuple[str, int], int] = MappingProxyType({})
    decided_again: Collection[tuple[str, int]] = ()


NONE: Final = Excuses()


def check(logs: Logs, snapshot_every: int, excuses: Excuses = NONE) -> list[str]:
    """Return what is wrong, a line each; nothing if all is as the contract says.

    logs: all entries that each partition ever had.
    """
    return _Checker(logs, snapshot_every, excuses).all()


class _Checker:
    def __init__(self, logs: Logs, snapshot_every: int, excuses: Excuses) -> None:
        self._logs = logs
        self._every = snapshot_every
        self._strangers = excuses.strangers
        self._excuses = excuses
        self._problems: list[str] = []
        self._chains: dict[tuple[str, str], list[Event]] = defaultdict(list)

    def all(self) -> list[str]:
        commands = [
            command for kind in KINDS for partition in range(PARTITIONS) for command in self._commands(kind, partition)
        ]
        for kind in KINDS:
            for partition in range(PARTITIONS):
                self._journal(kind, partition)
        sent: dict[tuple[str, str, str], dict[str, Any]] = {}
        for command in commands:
            if command.content is not None:
                sent[command.kind, command.content["aggregate_id"], command.content["id"]] = command.content
        self._caused(sent)
        self._answers(commands)
        if self._every:
            self._snapshots()
        return self._problems

    def journal(self, kind: str, partition: int) -> tuple[dict[str, list[Event]], set[str]]:
        voids = self._journal(kind, partition)
        return {key: chain for (_, key), chain in self._chains.items() if chain}, voids

    def _wrong(self, what: str) -> None:
        self._problems.append(what)

    def _records(self, topic: str, partition: int) -> Iterator[tuple[int, Record]]:
        """Yield the committed records, each with the base offset of its batch."""
        return committed(self._logs[topic, partition])

    def _commands(self, kind: str, partition: int) -> Iterator[Command]:
        for _, record in self._records(f"commands.{kind}", partition):
            try:
                content = orjson.loads(record.value or b"")
            except orjson.JSONDecodeError:
                content = None
            yield Command(kind, partition, record.offset, record, content)

    def _journal(self, kind: str, partition: int) -> set[str]:
        """Read a journal by the rule of every reader; return the CIDs of its void events."""
        voids: set[str] = set()
        for batch, record in self._records(f"events.{kind}", partition):
            where = f"events.{kind}-{partition} offset {record.offset}"
            block = block_of(record.value or b"")
            key = (record.key or b"").decode()
            is_ours = block is not None and block["kind"] == kind and block["aggregate_id"] == key
            if block is None or not is_ours or home_of(key.encode()) != partition:
                if (
                    not (record.value or b"").startswith(b"no block")
                    and (block or {}).get("command_id") not in self._strangers
                ):
                    self._wrong(f"foreign: {where}")
                continue
            chain, cid = self._chains[kind, key], cid_of(record.value or b"")
            version, previous = block["version"], block["previous"]
            head = chain[-1].cid if chain else None
            said = None if previous is None else encode_multibase("b", previous)
            if version == len(chain) + 1 and said == head:
                if chain and block["recorded_at"] < chain[-1].block["recorded_at"]:
                    self._wrong(f"time runs back: {where}")
                chain.append(Event(record.offset, batch, cid, block))
            elif version <= len(chain) + 1 or said in voids:
                voids.add(cid)
                if block["command_id"] not in self._strangers:
                    self._wrong(f"void: {where}, {block['command_id']} version {version}")
            else:
                self._wrong(f"gap: {where}, version {version} behind {len(chain)}")
        return voids

    def _caused(self, sent: Mapping[tuple[str, str, str], dict[str, Any]]) -> None:
        """Each command's events are in the journal once, whole, in one batch."""
        for (kind, aggregate), chain in self._chains.items():
            runs: dict[str, list[list[Event]]] = defaultdict(list)
            for command_id, run in groupby(chain, key=lambda event: event.block["command_id"]):
                runs[command_id].append(list(run))
            for command_id, found in runs.items():
                if command_id not in self._strangers:
                    name = f"{command_id} of {kind} {aggregate}"
                    self._caused_by(name, sent.get((kind, aggregate, command_id)), found)

    def _caused_by(self, name: str, content: Mapping[str, Any] | None, found: Sequence[Sequence[Event]]) -> None:
        """Hold a command's events against it. content: None if nobody sent it; found: each run of them in the chain."""
        if len(found) > 1:
            self._wrong(f"doubled: {name}")
        if content is None:
            self._wrong(f"made up: {name}")
            return
        is_counting = content["type"] == "Count"
        wanted = ["Counted"] * content["data"]["parts"] if is_counting else [EVENTS_OF[content["type"]]]
        for run in found:
            types = [event.block["type"] for event in run]
            if types != wanted and len(found) == 1:
                self._wrong(f"torn: {name}: {types}")
            if len({event.batch for event in run}) > 1:
                self._wrong(f"torn over batches: {name}")

    def _answers(self, commands: Sequence[Command]) -> None:
        """Each command's record has one answer, and it is true."""
        at = {(command.kind, command.partition, command.offset): command for command in commands}
        answers: dict[Place, list[str]] = defaultdict(list)
        lost = self._outcomes(at, answers)
        self._copies(commands, answers)
        self._dead_letters(at, answers)
        for place, command in at.items():
            self._answered(place, command, self._left(place, answers.get(place, [])), is_lost=place in lost)

    def _outcomes(self, at: Mapping[Place, Command], answers: Mapping[Place, list[str]]) -> set[Place]:
        """Hold outcomes against their commands, and add them to the answers; return whose outcomes were cut off."""
        lost_answers: set[Place] = set()
        for kind in KINDS:
            for partition in range(PARTITIONS):
                where = f"outcomes.{kind}", partition
                lost = self._excuses.lost_answers.get(where, ())
                lost_answers.update((kind, partition, answered_by(record)) for _, record in not_aborted(lost))
                for _, record in committed(self._logs[where]):
                    answers[kind, partition, answered_by(record)].append("outcome")
                for entries in (lost, self._logs[where]):
                    for _, record in committed(entries):
                        command = at.get((kind, partition, answered_by(record)))
                        self._outcome(kind, partition, record, dict(record.headers), command)
        return lost_answers

    def _copies(self, commands: Sequence[Command], answers: Mapping[Place, list[str]]) -> None:
        """Add to the answers the copies of commands that were forwarded."""
        for command in commands:
            origin = dict(command.record.headers)
            if "origin-partition" in origin:
                partition, offset = int(origin["origin-partition"] or b""), int(origin["origin-offset"] or b"")
                is_expired = command.offset < self._start(command)
                answers[command.kind, partition, offset].append("expired copy" if is_expired else "copy")

    def _dead_letters(self, at: Mapping[Place, Command], answers: Mapping[Place, list[str]]) -> None:
        """Hold dead letters against what they are of, and add them to the answers."""
        for _, record in self._records("dead-letters", 0):
            headers = dict(record.headers)
            kind = (headers["source-topic"] or b"").decode().removeprefix("commands.")
            source = kind, int(headers["source-partition"] or b""), int(headers["source-offset"] or b"")
            answers[source].append("dead letter")
            original = at.get(source)
            if original is None or original.record.value != record.value:
                self._wrong(f"dead letter of no record: {source}")

    def _left(self, place: Place, found: list[str]) -> list[str]:
        """Return the answers that count, where faults excuse others."""
        if place[:2] in self._excuses.lost_offsets and "expired copy" in found:
            found = [each for each in found if each == "copy"][-1:]  # nothing tells any more that it was forwarded
            found = found or ["copy"]
        found = ["copy" if each == "expired copy" else each for each in found]
        return found[:1] if place[:2] in self._excuses.decided_again else found

    def _answered(self, place: Place, command: Command, found: Sequence[str], *, is_lost: bool) -> None:
        """Hold the answers that count against what the command is. is_lost: one was cut off."""
        content, has_lost_offset = command.content, place[:2] in self._excuses.lost_offsets
        said = content["id"] if content else "no command"
        name = f"commands.{command.kind}-{command.partition} offset {command.offset} ({said})"
        if not found:
            is_told = not has_lost_offset and command.offset >= self._start(command)
            if is_told or not is_lost:  # else it counts as decided, or has expired since
                self._wrong(f"lost: {name}")
        elif len(found) > 1 and not (set(found) == {"dead letter"} and has_lost_offset):
            self._wrong(f"answered again: {name}: {found}")
        elif (set(found) == {"dead letter"}) != (content is None):
            self._wrong(f"{found[0]} for {name}")
        elif content and (found == ["copy"]) != (home_of(content["aggregate_id"].encode()) != command.partition):
            self._wrong(f"{found[0]} for {name}, which belongs elsewhere")

    def _start(self, command: Command) -> int:
        """Return the first offset that is left where a command is."""
        return self._excuses.starts.get((f"commands.{command.kind}", command.partition), 0)

    def _outcome(
        self, kind: str, partition: int, record: Record, headers: dict[str, bytes | None], command: Command | None
    ) -> None:
        """Hold an outcome against its command and its chain."""
        outcome = orjson.loads(record.value or b"")
        name = f"outcome of {outcome['command_id']} in outcomes.{kind}-{partition} offset {record.offset}"
        content = command.content if command is not None else None
        if command is None or content is None or content["id"] != outcome["command_id"]:
            self._wrong(f"{name}: its command-offset is another command's")
            return
        origin = dict(command.record.headers)
        for header in ("origin-partition", "origin-offset"):
            if origin.get(header) != headers.get(header):
                self._wrong(f"{name}: {header} is {headers.get(header)!r}, the command's is {origin.get(header)!r}")
        lost = {outcome["head"], *(event["cid"] for event in outcome["events"])} & set(self._excuses.lost_events)
        if lost:
            return
        chain = self._chains.get((kind, outcome["aggregate_id"]), [])
        version, head, status = outcome["version"], outcome["head"], outcome["status"]
        on_chain = (version == 0 and head is None) or (0 < version <= len(chain) and chain[version - 1].cid == head)
        if not on_chain:
            self._wrong(f"lost: {name} says {status} at version {version}, which is not on the chain")
            return
        listed = [(event["version"], event["type"], event["cid"]) for event in outcome["events"]]
        caused = [
            (event.block["version"], event.block["type"], event.cid)
            for event in chain
            if event.block["command_id"] == outcome["command_id"]
        ]
        if status == "duplicate" or (status == "accepted" and listed):
            if listed != caused:
                self._wrong(f"lost: {name} lists {listed}, the chain has {caused}")
                return
            last, said = chain[version - 1].offset, headers["journal-offset"]
            if status == "accepted" and int(said or b"-1") != last + 2:
                self._wrong(f"{name}: journal-offset is {said!r}, the last event is at {last}")
        before = listed[0][0] - 1 if listed else version
        expected = content.get("expected_version", "any")
        is_met = expected == "any" or (before >= 1 if expected == "exists" else before == expected)
        code = (outcome["error"] or {}).get("code")
        if status != "duplicate" and is_met != (code != "version_conflict"):
            self._wrong(f"{name}: expected {expected} at version {before}, and it is {code or status}")

    def _snapshots(self) -> None:
        """There is a snapshot wherever a command passed a multiple."""
        found: set[tuple[str, str, int, str]] = set()
        for kind in KINDS:
            for partition in range(PARTITIONS):
                for _, record in self._records(f"snapshots.{kind}", partition):
                    snapshot = decode_dag_cbor(record.value or b"")
                    head = encode_multibase("b", snapshot["head"])
                    found.add((kind, snapshot["aggregate_id"], snapshot["version"], head))
        for (kind, aggregate), chain in self._chains.items():
            ends = [
                event
                for event, following in zip_longest(chain, chain[1:])
                if following is None or following.block["command_id"] != event.block["command_id"]
            ]
            before = 0
            for event in ends:
                version = event.block["version"]
                is_passed = before // self._every != version // self._every
                is_ours = event.block["command_id"] not in self._strangers
                if is_passed and is_ours and (kind, aggregate, version, event.cid) not in found:
                    self._wrong(f"no snapshot of {kind} {aggregate} at version {version}")
                before = version


def journal_of(logs: Logs, kind: str, partition: int) -> tuple[dict[str, list[Event]], set[str]]:
    """Return the chain of each aggregate in a journal, and the CIDs of the void events."""
    checker = _Checker({(f"events.{kind}", partition): logs[f"events.{kind}", partition]}, 0, NONE)
    return checker.journal(kind, partition)


def heads_of(logs: Logs, kind: str, partition: int) -> dict[str, tuple[int, str]]:
    """Return version and head of each aggregate in a journal."""
    return {key: (len(chain), chain[-1].cid) for key, chain in journal_of(logs, kind, partition)[0].items()}
