"""A subscriber that answers, in a history: it takes deliveries in the order of its topic, and answers by chance.

It looks only at what is committed. It acknowledges, at once or late, once or twice; asks for more time; refuses;
forgets; and sends some answers to the wrong partition. Once the faults are over it acknowledges all that it gets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from annals.workers.tools.simulation.plan import PARTITIONS, home_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.workers.memory.partition import Record
    from annals.workers.tools.simulation.world import World

LOOK_S: Final = 0.2
LATE_S: Final = 4.0  # longer than the subscription waits for an answer
MOST_RECORDS: Final = 50  # of one look at a partition
MISPLACED: Final = 0.05
ANSWERS: Final = ("ack", "ack twice", "ack late", "nack", "extend", "none")
WEIGHTS: Final = (6, 1, 1, 2, 1, 1)
PARKING: Final = (*ANSWERS, "park")
PARKING_WEIGHTS: Final = (4, 1, 1, 3, 1, 1, 4)


class Delivery(NamedTuple):
    """What a record for a subscriber says: which event of which aggregate, and which attempt this is."""

    kind: str
    aggregate: str
    cid: str
    attempt: int


class Subscriber:
    """The subscriber of one subscription, outside of all workers. acknowledged: the CIDs of events, as they were."""

    def __init__(self, world: World, name: str) -> None:
        """Take the world and whose deliveries it takes; nothing is read yet."""
        self._world = world
        self._name = name
        self._chance = world.chance(f"subscriber {name}")
        self._read = [0] * PARTITIONS
        self._last: dict[tuple[str, str], str] = {}
        self._came: set[str] = set()
        self.acknowledged: set[str] = set()
        self._overtaken: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Take what is delivered until the task is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for partition in range(PARTITIONS):
                for record in self._new(partition):
                    self._take(delivery_of(record))

    def overtaken(self, there: set[str]) -> Iterator[str]:
        """Yield what came before the event before it was acknowledged. there: what is waited for, by CID.

        What the journal lost, and what was discarded, is left out: nobody waits any more for an answer to it.
        """
        for cid, before in self._overtaken:
            if {cid, before} <= there:
                yield f"overtaken: {cid} came before {before} was acknowledged"

    def _new(self, partition: int) -> list[Record]:
        log = self._world.model.logs[self._world.names.subscribers(self._name), partition]
        begin = min(self._read[partition], log.end)  # it may have lost its end
        records, self._read[partition] = log.committed(begin, MOST_RECORDS)
        return records

    def _take(self, delivery: Delivery) -> None:
        aggregate = delivery.kind, delivery.aggregate
        before = self._last.get(aggregate)
        if delivery.cid not in self._came:
            if before is not None and before not in self.acknowledged:
                self._overtaken.append((delivery.cid, before))
            self._came.add(delivery.cid)
            self._last[aggregate] = delivery.cid
        if self._world.is_healed:
            how = "ack"
        elif self._world.plan.has_parking:
            (how,) = self._chance.choices(PARKING, PARKING_WEIGHTS)
        else:
            (how,) = self._chance.choices(ANSWERS, WEIGHTS)
        self._world.counts[f"answer: {how}"] += 1
        if how == "ack late":
            self._world.loop.call_later(LATE_S, self._answer, delivery, "ack")
        elif how == "ack twice":
            self._answer(delivery, "ack")
            self._answer(delivery, "ack")
        elif how != "none":
            self._answer(delivery, how)

    def _answer(self, delivery: Delivery, verdict: str) -> None:
        if verdict == "ack":
            self.acknowledged.add(delivery.cid)
        key = delivery.aggregate.encode()
        where = home_of(key)
        if not self._world.is_healed and self._chance.random() < MISPLACED:
            where = (where + 1) % PARTITIONS
        body = {"cid": delivery.cid, "attempt": delivery.attempt, "verdict": verdict, "kind": delivery.kind}
        self._world.append(self._world.names.acks(self._name), where, key, orjson.dumps(body))


def delivery_of(record: Record) -> Delivery:
    """Return what a record for a subscriber says."""
    headers = {name: (value or b"").decode() for name, value in record.headers}
    kind = headers["ce_source"].removeprefix("/annals/")
    return Delivery(kind, (record.key or b"").decode(), headers["ce_id"], int(headers.get("ce_redelivery", "1")))
