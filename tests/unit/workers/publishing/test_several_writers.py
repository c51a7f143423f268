"""What a partition's writers know together of how far the topics reached that all of them write to."""

import pytest
from aiokafka.structs import TopicPartition

from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.publishing.log import KafkaPublishLogs
from annals.workers.publishing.reached import PartitionLostEndError
from publishing import NAMES

WHERE = TopicPartition("progress", 0)


@pytest.fixture
def writers():
    logs = KafkaPublishLogs({}, NAMES, "annals", "person", 0, 1, "none")
    return logs.live(), logs.catching_up("all")


def check_of(writer, records=1):
    batch = RecordBatch()
    batch.fill([(b"k", b"v", NO_TIMESTAMP, encode_headers([]))] * records, 0, 1 << 20)
    return writer._checked({WHERE: [batch]})


def test_the_answer_to_who_was_first_may_come_last(writers):
    """Goes red when that is taken for a lost end, which stops the publisher, or pauses a subscription, for nothing."""
    first, second = writers
    check_of(first)({WHERE: [9]})
    sent_first, sent_second = check_of(first), check_of(second)
    sent_second({WHERE: [14]})
    sent_first({WHERE: [12]})
    with pytest.raises(PartitionLostEndError, match="progress-0 ends at offset 13, and it reached 15 before"):
        check_of(first)({WHERE: [13]})


@pytest.mark.parametrize("at", [0, 1])
def test_what_was_acknowledged_to_any_of_them_is_known_to_all(writers, at):
    check_of(writers[at], records=3)({WHERE: [5]})
    with pytest.raises(PartitionLostEndError, match="ends at offset 7, and it reached 8 before") as raised:
        check_of(writers[1 - at])({WHERE: [7]})
    assert (raised.value.end, raised.value.where) == (7, WHERE)
