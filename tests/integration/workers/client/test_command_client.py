"""The client of commands against a real broker: which outcome is whose, and what happens without one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError

from annals.schemas.outcome import accepted
from annals.topics.keys import partition_of
from annals.workers.client import CommandClient, NoAnswerError, NotSendableError
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.settings import Settings
from chained import make_topics
from scripted_worker import ScriptedWorker, answering, command_id, no, yes

pytestmark = pytest.mark.broker

COMMAND = {"type": "RenamePerson", "aggregate_id": "p-1", "data": {"name": "Ada"}}


@pytest.fixture
async def settings(bootstrap: str, topic_prefix: str) -> Settings:
    await make_topics(bootstrap, [f"{topic_prefix}commands.person", f"{topic_prefix}outcomes.person"], 2)
    return Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, max_command_bytes=1_500_000)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[CommandClient]:
    async with CommandClient(settings) as started:
        yield started


def answered(settings: Settings, *reply: Any) -> Any:
    return answering(settings.bootstrap_servers, settings.topic_prefix, *reply)


async def test_a_command_is_answered(settings: Settings, client: CommandClient) -> None:
    async with answered(settings) as worker:
        outcome = await client.send("person", COMMAND)
    (record,) = worker.seen
    assert (outcome.status, outcome.aggregate_id, outcome.command_id) == ("accepted", "p-1", command_id(record))
    assert (record.key, record.headers) == (b"p-1", ())
    assert len(outcome.command_id) == 36
    assert outcome.command_id[14] == "7"


async def test_a_rejection_is_an_outcome_too(settings: Settings, client: CommandClient) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, no(record))

    async with answered(settings, reply):
        outcome = await client.send("person", COMMAND)
    assert outcome.status == "rejected"
    assert outcome.error is not None
    assert outcome.error.code == "invalid_transition"


async def test_commands_go_where_javas_partitioner_sends_them(settings: Settings, client: CommandClient) -> None:
    names = [f"p-{number}" for number in range(8)]
    async with answered(settings) as worker:
        await asyncio.gather(*(client.send("person", {**COMMAND, "aggregate_id": name}) for name in names))
    assert {each.key: each.partition for each in worker.seen} == {
        name.encode(): partition_of(name.encode(), 2) for name in names
    }


async def test_many_commands_at_once_get_each_its_own_outcome(settings: Settings, client: CommandClient) -> None:
    async with answered(settings):
        ids = [f"c-{number}" for number in range(300)]
        outcomes = await asyncio.gather(*(client.send("person", {**COMMAND, "id": name}) for name in ids))
    assert [each.command_id for each in outcomes] == ids


async def test_the_first_outcome_counts(settings: Settings, client: CommandClient) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, yes(record, 1))
        await worker.answer(record, yes(record, 2))

    async with answered(settings, reply):
        assert (await client.send("person", {**COMMAND, "id": "c-1"})).version == 1
        assert (await client.send("person", {**COMMAND, "id": "c-1"})).version == 1


async def test_an_outcome_of_the_same_id_but_of_another_record_is_not_the_answer(
    settings: Settings, client: CommandClient
) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, no(record), offset=record.offset + 100)
        await worker.answer(record, yes(record))

    async with answered(settings, reply):
        assert (await client.send("person", COMMAND)).status == "accepted"


async def test_the_same_id_sent_twice_at_once_has_two_answers(settings: Settings, client: CommandClient) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, yes(record, 1 + len(worker.seen)))

    async with answered(settings, reply):
        both = [client.send("person", {**COMMAND, "id": "c-1"}) for _ in range(2)]
        assert sorted([each.version for each in await asyncio.gather(*both)]) == [2, 3]


async def test_an_outcome_from_before_is_not_the_answer(settings: Settings, client: CommandClient) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, yes(record, 10))

    async with answered(settings, reply), CommandClient(settings) as earlier:
        await earlier.send("person", {**COMMAND, "id": "c-1"})
    async with answered(settings):
        assert (await client.send("person", {**COMMAND, "id": "c-1"})).version == 1


async def test_an_outcome_that_was_taken_back_is_not_the_answer(settings: Settings, client: CommandClient) -> None:
    """Goes red when outcomes are read without read_committed."""
    how = {"bootstrap_servers": settings.bootstrap_servers, "transactional_id": f"{settings.topic_prefix}aborting"}
    producer = AIOKafkaProducer(**how)
    await producer.start()

    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await producer.begin_transaction()
        await worker.answer(record, no(record), producer=producer)
        await producer.abort_transaction()
        await worker.answer(record, yes(record))

    try:
        async with answered(settings, reply):
            assert (await client.send("person", COMMAND)).status == "accepted"
    finally:
        await producer.stop()


async def test_a_command_of_another_aggregate_with_the_same_id_is_another_one(
    settings: Settings, client: CommandClient
) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, yes(record))

    async with answered(settings, reply):
        outcomes = await asyncio.gather(
            *(client.send("person", {**COMMAND, "id": "c", "aggregate_id": name}) for name in ("p-1", "p-2", "p-3"))
        )
    assert [each.aggregate_id for each in outcomes] == ["p-1", "p-2", "p-3"]


async def test_without_an_outcome_the_command_is_unknown(settings: Settings) -> None:
    async with CommandClient(settings, timeout_s=0.5) as client:
        with pytest.raises(NoAnswerError, match="send it again, under the same id"):
            await client.send("person", {**COMMAND, "id": "c-1"})


async def test_an_answer_that_comes_too_late_disturbs_nobody(settings: Settings) -> None:
    late: list[Any] = []

    async def reply(record: Any, worker: ScriptedWorker) -> None:
        late.append(record)
        if len(late) > 1:
            await worker.answer(late[0], yes(late[0]))
            await worker.answer(record, yes(record))

    async with answered(settings, reply), CommandClient(settings, timeout_s=1) as client:
        with pytest.raises(NoAnswerError):
            await client.send("person", COMMAND)
        client._timeout_s = 60
        assert (await client.send("person", COMMAND)).status == "accepted"


async def test_what_would_be_a_dead_letter_is_refused_and_not_sent(settings: Settings, client: CommandClient) -> None:
    async with answered(settings) as worker:
        for wrong in ({"aggregate_id": ""}, {"data": {"name": "x" * 1_500_000}}, {"id": 7}):
            with pytest.raises(NotSendableError):
                await client.send("person", {**COMMAND, **wrong})
        await client.send("person", COMMAND)
    assert len(worker.seen) == 1


async def test_a_command_of_more_than_a_producers_default_is_sent(settings: Settings, client: CommandClient) -> None:
    async with answered(settings):
        outcome = await client.send("person", {**COMMAND, "data": {"name": "x" * 1_400_000}})
    assert outcome.status == "accepted"


async def test_what_the_broker_refuses_is_told(bootstrap: str, topic_prefix: str) -> None:
    await make_topics(bootstrap, [f"{topic_prefix}outcomes.person"], 2)
    await make_topics(bootstrap, [f"{topic_prefix}commands.person"], 2, {"max.message.bytes": "1000"})
    async with CommandClient(Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix)) as client:
        with pytest.raises(NotSendableError, match="the broker refused it"):
            await client.send("person", {**COMMAND, "data": {"name": "x" * 2_000}})
        async with answering(bootstrap, topic_prefix):
            assert (await client.send("person", COMMAND)).status == "accepted"  # the same partition still takes others


async def test_a_kind_without_topics_is_told(settings: Settings, client: CommandClient) -> None:
    with pytest.raises(MissingTopicError, match="annals topics create"):
        await client.send("organization", COMMAND)
    async with answered(settings):
        assert (await client.send("person", COMMAND)).status == "accepted"


async def test_without_a_broker_it_does_not_start() -> None:
    with pytest.raises(KafkaConnectionError):
        await CommandClient(Settings(bootstrap_servers="127.0.0.1:1")).start()


async def test_a_record_that_is_no_outcome_is_passed_over(settings: Settings, client: CommandClient) -> None:
    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.producer.send_and_wait(worker.outcomes, b"?", record.key, record.partition)
        await worker.producer.send_and_wait(worker.outcomes, None, record.key, record.partition)
        others = accepted("other", "person", "p-1", 1, None, [])
        headers = [("command-id", b"\xff"), ("command-offset", b"x")]
        await worker.producer.send_and_wait(worker.outcomes, others, record.key, record.partition, headers=headers)
        await worker.answer(record, yes(record))

    async with answered(settings, reply):
        assert (await client.send("person", COMMAND)).status == "accepted"


async def test_outcomes_that_cannot_be_read_fail_those_who_wait_and_those_who_come(
    settings: Settings, client: CommandClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise TopicAuthorizationFailedError("outcomes")

    async def reply(record: Any, worker: ScriptedWorker) -> None:
        if record.key == b"p-1":
            await worker.answer(record, yes(record))

    async with answered(settings, reply):
        await client.send("person", COMMAND)
        _, reader = client._opening["person"].result()
        monkeypatch.setattr(reader._consumer, "getmany", refuse)
        for name in ("p-2", "p-3"):
            with pytest.raises(TopicAuthorizationFailedError):
                await client.send("person", {**COMMAND, "aggregate_id": name})


async def test_a_command_that_the_producer_does_not_take_is_refused(
    client: CommandClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise KafkaTimeoutError

    monkeypatch.setattr(client._producer, "send", refuse)
    with pytest.raises(NotSendableError, match="KafkaTimeoutError"):
        await client.send("person", COMMAND)


async def test_after_a_delivery_in_doubt_any_outcome_of_the_id_is_the_answer(
    settings: Settings, client: CommandClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client._producer is not None
    send = client._producer.send

    async def doubtful(*arguments: Any, **how: Any) -> asyncio.Future[Any]:
        await (await send(*arguments, **how))
        delivery: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        delivery.set_exception(KafkaTimeoutError())
        return delivery

    async def reply(record: Any, worker: ScriptedWorker) -> None:
        await worker.answer(record, yes(record), offset=record.offset + 7)

    monkeypatch.setattr(client._producer, "send", doubtful)
    async with answered(settings, reply):
        assert (await client.send("person", COMMAND)).status == "accepted"


async def test_a_client_that_was_not_started_says_so(settings: Settings) -> None:
    with pytest.raises(RuntimeError, match="not started"):
        await CommandClient(settings).send("person", COMMAND)


async def test_a_client_whose_producer_does_not_start_leaves_nothing_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Any) -> None:
        raise KafkaConnectionError("gone")

    monkeypatch.setattr(AIOKafkaProducer, "start", refuse)
    client = CommandClient(settings)
    with pytest.raises(KafkaConnectionError):
        await client.start()
    assert client._client is not None
    assert not any(connection.connected() for connection in client._client._conns.values())


async def test_a_kind_is_sent_to_once_its_topics_are_there_whoever_gave_up_before(
    bootstrap: str, topic_prefix: str
) -> None:
    """Goes red when the first failure, or a caller that waits no more, is what all later commands are told."""
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix)
    async with CommandClient(settings) as client:
        with pytest.raises(MissingTopicError):
            await client.send("person", COMMAND)
        await make_topics(bootstrap, [f"{topic_prefix}commands.person", f"{topic_prefix}outcomes.person"], 2)
        impatient = asyncio.create_task(client.send("person", COMMAND))
        while not client._opening["person"].done() and not impatient.done():
            await asyncio.sleep(0)
            impatient.cancel()
        async with answered(settings):
            assert (await client.send("person", COMMAND)).status == "accepted"
