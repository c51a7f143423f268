"""Compacted topics that are deleted and made anew under the same name."""

import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

WITHIN_S = 60


def has_leader(admin: AdminClient, name: str) -> bool:
    found = admin.list_topics(timeout=10).topics.get(name)
    return found is not None and found.error is None and all(each.leader >= 0 for each in found.partitions.values())


def make(bootstrap: str, name: str, policy: str = "compact") -> None:
    """Make the topic, as soon as a former one of its name is gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + WITHIN_S
    while True:
        (future,) = admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": policy})]).values()
        try:
            future.result(10)
        except KafkaException:
            assert time.monotonic() < deadline, name
        else:
            break
    while not has_leader(admin, name):
        assert time.monotonic() < deadline, name


def delete(bootstrap: str, name: str) -> None:
    """Return when the broker knows no such topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.delete_topics([name], operation_timeout=30).values()
    future.result(60)
    deadline = time.monotonic() + WITHIN_S
    while name in admin.list_topics(timeout=10).topics:  # the controller has it first
        assert time.monotonic() < deadline, name
