"""A compacted topic that lacks what was read of it is named, and what was known of it holds yet."""

import pytest

from annals.workers.kafka.write.compacted_topic import CompactedTopic, LostRecordsError


class Texts:
    what = "texts"
    most_bytes = 100

    def encode(self, record):
        return record.encode()

    def decode(self, key, value):
        return value.decode()


@pytest.fixture
def known():
    topic = CompactedTopic({}, "texts", Texts())
    topic.records, topic._offsets = {"a": "1", "b": "2"}, {"a": 3, "b": 7, "gone": 9}
    return topic


@pytest.mark.parametrize("there", [{"a": 3, "b": 7}, {"a": 3, "b": 8}, {"a": 4, "b": 7, "c": 20}])
def test_what_is_there_yet_or_newer_is_whole(known, there):
    known._require_known(there, 30)


@pytest.mark.parametrize("there", [{}, {"a": 3}, {"a": 3, "b": 5}])
def test_what_is_older_or_gone_is_lost(known, there):
    with pytest.raises(LostRecordsError, match="texts-0 ends at offset 6, and lacks what it had at offset"):
        known._require_known(there, 6)
