"""Records of the workers' own topics that somebody else wrote: counted, passed over, and what was there holds."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.schemas.delivery import Row, encode_row, row_key
from annals.schemas.progress import Progress
from annals.schemas.reaction_rows import ProcessId, TimerRow, timer_key
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.delivery_rows import read_rows
from annals.workers.publishing.log import KafkaPublishLogs
from annals.workers.publishing.places import Places
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriptions_topic import FollowedSubscriptions
from annals.workers.reacting.controls_topic import FollowedControls
from annals.workers.reacting.log import KafkaReactionLog
from annals.workers.reacting.service import ReactionService
from annals.workers.settings import Settings
from chained import chain
from publishing import NAMES, World, eventually, shown
from reactors import COUNTING

DEEP = b'{"definition":' * 20_000
WRONG = [b"", b"{", b"[]", b'{"status":"asleep"}', DEEP]
CID = shown(chain("p-1", 1))[0]


class Cluster(World):
    """A cluster with the topics that workers keep for themselves, and what counts what is passed over."""

    def __init__(self):
        super().__init__()
        topics = ("subscriptions", "reactions", "progress", "audit", "deliveries.all", "timers.counting")
        journals = [f"events.{kind}" for kind in REGISTRY]
        self.model = MemoryCluster({name: Topic(1) for name in (*topics, *journals)}, transaction_version=2)
        self.registry = CollectorRegistry()
        self.invalid = InvalidRecords(self.registry)

    def add(self, topic, key, value):
        self.model.append((topic, 0), key, value)

    def counted(self, topic):
        return self.registry.get_sample_value("annals_records_invalid_total", {"topic": topic})


@asynccontextmanager
async def following(followed):
    task = asyncio.create_task(followed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def subscription(name, **definition):
    made = {"definition": {"name": name, "start": "beginning", **definition}, "incarnation": 1, "begin": {}}
    return name.encode(), msgspec.json.encode(made)


async def test_of_subscriptions_the_last_valid_record_holds_and_each_other_is_counted():
    world = Cluster()
    followed = FollowedSubscriptions(world.options(), NAMES, world.invalid)
    assert world.counted("subscriptions") == 0
    async with following(followed):
        world.add("subscriptions", *subscription("all"))
        for value in WRONG:
            world.add("subscriptions", b"all", value)
        world.add("subscriptions", b"other", subscription("all")[1])
        world.add("subscriptions", *subscription("last"))

        async def is_read():
            return "last" in followed.all()

        await eventually(is_read)
        assert set(followed.all()) == {"all", "last"}
        assert world.counted("subscriptions") == len(WRONG) + 1


async def test_of_reactions_the_last_valid_record_holds_and_each_other_is_counted():
    world = Cluster()
    followed = FollowedControls(world.options(), NAMES, world.invalid)
    assert world.counted("reactions") == 0
    async with following(followed):
        world.add("reactions", b"counting", b'{"status":"active"}')
        for value in WRONG:
            world.add("reactions", b"counting", value)
        world.add("reactions", b"last", b'{"status":"paused"}')

        async def is_read():
            return followed.get("last") is not None

        await eventually(is_read)
        assert followed.get("counting").control.status == "active"
        assert world.counted("reactions") == len(WRONG)


async def test_of_progress_the_last_valid_record_holds_for_those_who_publish_and_those_who_ask():
    world = Cluster()
    await world.write_progress("all", Progress(7, None, 1))
    for value in WRONG:
        world.add("progress", b"all/events.person/0", value)
    log = KafkaPublishLogs(world.options(), NAMES, "annals", "person", 0, 1, "none", world.invalid).live()
    for _ in range(2):
        assert (await log.progress())["all"].position == 7
        assert world.counted("progress") == len(WRONG)
    await log.close()
    client = await connect(world.options(), [])
    assert await Places(client, NAMES).positions("all", ["person"], 1) == {"person": [7]}


async def test_of_deliveries_the_last_valid_record_holds_and_each_other_is_counted():
    world = Cluster()
    row = Row("person", "p-1", 1, CID, "PersonRegistered", 0, ordered=True, state="parked")
    world.add("deliveries.all", row_key(row).encode(), encode_row(row))
    for value in WRONG:
        world.add("deliveries.all", row_key(row).encode(), value)
    client = await connect(world.options(), ["deliveries.all"])
    for _ in range(2):
        found = await read_rows(client, TopicPartition("deliveries.all", 0), lambda row: row, invalid=world.invalid)
        assert list(found.values()) == [row]
        assert world.counted("deliveries.all") == len(WRONG)


async def test_of_timers_the_last_valid_record_holds_and_each_other_is_counted():
    """Goes red when a wrong value under a row's key makes that row forgotten."""
    world = Cluster()
    row = TimerRow(1, "2030-01-01T00:00:00.000000Z", CID, None)
    key, value = timer_key(ProcessId("p-1", ""), "late"), msgspec.json.encode(row)
    world.add("timers.counting", key, value)
    for wrong in WRONG:
        world.add("timers.counting", key, wrong)
    for wrong in (None, b"[", b'["timer"]', b"[" * 20_000):
        world.add("timers.counting", wrong, value)
    log = KafkaReactionLog(world.options(), NAMES, "counting", "person", 0, 1, "annals", world.invalid)
    for _ in range(2):
        assert [each async for each in log.rows()] == [(key, value)]
        assert world.counted("timers.counting") == len(WRONG) + 4
    await log.close()
    service = ReactionService(Settings(), world.options(), {"counting": COUNTING})
    assert (await service.get("counting")).body["timers"] == {"pending": 1, "next_due": row.due}


async def test_a_subscription_of_a_kind_that_there_is_not_hinders_no_list():
    """Goes red when one record has all of GET /v1/subscriptions answered 503."""
    world = Cluster()
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    world.add("subscriptions", *subscription("all", kinds=["person"]))
    world.add("subscriptions", *subscription("strange", kinds=["dragon"]))
    found, is_end = await service.page()
    assert [(each.body["name"], list(each.body["positions"])) for each in found] == [
        ("all", ["person"]),
        ("strange", []),
    ]
    assert is_end


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ({"start": {"positions": {"person": [0, 0]}}}, "start.positions.person"),
        ({"start": {"positions": {"person": [9]}}}, "start.positions.person"),
        ({"types": ["PersonBorn"]}, "types[0]"),
    ],
)
async def test_what_is_wrong_with_members_is_said_before_the_etag(member, path):
    """Goes red when a body that no ETag could make right is answered 412."""
    world = Cluster()
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    world.add("subscriptions", *subscription("all", kinds=["person"]))
    with pytest.raises(Refused) as refused:
        await service.put("all", {"kinds": ["person"], **member})
    assert (refused.value.status, refused.value.errors[0][0]) == (422, path)
    with pytest.raises(Refused) as refused:
        await service.put("all", {"kinds": ["person"]})
    assert (refused.value.status, refused.value.code) == (412, "etag_missing")
