"""What is sent behind a record that the brokers refuse: each who sends for as long as a process lives goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.ports import NotReadyError
from annals.schemas.audit import AuditEntry
from annals.topics.names import TopicNames
from annals.workers.api.kafka_audit import KafkaAudit
from annals.workers.client import CommandClient, NotSendableError
from annals.workers.client.sendable import from_members
from annals.workers.clock import new_id
from annals.workers.kafka.write.idempotent import IdempotentProducer
from annals.workers.publishing.ack_sender import AckSender
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.settings import Settings
from chained import make_topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Sends = Callable[[str], Awaitable[Any]]

pytestmark = pytest.mark.broker

SMALL = {"max.message.bytes": "1000"}
LARGE = "".join(f"{number:x}-" for number in range(2_000))


@pytest.fixture
async def names(bootstrap: str, topic_prefix: str) -> TopicNames:
    """Topics that take small records alone."""
    names = TopicNames(topic_prefix)
    topics = [
        names.audit,
        names.acks("all"),
        *(role("person") for role in (names.commands, names.events, names.outcomes)),
    ]
    await make_topics(bootstrap, topics, configs=SMALL)
    return names


async def test_a_record_behind_one_that_was_refused_is_written(bootstrap: str, names: TopicNames) -> None:
    """Goes red when the gap that a refused record leaves in the numbers of a producer is there for ever."""
    producer = IdempotentProducer({"bootstrap_servers": bootstrap})
    try:
        for offset in range(3):
            assert (await producer.send_and_wait(names.audit, b"x", b"k", 0)).offset == offset
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(names.audit, LARGE.encode(), b"k", 0)
    finally:
        await producer.stop()


async def test_a_record_that_is_on_its_way_behind_one_that_is_refused_is_written(
    bootstrap: str, names: TopicNames
) -> None:
    producer = IdempotentProducer({"bootstrap_servers": bootstrap}, max_batch_size=100)
    try:
        refused = await producer.send(names.audit, LARGE.encode(), b"k", 0)
        assert (await producer.send_and_wait(names.audit, b"x", b"k", 0)).offset == 0
        with pytest.raises(MessageSizeTooLargeError):
            await refused
    finally:
        await producer.stop()


async def test_administrative_calls_are_recorded_behind_one_that_could_not_be(
    bootstrap: str, names: TopicNames
) -> None:
    audit = KafkaAudit({"bootstrap_servers": bootstrap}, names.audit)

    async def send(path: str) -> None:
        await audit.write(AuditEntry("r-1", "ada", "POST", path, "2026-11-21T09:30:00.000000Z", None, None))

    try:
        await _goes_on(send, NotReadyError)
    finally:
        await audit.stop()


async def test_answers_are_written_behind_one_that_could_not_be(bootstrap: str, names: TopicNames) -> None:
    acks = AckSender({"bootstrap_servers": bootstrap}, names, REGISTRY, dict, CompactedViews())
    try:
        await _goes_on(lambda text: acks.send("all", "person", "p-1", text.encode()), KafkaError)
    finally:
        await acks.stop()


async def test_commands_are_written_behind_one_that_could_not_be(bootstrap: str, names: TopicNames) -> None:
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=names.prefix)
    async with CommandClient(settings, timeout_s=0.0) as client:

        async def send(text: str) -> None:
            members = {"type": "RenamePerson", "aggregate_id": "p-1", "data": {"name": text}}
            pending = await client.submit(from_members("person", members, settings.max_command_bytes, new_id))
            if not await pending.delivered:
                await pending.answer

        await _goes_on(send, NotSendableError)


async def _goes_on(send: Sends, refusal: type[Exception]) -> None:
    await send("small")
    with pytest.raises(refusal):
        await send(LARGE)
    await send("small")
