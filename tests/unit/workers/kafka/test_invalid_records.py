"""Records that are passed over: counted and logged once each, however often they are read."""

from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from annals.workers.kafka.read import invalid_records
from annals.workers.kafka.read.invalid_records import PASSED_OVER, InvalidRecords

WHERE = TopicPartition("subscriptions", 0)


def count_of(registry, topic):
    return registry.get_sample_value("annals_records_invalid_total", {"topic": topic})


def test_each_record_is_counted_and_logged_once():
    registry = CollectorRegistry()
    invalid = InvalidRecords(registry)
    invalid.expect("subscriptions")
    assert count_of(registry, "subscriptions") == 0
    with capture_logs() as logs:
        for _ in range(3):
            invalid.note(WHERE, 5, "it is none")
        invalid.note(WHERE, 4, "it is none")
        invalid.note(TopicPartition("progress", 0), 5, "it is none")
    assert (count_of(registry, "subscriptions"), count_of(registry, "progress")) == (2, 1)
    assert [(each["topic"], each["offset"], each["reason"]) for each in logs] == [
        ("subscriptions", 5, "it is none"),
        ("subscriptions", 4, "it is none"),
        ("progress", 5, "it is none"),
    ]


def test_so_many_are_remembered_and_no_more(monkeypatch):
    monkeypatch.setattr(invalid_records, "MOST_NOTED", 2)
    registry = CollectorRegistry()
    invalid = InvalidRecords(registry)
    for offset in (0, 1, 2, 1, 2, 0):
        invalid.note(WHERE, offset, "")
    assert count_of(registry, "subscriptions") == 4


def test_who_only_asks_says_nothing():
    with capture_logs() as logs:
        PASSED_OVER.note(WHERE, 0, "it is none")
    assert logs == []
