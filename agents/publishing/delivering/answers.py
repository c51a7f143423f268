"""What becomes of the records of `acks.<name>`: taken, passed over, moved to their partition, or a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.publishing.delivering.machine import Answer
from annals.agents.publishing.delivering.ports import DeadAck
from annals.schemas.ack import Ack, read_ack
from annals.topics.headers import origin_of
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from annals.agents.publishing.delivering.ports import AckRecord

BAD: Final = "bad"


class Answered(NamedTuple):
    """An answer that may be to a delivery of this kind and partition."""

    aggregate_id: str
    answer: Answer


class Reader:
    """Reads the answers in one partition of `acks.<name>` for one kind.

    Several kinds read the same partition. tidies: whether this one moves what is misplaced, and tells of what cannot be
    read.
    """

    def __init__(self, kind: str, partition: int, partitions: int, *, is_first_kind: bool) -> None:
        """Take which partition of how many it is, and whether this kind tidies up."""
        self._kind = kind
        self._partition = partition
        self._partitions = partitions
        self.tidies = is_first_kind

    def read(self, record: AckRecord) -> Answered | AckRecord | DeadAck | None:
        """Return an answer, a record to be moved, a dead letter, or None: it is for others."""
        if record.key is None:
            return self._dead(record, "it has no key: that is the aggregate's id")
        if partition_of(record.key, self._partitions) != self._partition:
            if origin_of(record.headers) is not None:
                return self._dead(record, "it is a copy, and its key does not belong to this partition either")
            return record if self.tidies else None
        try:
            aggregate_id = record.key.decode()
        except UnicodeDecodeError:
            return self._dead(record, "its key is not UTF-8")
        ack = read_ack(record.value or b"")
        if not isinstance(ack, Ack):
            path, message = ack[0]
            return self._dead(record, f"{path}: {message}" if path else message)
        if ack.kind not in (None, self._kind):
            return None
        return Answered(aggregate_id, answer_of(ack))

    def _dead(self, record: AckRecord, message: str) -> DeadAck | None:
        return DeadAck(record, message) if self.tidies else None


def answer_of(ack: Ack) -> Answer:
    """Return what the machine takes."""
    return Answer(ack.cid, ack.attempt, ack.verdict, ack.reason, ack.delay_ms, ack.up_to)
