"""Compacted topics that are deleted and made anew under the same name."""

import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from processes import WITHIN_S
from whole_topics import answered_topics, known_topics


def has_leader(admin: AdminClient, name: str) -> bool:
    found = known_topics(admin).get(name)
    return found is not None and found.error is None and all(each.leader >= 0 for each in found.partitions.values())


def make(bootstrap: str, name: str, policy: str = "compact") -> None:
    """Make the topic, as soon as a former one of its name is gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + WITHIN_S
    while True:
        (future,) = admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": policy})]).values()
        try:
            future.result(WITHIN_S)
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
    future.result(WITHIN_S)
    deadline = time.monotonic() + WITHIN_S
    while (known := answered_topics(admin)) is None or name in known:  # the controller has it first
        assert time.monotonic() < deadline, name
