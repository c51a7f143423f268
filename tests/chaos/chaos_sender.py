"""Sends commands and records what became of each: sent, acknowledged or unknown."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from chaos_commands import Ask
from confluent_kafka import KafkaError, Message, Producer

from processes import WITHIN_S


@dataclass
class Sent:
    """A record that was handed to the producer, and where it is when the broker acknowledged it."""

    ask: Ask
    state: str = "sent"
    partition: int = -1
    offset: int = -1


class Sender:
    """A producer of somebody else's: librdkafka, told to partition as Java does."""

    def __init__(self, bootstrap: str, prefix: str, timeout_ms: int = 120_000) -> None:
        self.sent: list[Sent] = []
        self._prefix = prefix
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": timeout_ms,
                "log_level": 0,
            }
        )
        self._lock = threading.Lock()
        self._looked_at = 0
        self._again: set[int] = set()

    def send(self, asks: Iterable[Ask]) -> list[Sent]:
        """Hand records to the producer; `flush` waits for what becomes of them."""
        return [self._one(ask) for ask in asks]

    def send_unknown_again(self) -> None:
        """Send once more what may or may not have arrived, as a producer does that wants an answer."""
        lost = [each for each in self.sent[self._looked_at :] if each.state == "unknown"]
        while self._looked_at < len(self.sent) and self.sent[self._looked_at].state != "sent":
            self._looked_at += 1
        for each in lost:
            if id(each) not in self._again:
                self._again.add(id(each))
                self._one(each.ask)

    def flush(self) -> None:
        """Wait until each record that was sent is acknowledged or unknown."""
        self._producer.flush(WITHIN_S)
        for each in self.sent:
            if each.state == "sent":
                each.state = "unknown"

    def sent_and_known(self, asks: Iterable[Ask]) -> list[Sent]:
        """Send, and wait until all are acknowledged."""
        sent = self.send(asks)
        self.flush()
        assert {each.state for each in sent} <= {"acknowledged"}, self.states()
        return sent

    def states(self) -> Counter[str]:
        """How many records are in which state."""
        return Counter(each.state for each in self.sent)

    def _one(self, ask: Ask) -> Sent:
        sent = Sent(ask)

        def told(error: KafkaError | None, message: Message) -> None:
            if error is None:
                sent.state, sent.partition, sent.offset = "acknowledged", message.partition(), message.offset()
            else:
                sent.state = "unknown"

        with self._lock:
            self.sent.append(sent)
            placed = {} if ask.partition is None else {"partition": ask.partition}
            while True:
                try:
                    self._producer.produce(
                        f"{self._prefix}commands.{ask.kind}",
                        key=ask.key,
                        value=ask.value,
                        headers=list(ask.headers),
                        on_delivery=told,
                        **placed,
                    )
                    break
                except BufferError:  # its queue is full: the broker is away
                    self._producer.poll(0.1)
            self._producer.poll(0)
        return sent
