"""What is on the brokers: topics with their partitions, copies, settings and first offsets."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from annals.workers.kafka.connections import creating_nothing, stop_consumer
from annals.workers.kafka.diagnosis import why_unreachable
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from annals.workers.settings import Settings

REQUEST_TIMEOUT_MS: Final = 15_000
KAFKAS_OWN: Final = "__"
NO_LEADER: Final = -1


class BrokersUnreachableError(ConnectionError):
    """No broker answers as it should, or what is asked has no leader now; the message says where and what to do."""


class NotPermittedError(Exception):
    """The brokers refuse a question or a wish; the message says which."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic as it is.

    first_offsets: by partition, only where they were asked for; in_sync: how many replicas of the partition that has
    the fewest such are in sync, None if all are.
    """

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]
    first_offsets: Mapping[int, int]
    in_sync: int | None = None


@contextlib.asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open a client that asks the brokers, and close it.

    Raises:
        BrokersUnreachableError: none of them answers, or they cut the connection in mid-question.
    """
    options = client_options(settings) | {"request_timeout_ms": REQUEST_TIMEOUT_MS}
    admin = creating_nothing(AIOKafkaAdminClient(**options))
    try:
        await admin.start()
        yield admin
    except (KafkaError, TimeoutError, OSError) as error:
        # What another try may change is that they are away; anything else is an answer.
        is_answer = isinstance(error, KafkaError) and not error.retriable
        if is_answer or isinstance(error, BrokersUnreachableError):
            raise
        raise BrokersUnreachableError(await why_unreachable(settings)) from error
    finally:
        await admin.close()


async def topic_facts(
    admin: AIOKafkaAdminClient,
    settings: Settings,
    names: Iterable[str],
    with_offsets: Iterable[str] = (),
    optional: Collection[str] = (),
    *,
    needs_settings: bool = True,
) -> dict[str, TopicFacts]:
    """Return what is known of those topics that exist, the first offsets of `with_offsets` among it.

    optional: those that are as good as missing where the user may not see them. needs_settings: whether settings that
    the user may not read are an error; else they are none.

    The settings of Kafka's own topics are left out: hardly any user may read them, and nothing here needs them.

    Raises:
        BrokersUnreachableError: a partition has no leader now.
        NotPermittedError: the user may not read the settings of a topic.
    """
    # All topics are asked for: a question about one that is missing could create it.
    wanted = set(names)
    found = {each["topic"]: each for each in await admin.describe_topics() if each["topic"] in wanted}
    await _require_visible(
        admin, sorted(name for name in wanted - found.keys() - set(optional) if not name.startswith(KAFKAS_OWN))
    )
    for name, each in found.items():
        leaderless = [part["partition"] for part in each["partitions"] if part["leader"] == NO_LEADER]
        if leaderless or each["error_code"]:
            reason = f"partitions {leaderless} have no leader" if leaderless else for_code(each["error_code"]).__name__
            raise BrokersUnreachableError(f"{name}: {reason}; wait until the brokers that hold it are back")
    visible = [name for name in found if not name.startswith(KAFKAS_OWN)]
    configs = await _configs(admin, visible, are_needed=needs_settings)
    partitions = [
        TopicPartition(name, part["partition"])
        for name in with_offsets
        if name in found
        for part in found[name]["partitions"]
    ]
    offsets = await _first_offsets(settings, partitions)
    return {
        name: TopicFacts(
            name,
            len(each["partitions"]),
            min(len(part["replicas"]) for part in each["partitions"]),
            configs.get(name, {}),
            {tp.partition: offset for tp, offset in offsets.items() if tp.topic == name},
            min(
                (len(part["isr"]) for part in each["partitions"] if len(part["isr"]) < len(part["replicas"])),
                default=None,
            ),
        )
        for name, each in found.items()
    }


async def _require_visible(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Refuse to call missing what the user may not see."""
    hidden = await hidden_topics(admin, names)
    if hidden:
        raise not_visible(hidden)


def not_visible(hidden: Sequence[str]) -> NotPermittedError:
    """Return the error of topics that the user may not see."""
    others = f" and {len(hidden) - 1} more topics" if len(hidden) > 1 else ""
    return NotPermittedError(
        f"{hidden[0]}{others}: the user may not see whether they exist: it needs Describe on them, which Read and "
        "Write include (docs/reference/permissions.md)"
    )


async def hidden_topics(admin: AIOKafkaAdminClient, names: Collection[str]) -> list[str]:
    """Return those that the user may not see: of these the brokers say neither that they are there nor not."""
    if not names:
        return []
    # By name, and told not to create them.
    answer = await admin._client.send(  # noqa: SLF001 - the administration's own question lets them be created
        admin._client.get_random_node(),  # noqa: SLF001
        MetadataRequest(list(names), allow_auto_topic_creation=False),
    )
    return sorted(name for code, name, *_ in answer.topics if for_code(code) is TopicAuthorizationFailedError)


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str], *, are_needed: bool) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    configs = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries, *_ in response.resources:
            if for_code(code).retriable:  # of a new topic one broker knows sooner than another
                raise BrokersUnreachableError(
                    f"{name}: {for_code(code).__name__} by one of the brokers; ask again later"
                )
            if code and not are_needed:
                continue
            if code:
                raise NotPermittedError(
                    f"{name}: its settings cannot be read ({message or for_code(code).__name__}): the user needs "
                    "DescribeConfigs on it, which nothing else includes (docs/reference/permissions.md)"
                )
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


async def _first_offsets(settings: Settings, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    if not partitions:
        return {}
    options = client_options(settings) | {"request_timeout_ms": REQUEST_TIMEOUT_MS}
    consumer = creating_nothing(AIOKafkaConsumer(group_id=None, enable_auto_commit=False, **options))
    await consumer.start()
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
            offsets: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            return offsets
    finally:
        await stop_consumer(consumer)
