"""Topics on a real broker: created by the catalogue, and compared with it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from annals.topics.catalog import durability
from annals.workers.kafka.admin import cluster, probes
from annals.workers.kafka.admin.provisioning import (
    BrokersUnreachableError,
    NotPermittedError,
    check,
    check_by_roles,
    create,
    specs,
)
from annals.workers.kafka.group.assignor import BalancedAssignor
from annals.workers.registry import deciders, reactions
from annals.workers.settings import Settings, SettingsError

pytestmark = pytest.mark.broker

Answer = TypeVar("Answer")
ANNALS = Path(sys.executable).with_name("annals")
REPLICAS_WARNING = (
    f"{5 * len(deciders()) + 8 + len(reactions())} topics: replicas is 1, wanted 3 or more: a lost disk loses events"
)


@pytest.fixture
def settings(bootstrap: str, topic_prefix: str) -> Settings:
    return Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=2)


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def eventually(ask: Callable[[], Awaitable[Answer]], is_so: Callable[[Answer], bool]) -> Answer:
    """Ask the broker until it says so: what was changed is seen a moment later, and by one question before another."""
    async with asyncio.timeout(60):
        while True:
            try:
                if is_so(answer := await ask()):
                    return answer
            except BrokersUnreachableError as error:
                if "ask again later" not in str(error):
                    raise


async def alter(settings: Settings, topic: str, changes: dict[str, str]) -> None:
    """Change some of a topic's settings, and keep the others as the catalogue has them."""
    (spec,) = (spec for spec in specs(settings) if spec.name == topic)
    config = spec.config | changes
    async with admin_of(settings) as admin:
        (response,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
        assert [each[0] for each in response.resources] == [0]


def annals(settings: Settings, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    connection = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    command = [ANNALS, *arguments, *connection, "--partitions", str(settings.partitions)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **more)


async def test_what_was_created_is_as_the_catalogue_has_it(settings: Settings) -> None:
    names = [spec.name for spec in specs(settings)]
    assert (await check(settings)).missing == names
    assert await create(settings) == names
    report = await check(settings)
    assert [str(warning) for warning in report.warnings] == [REPLICAS_WARNING]
    assert report.is_good
    assert report.partitions == dict.fromkeys(deciders(), 2)
    assert report.dead_letter_partitions == 1


async def test_creating_again_and_at_the_same_time_changes_nothing(settings: Settings) -> None:
    made = await asyncio.gather(create(settings), create(settings))
    assert sorted(name for names in made for name in names) == sorted(spec.name for spec in specs(settings))
    assert await create(settings) == []


async def test_a_check_creates_nothing(settings: Settings) -> None:
    await check(settings)
    async with admin_of(settings) as admin:
        assert not [name for name in await admin.list_topics() if name.startswith(settings.topic_prefix)]


async def test_a_topic_that_is_added_gets_the_partitions_of_its_kind(settings: Settings) -> None:
    journal = f"{settings.topic_prefix}events.person"
    async with admin_of(settings) as admin:
        (spec,) = (spec for spec in specs(settings) if spec.name == journal)
        await admin.create_topics([NewTopic(journal, 3, 1, topic_configs=spec.config)])
        await eventually(admin.list_topics, lambda names: journal in names)
    assert journal not in await create(settings)
    report = await check(settings)
    assert report.is_good
    assert report.partitions["person"] == 3
    assert report.partitions["organization"] == 2


async def test_settings_that_break_a_promise_are_refused_by_name(settings: Settings) -> None:
    await create(settings)
    journal, dead_letters = f"{settings.topic_prefix}events.person", f"{settings.topic_prefix}dead-letters"
    broken = {
        "cleanup.policy": "compact,delete",
        "retention.ms": "3600000",
        "retention.bytes": "1000000",
        "message.timestamp.after.max.ms": "3600000",
        "min.insync.replicas": "2",
    }
    await alter(settings, journal, broken)
    await alter(settings, dead_letters, {"max.message.bytes": "1000000"})
    report = await eventually(lambda: check(settings), lambda report: len(report.refusals) > len(broken))
    found = {(each.topic, each.setting): each.found for each in report.refusals}
    wanted = {(journal, name): value for name, value in broken.items()}
    assert found == wanted | {(dead_letters, "max.message.bytes"): "1000000"}


async def test_partitions_that_somebody_added_are_refused(settings: Settings) -> None:
    await create(settings)
    commands = f"{settings.topic_prefix}commands.person"
    async with admin_of(settings) as admin:
        await admin.create_partitions({commands: NewPartitions(5)})
    report = await eventually(lambda: check(settings), lambda report: bool(report.refusals))
    (refusal,) = report.refusals
    assert (refusal.topic, refusal.setting, refusal.found, refusal.wanted) == (commands, "partitions", "5", "2")


async def test_a_journal_whose_first_events_were_deleted_is_refused(settings: Settings) -> None:
    await create(settings)
    journal = f"{settings.topic_prefix}events.person"
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for _ in range(3):
            await producer.send_and_wait(journal, b"x", partition=1)
    async with admin_of(settings) as admin:
        await admin.delete_records({TopicPartition(journal, 1): RecordsToDelete(before_offset=2)})
    (refusal,) = (await check(settings)).refusals
    assert str(refusal).startswith(f"{journal}-1: first offset is 2, wanted 0: events were deleted")


async def test_more_copies_than_brokers_is_refused_by_the_settings_name(bootstrap: str, topic_prefix: str) -> None:
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, replication_factor=3)
    with pytest.raises(SettingsError, match="ANNALS_REPLICATION_FACTOR: 3 is more than there are brokers"):
        await create(settings)


async def test_what_the_broker_refuses_to_create_is_told_in_its_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [spec for spec in specs(settings) if spec.name.endswith("dead-letters")]
    setting = durability(1)[1]
    for spec in broken:
        object.__setattr__(spec, "settings", (type(setting)("no.such.setting", "1", setting.rule, ""),))
    monkeypatch.setattr("annals.workers.kafka.admin.provisioning.specs", lambda _: tuple(broken))
    with pytest.raises(NotPermittedError, match=r"dead-letters could not be created: .*no\.such\.setting"):
        await create(settings)


async def test_brokers_that_do_not_answer_are_a_connection_error_that_says_what_to_do() -> None:
    settings = Settings(bootstrap_servers="127.0.0.1:1")
    for ask in (check, create):
        with pytest.raises(
            BrokersUnreachableError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*`annals broker`"
        ):
            await ask(settings)


async def test_the_probes_leave_nothing_behind(settings: Settings) -> None:
    report = await check(settings, probes=True)
    names = ("compaction", "transactions", "record size", "consumer group", "group of readers")
    assert report.probes == dict.fromkeys(names, "ok")
    async with admin_of(settings) as admin:
        await eventually(admin.list_topics, lambda names: not [x for x in names if x.startswith(settings.topic_prefix)])


async def test_a_broker_that_cannot_do_what_is_needed_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(settings)
    # More than the probe's own topic takes: as with a provider that limits records below what was asked for.
    monkeypatch.setattr(probes, "OVERHEAD_BYTES", -1)
    monkeypatch.setattr(probes, "MAX_REQUEST_BYTES", 2 * probes.DEAD_LETTER_TOPIC_BYTES)
    report = await check(settings, probes=True)
    (refusal,) = report.refusals
    assert (refusal.setting, refusal.wanted) == ("record size", "ok")
    assert "MessageSizeTooLarge" in refusal.found
    assert not report.is_good


async def test_a_probe_that_may_not_make_its_topic_says_so_and_tries_no_more(bootstrap: str, topic_prefix: str) -> None:
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, replication_factor=3)
    async with cluster.administration(settings) as admin:
        results, refusals, warnings = await probes.probe(admin, settings)
    assert results["compaction"].startswith("not tried: ")
    assert "replication factor" in results["compaction"].lower()
    assert (results["transactions"], results["record size"]) == ("not tried", "not tried")
    assert (refusals, warnings) == ([], [])


