"""A subscriber that proves what it got: each event continues the chain of its aggregate, by `ce_previous`.

Copy this one file; it needs nothing of this project but what its topic has:

    pip install confluent-kafka
    python subscriber.py subscribers.billing --servers 127.0.0.1:9092

It reads the topic from its first record to its present end, and prints an event in one line. An event that
is there a second time is passed over: its `ce_id` was seen. One whose `ce_previous` is not the `ce_id` of the event
before it says that events are missing; of a subscription with `types` or `filters` they are missing on purpose. Exit
status 1 if there is any. A consumer that goes on where it stopped keeps `heads` beside its offsets.
"""

from __future__ import annotations

import argparse
import sys

from confluent_kafka import Consumer, TopicPartition

WITHIN_S = 60.0


class Chains:
    """The last event of each aggregate. breaks: how many events did not continue it; again: how many were known."""

    def __init__(self) -> None:
        self.heads: dict[tuple[str, str], tuple[int, str]] = {}
        self.events = self.again = self.breaks = 0

    def take(self, headers: dict[str, str]) -> str | None:
        """Return the event in one line; None for one that was taken before."""
        aggregate = headers["ce_source"], headers["ce_subject"]
        version, cid = int(headers["ce_sequence"]), headers["ce_id"]
        last, head = self.heads.get(aggregate, (0, None))
        if version <= last:
            self.again += 1
            return None
        self.events += 1
        line = f"{aggregate[1]} version {version}: {headers['ce_type']} {cid}"
        # Of an aggregate that is met for the first time, what came before may be older than the topic.
        previous = headers.get("ce_previous")
        if previous != head if last else (previous is None) != (version == 1):
            self.breaks += 1
            line += f": continues {previous}, and the event before it is {head}"
        self.heads[aggregate] = version, cid
        return line


def read(consumer: Consumer, topic: str, chains: Chains) -> None:
    """Read a topic from its first record to its present end."""
    numbers = consumer.list_topics(topic, WITHIN_S).topics[topic].partitions
    if not numbers:
        sys.exit(f"there is no topic {topic}")
    consumer.assign([TopicPartition(topic, number) for number in numbers])
    is_open = set(numbers)
    while is_open:
        record = consumer.poll(WITHIN_S)
        if record is None:
            sys.exit("the brokers do not answer")
        if record.error():
            if record.error().name() != "_PARTITION_EOF":
                sys.exit(record.error().str())
            is_open.discard(record.partition())
            continue
        headers = {name: (value or b"").decode() for name, value in record.headers() or ()}
        line = chains.take(headers)
        if line is not None:
            print(line)


def main() -> None:
    """Read one subscriber's topic."""
    parser = argparse.ArgumentParser(description="Prove what a subscriber got.")
    parser.add_argument("topic", help="subscribers.<name>, with its prefix")
    parser.add_argument("--servers", default="127.0.0.1:9092", help="host:port, several with commas between them")
    given = parser.parse_args()
    consumer = Consumer(
        {
            "bootstrap.servers": given.servers,
            "group.id": "subscriber",  # never joined: partitions are assigned, and no offset is committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # or you see what was aborted: events twice
            "auto.offset.reset": "earliest",  # the topic keeps 7 days
            "enable.partition.eof": True,
        }
    )
    chains = Chains()
    try:
        read(consumer, given.topic, chains)
    finally:
        consumer.close()
    print(f"{chains.events} events, {chains.again} seen before; {chains.breaks} do not continue their chain")
    sys.exit(1 if chains.breaks else 0)


if __name__ == "__main__":
    main()
