"""Offsets of the groups that publish, which a tool may set at any time: they have no members that would refuse it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_publishing import COUNT, Readers, twenty_persons
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


@pytest.fixture
def readers(chaos_broker: Broker, tmp_path: Path) -> Iterator[Readers]:
    with twenty_persons(chaos_broker, tmp_path) as made:
        yield made


@pytest.mark.parametrize("offset", [0, 10_000], ids=["earliest", "beyond"])
async def test_publishing_goes_on_with_another_owner_whatever_a_tool_has_set(readers: Readers, offset: int) -> None:
    """Goes red when the next owner takes the offset for what was published, and stops for good or begins again."""
    scenario = readers.scenario
    await readers.subscribe("all")
    (worker,) = scenario.workers
    group = f"{scenario.prefix}annals.publish"
    worker.end()  # first: what it commits while nothing comes would take the place of what the tool sets
    where = TopicPartition(f"{scenario.prefix}events.person", 0, offset)
    asked = [ConsumerGroupTopicPartitions(group, [where])]
    for future in scenario.admin.alter_consumer_group_offsets(asked).values():
        future.result(60)
    readers.start("other").until_ready()
    readers.append(5)
    readers.until_got(COUNT + 5)
    assert readers.got() == COUNT + 5
