"""A subscriber that answers: an event is acknowledged once what was made of it is on disk, and else refused or parked.

Copy this one file; it needs nothing of this project but a subscription with the delivery `acknowledged`:

    pip install confluent-kafka
    annals subscriptions put billing - <<< '{"delivery": "acknowledged"}'
    python answering_subscriber.py billing ledger.jsonl --servers 127.0.0.1:9092

`enter` is where your work goes. What it makes of an event is kept in a ledger with the event's CID: killed between that
and the answer, the program is given the event again and finds it there. In a database both are one transaction. SIGTERM
ends it behind the event in hand; what was not answered comes again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

if TYPE_CHECKING:
    from io import BufferedRandom

WITHIN_S = 60.0
DONE, DONE_BEFORE, REFUSED, PARKED = "done", "done before", "refused", "parked"
LONGEST = 120
LONGEST_REASON = 1_000


class NeverError(Exception):
    """It is of no use to try again: the event is parked, and later ones of its aggregate wait for an administrator."""


def enter(value: bytes, closed: Path) -> str:
    """Return what is kept of an event.

    Raises:
        NeverError: the event is no text, or longer than the ledger has room for.
        Exception: any other one: not now. Here: the ledger is closed, the file `closed` is there.
    """
    if closed.exists():
        raise BlockingIOError("the ledger is closed")
    if len(value) > LONGEST:
        raise NeverError(f"{len(value)} bytes, and the ledger has room for {LONGEST}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise NeverError("no text: the subscription's payload is to be data") from None


class Ledger:
    """A line for each delivery. done: the CIDs of the events whose work is done; positions: where partitions go on."""

    def __init__(self, file: BufferedRandom) -> None:
        """Read the file; what a kill left of a line at its end was never answered, and is cut off."""
        self.done: set[str] = set()
        self.positions: dict[int, int] = {}
        self._file = file
        self._file.seek(0)
        lines, newline, _ = self._file.read().rpartition(b"\n")
        self._file.truncate(len(lines + newline))
        for line in lines.splitlines():
            self._know(json.loads(line))

    def keep(self, entry: dict[str, Any]) -> None:
        """Write a line; it is on disk when this returns. Where that fails the program ends, and answers nothing."""
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._know(entry)

    def _know(self, entry: dict[str, Any]) -> None:
        self.positions[entry["partition"]] = entry["offset"] + 1
        if entry["became"] == DONE:
            self.done.add(entry["cid"])


class Subscriber:
    """Takes deliveries, and answers each. met: how many there were of each kind."""

    def __init__(self, ledger: Ledger, closed: Path, producer: Producer, acks: str) -> None:
        """Take where the work is kept, and where answers go."""
        self.ledger, self.closed, self.producer, self.acks = ledger, closed, producer, acks
        self.met: Counter[str] = Counter()

    def take(self, record: Any) -> None:
        """Do the work for an event unless it is done, keep what became of it, and then answer."""
        headers = {name: (value or b"").decode() for name, value in record.headers() or ()}
        cid, subject = headers["ce_id"], headers["ce_subject"]
        attempt = int(headers.get("ce_redelivery", "1"))  # the first delivery has no such header
        data = reason = None
        if cid in self.ledger.done:
            became, verdict = DONE_BEFORE, "ack"
        else:
            try:
                data = enter(record.value() or b"", self.closed)
                became, verdict = DONE, "ack"
            except NeverError as error:
                became, verdict, reason = PARKED, "park", str(error)
            except Exception as error:  # noqa: BLE001 - also of a fault in the work: it comes again, and others go on
                became, verdict, reason = REFUSED, "nack", str(error)
        about = {"cid": cid, "subject": subject, "version": int(headers["ce_sequence"]), "attempt": attempt}
        place = {"partition": record.partition(), "offset": record.offset()}
        # Before the answer: the other way round, a kill between the two would lose the event.
        self.ledger.keep({**about, "became": became, "data": data, **place})
        self.met[became] += 1
        delivery = "first delivery" if attempt == 1 else f"delivery {attempt}"
        print(f"{subject} version {about['version']}, {delivery}: {became}", flush=True)
        answer = {"cid": cid, "kind": headers["ce_source"].rpartition("/")[2], "attempt": attempt, "verdict": verdict}
        if reason is not None:
            answer["reason"] = reason[:LONGEST_REASON]
        # The key is the aggregate's id, whatever the event's own is. An answer that is lost costs one more delivery.
        self.producer.produce(self.acks, json.dumps(answer), subject, on_delivery=_told)
        self.producer.poll(0)


def _told(error: Any, _: Any) -> None:
    if error is not None:
        print(f"an answer was lost: {error}", file=sys.stderr)


def assign(consumer: Consumer, topic: str, positions: dict[int, int]) -> None:
    """Go on behind the last line of each partition, or at the partition's beginning."""
    numbers = consumer.list_topics(topic, WITHIN_S).topics[topic].partitions
    if not numbers:
        sys.exit(f"there is no topic {topic}")
    partitions = [TopicPartition(topic, number) for number in numbers]
    for each in partitions:
        first, end = consumer.get_watermark_offsets(each, WITHIN_S)
        known = positions.get(each.partition, first)
        each.offset = known if first <= known <= end else first
    consumer.assign(partitions)


def run(given: argparse.Namespace, ledger: Ledger) -> int:
    """Answer until SIGTERM; return how many answers could not be sent: their events come again."""
    told_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_end.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": given.servers,
            "group.id": "subscriber",  # never joined: partitions are assigned, and positions are the ledger's
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # or you see deliveries that were aborted
            "auto.offset.reset": "earliest",  # the topic keeps 7 days
        }
    )
    # murmur2 is Kafka's own partitioner: an answer in another partition than its key's is moved, which costs a round.
    producer = Producer({"bootstrap.servers": given.servers, "acks": "all", "partitioner": "murmur2_random"})
    subscriber = Subscriber(ledger, Path(f"{given.ledger}.closed"), producer, f"{given.prefix}acks.{given.name}")
    try:
        assign(consumer, f"{given.prefix}subscribers.{given.name}", ledger.positions)
        while not told_to_end:
            record = consumer.poll(0.5)
            if record is not None:
                if record.error():
                    raise KafkaException(record.error())
                subscriber.take(record)
    finally:
        lost = producer.flush(WITHIN_S)
        consumer.close()
    print(", ".join(f"{subscriber.met[each]} {each}" for each in (DONE, DONE_BEFORE, REFUSED, PARKED)))
    return lost


def main() -> None:
    """Answer one subscription until SIGTERM."""
    parser = argparse.ArgumentParser(description="Acknowledge a subscriber's events.")
    parser.add_argument("name", help="of the subscription")
    parser.add_argument("ledger", type=Path, help="the file that the work is kept in")
    parser.add_argument("--servers", default="127.0.0.1:9092", help="host:port, several with commas between them")
    parser.add_argument("--prefix", default="", help="of the topics")
    given = parser.parse_args()
    with given.ledger.open("a+b") as file:
        lost = run(given, Ledger(file))
    sys.exit(f"{lost} answers were not sent" if lost else 0)


if __name__ == "__main__":
    main()
