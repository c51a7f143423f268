"""Recomputes from the commands in the log what journal, outcomes and dead letters must hold, and says what differs.

Independent of the project: its own partitioner, its own rule of what counts, its own aggregates, others' libraries.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.structs import TopicPartition
from chaos_chain import Journal, judged
from chaos_model import Answer, Standing, answer, parsed, unreadable
from chaos_records import Record, Records, home_of
from chaos_sender import Sent

EXAMPLES = 3


@dataclass
class Report:
    """What was checked, and what is wrong, by category; each entry says where."""

    commands: int = 0
    events: int = 0
    aggregates: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    forked: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    CATEGORIES = (
        "lost",
        "duplicated",
        "forked",
        "void",
        "torn",
        "unanswered",
        "gaps",
        "foreign",
        "invented",
        "wrong",
    )

    def found(self) -> set[str]:
        """The categories in which something is wrong."""
        return {name for name in self.CATEGORIES if getattr(self, name)}

    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in self.CATEGORIES}

    def __str__(self) -> str:
        lines = [
            f"{self.commands} commands, {self.events} events of {self.aggregates} aggregates, {dict(self.statuses)}"
        ]
        for name in self.CATEGORIES:
            entries = getattr(self, name)
            lines += [f"{name}: {len(entries)}", *(f"    {entry}" for entry in entries[:EXAMPLES])]
        return "\n".join(lines)


def unaccounted(records: Records) -> list[str]:
    """Commands in the log that have no outcome, no dead letter and no copy in their own partition yet."""
    dead = _dead_letters(records)
    waiting = []
    for kind in records.kinds:
        copies = _copies(records, kind)
        for partition, commands in records.of("commands", kind):
            answered = {
                int(each.headers["command-offset"])
                for each in records.by_place[TopicPartition(f"outcomes.{kind}", partition)]
            }
            waiting += [
                f"commands.{kind}-{partition} offset {each.offset}"
                for each in commands
                if each.offset not in answered
                and (kind, partition, each.offset) not in dead
                and (partition, each.offset) not in copies
            ]
    return waiting


def check(records: Records, sent: Iterable[Sent] = ()) -> Report:
    """Check everything that has been read, and that what was acknowledged is in the log."""
    report = Report()
    for each in sent:
        if each.state == "acknowledged":
            topic = f"commands.{each.ask.kind}"
            if not any(
                record.offset == each.offset
                for record in _near(records.by_place[TopicPartition(topic, each.partition)], each)
            ):
                report.lost.append(f"{topic}-{each.partition} offset {each.offset}: acknowledged, and not in the log")
    for entry in unaccounted(records):
        report.unanswered.append(entry)
    _check_dead_letters(records, report)
    for kind in records.kinds:
        partitions = records.partitions[f"commands.{kind}"]
        copies = _copies(records, kind)
        report.duplicated += [
            f"commands.{kind}-{place[0]} offset {place[1]}: forwarded {len(of)} times"
            for place, of in copies.items()
            if len(of) > 1
        ]
        for partition, events in records.of("events", kind):
            journal = judged(kind, partition, partitions, events)
            _check_partition(_Shard(records, kind, partition, partitions, journal), report)
    return report


@dataclass
class _Shard:
    records: Records
    kind: str
    partition: int
    partitions: int
    journal: Journal

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.partition}"


def _check_partition(shard: _Shard, report: Report) -> None:
    journal = shard.journal
    name = f"events.{shard.name}"
    report.void += [f"{name} offset {event.record.offset}: {event.cid}" for event in journal.void]
    report.forked += [f"{name} offset {event.record.offset}: {event.cid}" for event in journal.forked]
    report.gaps += [f"{name} offset {event.record.offset}: {event.cid}" for event in journal.gaps]
    report.foreign += [f"{name} offset {record.offset}" for record in journal.foreign]
    report.aggregates += len(journal.chains)
    by_command: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for aggregate_id, chain in journal.chains.items():
        report.events += len(chain)
        times = [event.block["recorded_at"] for event in chain]
        if times != sorted(times):
            report.wrong.append(f"{name} {aggregate_id}: recorded_at runs backwards")
        for event in chain:
            by_command[aggregate_id, event.block["command_id"]].append(event)
            if event.record.headers.get("ce_id") != event.cid.encode():
                report.wrong.append(f"{name} offset {event.record.offset}: the header says {event.record.headers}")
    outcomes: dict[int, list[Record]] = defaultdict(list)
    for record in shard.records.by_place[TopicPartition(f"outcomes.{shard.kind}", shard.partition)]:
        outcomes[int(record.headers["command-offset"])].append(record)
    commands = shard.records.by_place[TopicPartition(f"commands.{shard.kind}", shard.partition)]
    _check_commands(shard, commands, by_command, outcomes, report)


def _check_commands(
    shard: _Shard,
    commands: list[Record],
    by_command: dict[tuple[str, str], list[Any]],
    outcomes: dict[int, list[Record]],
    report: Report,
) -> None:
    standings: dict[str, Standing] = defaultdict(Standing)
    dead = _dead_letters(shard.records)
    expected: dict[tuple[str, str], Answer] = {}
    for record in commands:
        report.commands += 1
        where = f"commands.{shard.name} offset {record.offset}"
        if unreadable(record.key, record.value, record.headers) is not None:
            continue
        body = parsed(record.value)
        if home_of((record.key or body["aggregate_id"].encode()), shard.partitions) != shard.partition:
            if outcomes.get(record.offset):
                report.wrong.append(f"{where}: misplaced, and answered here")
            continue
        if (shard.kind, shard.partition, record.offset) in dead:
            report.wrong.append(f"{where}: a readable command is a dead letter")
        wanted = answer(shard.kind, body, standings[body["aggregate_id"]])
        if wanted.events and wanted.status == "accepted":
            expected[body["aggregate_id"], body["id"]] = wanted
        _check_answer(shard, where, body, wanted, outcomes.pop(record.offset, []), report)
    for offset, records in outcomes.items():
        report.invented.append(f"outcomes.{shard.name}: {len(records)} for offset {offset}, where no command is")
    for (aggregate_id, command_id), wanted in expected.items():
        _check_events(shard, aggregate_id, command_id, wanted, by_command.pop((aggregate_id, command_id), []), report)
    for (aggregate_id, command_id), events in by_command.items():
        report.invented.append(f"events.{shard.name} {aggregate_id}: {len(events)} events of command {command_id}")


def _check_answer(
    shard: _Shard, where: str, body: dict[str, Any], wanted: Answer, records: list[Record], report: Report
) -> None:
    if not records:
        return  # unanswered: reported already
    chain = shard.journal.chains.get(body["aggregate_id"], [])
    answers = [json.loads(record.value or b"") for record in records]
    # the contract: the first that is not lost
    kept = [said for said in answers if all(_is_on(chain, event["version"], event["cid"]) for event in said["events"])]
    if len(kept) > 1:
        report.duplicated.append(f"{where}: answered {len(kept)} times")
    said = (kept or answers)[0]
    report.statuses[said["status"]] += 1
    code = said["error"]["code"] if said["error"] else None
    if (said["command_id"], said["status"], code) != (body["id"], wanted.status, wanted.code):
        report.wrong.append(f"{where}: {body} was answered {said}, not {wanted.status} {wanted.code}")
    missing = [event for event in said["events"] if not _is_on(chain, event["version"], event["cid"])]
    if missing:
        report.lost.append(f"{where}: answered {said['status']} with events that do not count: {missing}")
    if len(said["events"]) != len(wanted.events):
        report.wrong.append(f"{where}: answered with {len(said['events'])} events, not {len(wanted.events)}")
    if said["head"] is not None and not _is_on(chain, said["version"], said["head"]):
        report.lost.append(f"{where}: answered with a head that does not count: {said}")


def _check_events(
    shard: _Shard, aggregate_id: str, command_id: str, wanted: Answer, events: list[Any], report: Report
) -> None:
    where = f"events.{shard.name} {aggregate_id}: command {command_id}"
    if not events:
        report.lost.append(f"{where}: none of {len(wanted.events)} events")
        return
    if len(events) < len(wanted.events):
        report.torn.append(f"{where}: {len(events)} of {len(wanted.events)} events")
        return
    if len(events) > len(wanted.events):
        report.duplicated.append(f"{where}: {len(events)} events instead of {len(wanted.events)}")
        return
    offsets = [event.record.offset for event in events]
    if offsets != list(range(offsets[0], offsets[0] + len(offsets))):
        report.torn.append(f"{where}: its events are apart, at {offsets}")
    found = [(event.block["type"], event.block["data"]) for event in events]
    if found != wanted.events or events[0].block["version"] != wanted.first:
        report.wrong.append(f"{where}: {found} at {events[0].block['version']}, not {wanted.events} at {wanted.first}")


def _check_dead_letters(records: Records, report: Report) -> None:
    reasons = _dead_letters(records)
    for (kind, partition, offset), said in reasons.items():
        if len(said) > 1:
            report.duplicated.append(f"commands.{kind}-{partition} offset {offset}: {len(said)} dead letters")
    for kind in records.kinds:
        for partition, commands in records.of("commands", kind):
            for record in commands:
                wanted = unreadable(record.key, record.value, record.headers)
                said = reasons.get((kind, partition, record.offset))
                if wanted is not None and said is not None and said[0] != wanted:
                    report.wrong.append(f"commands.{kind}-{partition} offset {record.offset}: {said}, not {wanted}")


def _dead_letters(records: Records) -> dict[tuple[str, int, int], list[str]]:
    """The reasons by the kind, partition and offset of what could not be read."""
    found: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for partition in range(records.partitions["dead-letters"]):
        for record in records.by_place[TopicPartition("dead-letters", partition)]:
            kind = record.headers["source-topic"].decode().rpartition(".")[2]
            place = kind, int(record.headers["source-partition"]), int(record.headers["source-offset"])
            found[place].append(record.headers["reason"].decode())
    return found


def _copies(records: Records, kind: str) -> dict[tuple[int, int], list[int]]:
    """The copies of misplaced commands, by the partition and offset of the original."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for _, commands in records.of("commands", kind):
        for record in commands:
            if "origin-partition" in record.headers:
                place = int(record.headers["origin-partition"]), int(record.headers["origin-offset"])
                found[place].append(record.offset)
    return found


def _is_on(chain: list[Any], version: int, cid: str) -> bool:
    return 1 <= version <= len(chain) and chain[version - 1].cid == cid


def _near(records: list[Record], sent: Sent) -> list[Record]:
    """The record at the offset of what was sent, found by bisection."""
    low, high = 0, len(records)
    while low < high:
        middle = (low + high) // 2
        if records[middle].offset < sent.offset:
            low = middle + 1
        else:
            high = middle
    return records[low : low + 1]