async def test_a_group_that_no_worker_could_join_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(settings)
    group = f"{settings.topic_prefix}{settings.app_id}"
    topic = f"{settings.topic_prefix}commands.person"
    stranger = AIOKafkaConsumer(topic, bootstrap_servers=settings.bootstrap_servers, group_id=group)
    async with stranger:
        (refusal,) = (await check(settings, probes=True)).refusals
        assert (refusal.setting, refusal.wanted) == ("consumer group", "ok")
        assert "assigns partitions in another way" in refusal.found
        assert await members_of(settings, group) == 1
    monkeypatch.setattr(probes, "SESSION_TIMEOUT_MS", 1_000)
    (refusal,) = (await check(settings, probes=True)).refusals
    assert "group.min.session.timeout.ms" in refusal.found


async def test_a_group_that_no_reader_could_join_is_refused(settings: Settings) -> None:
    await create(settings)
    topic, group = f"{settings.topic_prefix}events.person", f"{settings.topic_prefix}{settings.app_id}.read"
    async with AIOKafkaConsumer(topic, bootstrap_servers=settings.bootstrap_servers, group_id=group):
        for roles in ("read", "write,read"):
            (refusal,) = (await check_by_roles(replace(settings, roles=roles))).refusals
            assert (refusal.setting, refusal.wanted) == ("group of readers", "ok")
        assert (await check_by_roles(replace(settings, roles="write"))).is_good


