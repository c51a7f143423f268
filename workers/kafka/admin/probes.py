"""What the brokers can do, found out by doing it once: transactions, compaction, the largest record, and to join."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.client import CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    InvalidReplicationFactorError,
    KafkaError,
    MemberIdRequired,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest

from annals.topics.catalog import DEAD_LETTER_TOPIC_BYTES
from annals.topics.names import TRANSACTIONAL_ID_PREFIX, TopicNames
from annals.topics.rights import PROBE
from annals.workers.kafka.admin.findings import Finding
from annals.workers.kafka.connections import connect, creating_nothing
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.group.assignor import READING_PROTOCOL, BalancedAssignor
from annals.workers.kafka.group.membership import (
    READING_SESSION_TIMEOUT_MS,
    REBALANCE_TIMEOUT_MS,
    SESSION_TIMEOUT_MS,
    reason_of,
)
from annals.workers.settings import READ, WRITE, client_options

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.client import AIOKafkaClient

    from annals.workers.settings import Settings

ABLE: Final = "ok"
NOT_TRIED: Final = "not tried"
NOT_PERMITTED: Final = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
WITHIN_S: Final = 30
LOOK_S: Final = 0.2
_NOT_YET: Final = frozenset(
    {GroupCoordinatorNotAvailableError.errno, GroupLoadInProgressError.errno, NotCoordinatorForGroupError.errno}
)
# What a record and its batch need beside the value; the value is the rest of the largest topic's limit.
OVERHEAD_BYTES: Final = 1_024
MAX_REQUEST_BYTES: Final = DEAD_LETTER_TOPIC_BYTES
ABORTED: Final = b"aborted"
COMPACTION, TRANSACTIONS, RECORD_SIZE = "compaction", "transactions", "record size"
GROUP, READING_GROUP = "consumer group", "group of readers"
WHY: Final = {
    **dict.fromkeys(
        (COMPACTION, TRANSACTIONS, RECORD_SIZE),
        "the worker needs it, and it did not work on a topic made for this check",
    ),
    **dict.fromkeys((GROUP, READING_GROUP), "a worker could not join"),
}


class Joined(NamedTuple):
    """A group as a worker joins it."""

    name: str
    protocol: str
    session_timeout_ms: int


class Probes(NamedTuple):
    """What became of each probe, what was refused, and what was left behind."""

    results: dict[str, str]
    refusals: list[Finding]
    warnings: list[Finding]


async def probe(admin: AIOKafkaAdminClient, settings: Settings) -> Probes:
    """Try everything on a topic of its own that is deleted afterwards.

    What the user of the check may not try is not tried: a worker may have the rights that it needs.
    """
    topic = f"{settings.topic_prefix}{PROBE}{secrets.token_hex(4)}"
    results = dict.fromkeys((COMPACTION, TRANSACTIONS, RECORD_SIZE), NOT_TRIED)
    warnings: list[Finding] = []
    results[COMPACTION] = await _create(admin, topic, settings)
    if results[COMPACTION] == ABLE:
        try:
            results[TRANSACTIONS] = await _attempt(_transactions(topic, settings))
            if results[TRANSACTIONS] == ABLE or results[TRANSACTIONS].startswith(NOT_TRIED):
                results[RECORD_SIZE] = await _attempt(_largest_record(topic, settings))
        finally:
            warnings += await _delete(admin, topic)
    names = TopicNames(settings.topic_prefix)
    if settings.has(WRITE):
        group = Joined(names.group(settings.app_id), BalancedAssignor.name, SESSION_TIMEOUT_MS)
        results[GROUP] = await _attempt(_join(settings, group))
    if settings.has(READ):
        group = Joined(names.reading_group(settings.app_id), READING_PROTOCOL, READING_SESSION_TIMEOUT_MS)
        results[READING_GROUP] = await _attempt(_join(settings, group))
    refusals = [
        Finding("the brokers", name, said, ABLE, WHY[name])
        for name, said in results.items()
        if said != ABLE and not said.startswith(NOT_TRIED)
    ]
    return Probes(results, refusals, warnings)


async def _create(admin: AIOKafkaAdminClient, topic: str, settings: Settings) -> str:
    config = {"cleanup.policy": "compact", "max.message.bytes": str(DEAD_LETTER_TOPIC_BYTES)}
    response = await admin.create_topics([NewTopic(topic, 1, settings.replication_factor, topic_configs=config)])
    ((_, code, message),) = response.topic_errors
    if not code:
        return ABLE
    error = for_code(code)
    if issubclass(error, NOT_PERMITTED):
        return f"{NOT_TRIED}: the user may not create the topic {topic} (docs/reference/permissions.md)"
    said = message or error.__name__
    # a worker neither creates topics nor asks how many brokers there are
    is_untried = issubclass(error, InvalidReplicationFactorError)
    return f"{NOT_TRIED}: no topic could be created for it ({said})" if is_untried else said


async def _delete(admin: AIOKafkaAdminClient, topic: str) -> list[Finding]:
    response = await admin.delete_topics([topic])
    ((_, code, *_),) = response.topic_error_codes
    if not code:
        return []
    return [Finding(topic, "deleted", "no", "yes", f"it was made for this check ({for_code(code).__name__})")]


async def _attempt(trial: Coroutine[Any, Any, str]) -> str:
    try:
        async with asyncio.timeout(WITHIN_S):
            return await trial
    except TimeoutError:
        return f"no answer within {WITHIN_S} s"
    except NOT_PERMITTED as error:
        why = lacking_right(error, "Read or Write") or type(error).__name__
        return f"{NOT_TRIED}: the user may not do it ({why}, docs/reference/permissions.md)"
    except (KafkaError, OSError) as error:
        return f"{type(error).__name__}: {error}".rstrip(": ")


async def _join(settings: Settings, group: Joined) -> str:
    """Ask to become a member of the group as a worker would, and go no further: the members notice nothing.

    The coordinator first gives out a member id (KIP-394), after it has looked at rights, session and assignor. The
    first group of a cluster has no coordinator until the topic of offsets is made: it is asked again.
    """
    client = await connect(client_options(settings), ())
    try:
        while True:
            code = await _ask_to_join(client, group)
            if code == GroupAuthorizationFailedError.errno:
                raise GroupAuthorizationFailedError(group.name)
            if code not in _NOT_YET:
                return reason_of(code) if code else ABLE
            await asyncio.sleep(LOOK_S)
    finally:
        await client.close()


async def _ask_to_join(client: AIOKafkaClient, group: Joined) -> int:
    """Return the error with which the coordinator refuses a new member, or 0."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group.name)
    except (GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError) as error:
        return int(error.errno)
    protocols = [(group.protocol, BalancedAssignor.of_one_consumer().metadata([]).encode())]
    session = group.session_timeout_ms, REBALANCE_TIMEOUT_MS
    request = JoinGroupRequest(group.name, *session, "", None, ConsumerProtocol.PROTOCOL_TYPE, protocols)
    answer = await client.send(node, request)
    if answer.error_code not in {0, MemberIdRequired.errno}:
        return int(answer.error_code)
    await client.send(node, LeaveGroupRequest(group.name, answer.member_id))
    return 0


async def _transactions(topic: str, settings: Settings) -> str:
    """Abort one record and commit another: a reader of committed records must see the second only."""
    options = client_options(settings)
    async with creating_nothing(
        AIOKafkaProducer(transactional_id=f"{TRANSACTIONAL_ID_PREFIX}{topic}", **options)
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, ABORTED, key=ABORTED, partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", key=b"committed", partition=0)
    consumer = creating_nothing(
        AIOKafkaConsumer(group_id=None, isolation_level="read_committed", enable_auto_commit=False, **options)
    )
    async with consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        record = await consumer.getone()
    return "a reader of committed records saw an aborted one" if record.value == ABORTED else ABLE


async def _largest_record(topic: str, settings: Settings) -> str:
    """Write one record of the largest size that any topic takes."""
    producer = creating_nothing(
        AIOKafkaProducer(max_request_size=MAX_REQUEST_BYTES, acks="all", **client_options(settings))
    )
    async with producer:
        value = bytes(DEAD_LETTER_TOPIC_BYTES - OVERHEAD_BYTES)
        await producer.send_and_wait(topic, value, key=b"largest", partition=0)
    return ABLE
