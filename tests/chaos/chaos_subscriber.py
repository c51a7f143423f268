"""What subscribers have, beside what the journal has: nothing lost, doubled, out of order or made up.

Independent of the project: read by librdkafka, judged by the contract written a second time (`chaos_chain`).
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from aiokafka.structs import TopicPartition
from chaos_chain import Event, in_text, judged
from chaos_records import Record, Records, home_of

EXAMPLES = 3


@dataclass
class SubscriberReport:
    """What is wrong with one subscriber's topic; each entry says where."""

    events: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    CATEGORIES = ("lost", "doubled", "disordered", "invented", "wrong")

    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in self.CATEGORIES}

    def __str__(self) -> str:
        lines = [f"{self.events} events in the journal"]
        for name in self.CATEGORIES:
            entries = getattr(self, name)
            lines += [f"{name}: {len(entries)}", *(f"    {entry}" for entry in entries[:EXAMPLES])]
        return "\n".join(lines)


class Subscribers(Records):
    """The topics of some subscribers."""

    def subscribe(self, *names: str) -> Self:
        """Take all partitions of their topics; they must exist."""
        return self.attach_to(f"subscribers.{name}" for name in names)

    def has(self, name: str) -> int:
        """How many records one has."""
        return sum(len(self.by_place[place]) for place in list(self.by_place) if place[0] == f"subscribers.{name}")

    def places(self, name: str) -> dict[int, list[Record]]:
        """The records of one by partition."""
        topic = f"subscribers.{name}"
        return {
            partition: self.by_place[TopicPartition(topic, partition)] for partition in range(self.partitions[topic])
        }


def counted(journal: Records, kind: str) -> dict[str, list[Event]]:
    """The chains of a kind: what counts, and so what its subscribers are to have."""
    chains: dict[str, list[Event]] = {}
    for partition, records in journal.of("events", kind):
        chains |= judged(kind, partition, journal.partitions[f"commands.{kind}"], records).chains
    return chains


def check_subscriber(chains: Mapping[str, list[Event]], places: Mapping[int, list[Record]]) -> SubscriberReport:
    """Compare a topic, by partition, with chains of events by aggregate, from whose beginning all were wanted."""
    report = SubscriberReport(events=sum(map(len, chains.values())))
    wanted = {event.cid: event for chain in chains.values() for event in chain}
    met: Counter[str] = Counter()
    last: dict[str, int] = {}
    for partition, records in places.items():
        for record in records:
            where = f"partition {partition} offset {record.offset}"
            cid = record.headers.get("ce_id", b"").decode()
            event = wanted.get(cid)
            if event is None:
                report.invented.append(f"{where}: {cid}")
                continue
            met[cid] += 1
            if met[cid] > 1:
                report.doubled.append(f"{where}: {cid}")
                continue
            _check_form(event, record, partition, len(places), report)
            aggregate_id, version = event.block["aggregate_id"], event.block["version"]
            if version <= last.get(aggregate_id, 0):
                report.disordered.append(f"{where}: {aggregate_id} version {version}")
            last[aggregate_id] = version
    missing = [event.block for cid, event in wanted.items() if not met[cid]]
    report.lost += [f"{block['aggregate_id']} version {block['version']}" for block in missing]
    return report


def _check_form(event: Event, record: Record, partition: int, partitions: int, report: SubscriberReport) -> None:
    block = event.block
    previous = None if block["previous"] is None else in_text(bytes(block["previous"])).encode()
    is_right = (
        record.key == block["aggregate_id"].encode()
        and home_of(record.key, partitions) == partition
        and json.loads(record.value or b"") == block["data"]
        and record.headers.get("ce_previous") == previous
        and record.headers.get("ce_sequence") == b"%020d" % block["version"]
    )
    if not is_right:
        report.wrong.append(f"partition {partition} offset {record.offset}: {record}")