async def test_what_reading_alone_does_not_compare_keeps_no_reader_from_starting(settings: Settings) -> None:
    """Goes red when a worker of the role read starts where the check says that it does not."""
    await create(settings)
    prefix, reading = settings.topic_prefix, replace(settings, roles="read")
    await alter(settings, f"{prefix}outcomes.person", {"cleanup.policy": "compact"})
    async with admin_of(settings) as admin:
        await admin.delete_topics([f"{prefix}commands.person", f"{prefix}progress"])
    decided = await eventually(lambda: check_by_roles(settings), lambda report: len(report.missing) == 2)
    assert decided.needed == [f"{prefix}commands.person"]
    assert [each.topic for each in decided.refusals] == [f"{prefix}outcomes.person"]
    report = await check_by_roles(reading)
    assert (report.missing, report.needed, report.refusals) == ([f"{prefix}progress"], [], [])
    assert "consumer group" not in report.probes
    await alter(settings, f"{prefix}events.person", {"cleanup.policy": "compact"})
    report = await eventually(lambda: check_by_roles(reading), lambda report: bool(report.refusals))
    assert [each.topic for each in report.refusals] == [f"{prefix}events.person"]


async def test_asking_whether_a_worker_could_join_disturbs_no_member(settings: Settings) -> None:
    await create(settings)
    group = f"{settings.topic_prefix}{settings.app_id}"
    member = AIOKafkaConsumer(
        f"{settings.topic_prefix}commands.person",
        bootstrap_servers=settings.bootstrap_servers,
        group_id=group,
        partition_assignment_strategy=[BalancedAssignor.of_one_consumer()],
    )
    async with member:
        before = member._coordinator.generation
        assert (await check(settings, probes=True)).is_good
        assert await members_of(settings, group) == 1
        assert member._coordinator.generation == before


async def members_of(settings: Settings, group: str) -> int:
    async with admin_of(settings) as admin:
        (answer,) = await admin.describe_consumer_groups([group])
        ((_, _, _, _, _, members, *_),) = answer.groups
        return len(members)


async def test_without_the_topic_of_schemas_a_worker_starts(settings: Settings) -> None:
    await create(settings)
    async with admin_of(settings) as admin:
        await admin.delete_topics([f"{settings.topic_prefix}schemas"])
    report = await eventually(lambda: check(settings), lambda report: bool(report.missing))
    assert report.missing == [f"{settings.topic_prefix}schemas"]
    assert report.is_good


def test_where_the_worker_creates_what_is_missing_the_command_says_so(settings: Settings) -> None:
    told = annals(settings, "topics", "check", "--create-topics")
    assert told.returncode == 0
    assert "A worker creates what is missing" in told.stdout


def test_the_command_creates_checks_and_answers_with_its_exit_status(settings: Settings) -> None:
    missing = annals(settings, "topics", "check")
    assert missing.returncode == 1
    assert f"missing  {settings.topic_prefix}events.person" in missing.stdout
    assert "`annals topics create`" in missing.stdout
    created = annals(settings, "topics", "create")
    assert (created.returncode, created.stderr) == (0, "")
    assert f"created {settings.topic_prefix}events.person" in created.stdout.splitlines()
    assert annals(settings, "topics", "create").stdout == "nothing to create: all topics exist\n"
    good = annals(settings, "topics", "check", "--json")
    assert (good.returncode, good.stderr) == (0, "")
    answer = json.loads(good.stdout)
    assert (answer["ok"], answer["missing"], answer["refusals"]) == (True, [], [])
    asyncio.run(alter(settings, f"{settings.topic_prefix}events.person", {"retention.ms": "1000"}))
    refused = annals(settings, "topics", "check")
    assert refused.returncode == 1
    assert f"refused  {settings.topic_prefix}events.person: retention.ms is 1000, wanted -1: " in refused.stdout
    assert "kafka-configs.sh" in refused.stdout
    (refusal,) = json.loads(annals(settings, "topics", "check", "--json").stdout)["refusals"]
    assert (refusal["setting"], refusal["found"], refusal["wanted"]) == ("retention.ms", "1000", "-1")


def test_the_command_prints_what_it_created_as_json(settings: Settings) -> None:
    created = json.loads(annals(settings, "topics", "create", "--json").stdout)["created"]
    assert created == [spec.name for spec in specs(settings)]
    good = annals(settings, "topics", "check")
    assert good.returncode == 0
    assert good.stdout.splitlines()[0] == f"warning  {REPLICAS_WARNING}"
    assert good.stdout.splitlines()[-1] == "Nothing keeps a worker from starting."


def test_without_a_broker_the_command_says_so_on_one_line(settings: Settings) -> None:
    for command in ("create", "check"):
        result = subprocess.run(
            [ANNALS, "topics", command, "--bootstrap-servers", "127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith("annals: no Kafka broker answers at 127.0.0.1:1")
