"""What is parked is found, whatever its record's key is, and of whichever kind the subscription was."""

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.agents.publishing.delivering.records import parked
from annals.agents.publishing.records import Outgoing
from annals.schemas.delivery import PARKED, Row, row_key
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Former, Record
from annals.topics.keys import partition_of
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.ack_sender import AckSender
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.parked import ParkedService
from annals.workers.settings import Settings
from chained import chain
from publishing import NAMES, World, shown

PARTITIONS = 2


class Shelf(World):
    """Two partitions, in the first of which a subscription has parked events."""

    def __init__(self, definition, former=()):
        super().__init__()
        roles = ("deliveries", "parked", "acks", "subscribers")
        topics = [f"{role}.all" for role in roles] + [f"events.{kind}" for kind in REGISTRY] + ["progress"]
        one = {"subscriptions": Topic(1), "audit": Topic(1), "dead-letters": Topic(1)}
        self.model = MemoryCluster({name: Topic(PARTITIONS) for name in topics} | one, transaction_version=2)
        begin = {kind: [0] * PARTITIONS for kind in REGISTRY}
        record = Record(definition, 1, begin, [Former(each, begin) for each in former])
        self.model.append(("subscriptions", 0), b"all", msgspec.json.encode(record))
        self.service = ParkedService(Settings(), self.options(), REGISTRY)

    async def park(self, kind, aggregate_id, key):
        (event,) = chain(aggregate_id, 1)
        (cid,) = shown([event])
        row = Row(kind, aggregate_id, 1, cid, "PersonRenamed", 0, ordered=True, state=PARKED, attempt=1, at=1_000)
        attributes = {"id": cid, "source": f"/annals/{kind}", "subject": aggregate_id, "sequence": f"{1:020}"}
        outgoing = Outgoing(key, b"{}", [(f"ce_{name}", value.encode()) for name, value in attributes.items()])
        log = KafkaDeliveryLogs(self.options(), NAMES, "annals", kind, 0, PARTITIONS, "none").delivering("all")
        await log.fence()
        progress = Progress(1, None, 1)
        await log.deliver(DeliveryWrites({row_key(row): row}, progress, 0, parked=[parked(row, outgoing)]))
        await log.close()
        return cid

    async def listed(self):
        found, _ = await self.service.page("all", Choice(), FIRST, 10)
        return [(each.cid, each.partition, each.offset) for each in found]


def of_partition(number):
    return next(key for key in map(str, range(100)) if partition_of(key.encode(), PARTITIONS) == number).encode()


@pytest.mark.parametrize("partition", range(PARTITIONS))
async def test_what_is_parked_under_a_members_key_is_listed_and_stopped_at_its_offset(partition):
    """Goes red when the record lies where the key leads: then the list, and `stop_at`, look in another partition."""
    world = Shelf(Definition("all", kinds=["person"], delivery="acknowledged", key="data.name", start="beginning"))
    cid = await world.park("person", "p-1", of_partition(partition))
    assert await world.listed() == [(cid, 0, 0)]
    assert await world.service.replay("all", Choice(), 0, "ada") == 0
    assert await world.service.replay("all", Choice(), 1, "ada") == 1
    assert await world.listed() == []


async def test_what_is_parked_of_a_kind_that_the_subscription_no_longer_names_is_decided_about():
    """Goes red when nobody can replay or discard what the list shows."""
    both = Definition("all", kinds=["person", "agent"], delivery="acknowledged", start="beginning")
    world = Shelf(msgspec.structs.replace(both, kinds=["person"]), [both])
    cid = await world.park("agent", "a-1", b"a-1")
    assert [each[0] for each in await world.listed()] == [cid]
    assert await world.service.discard("all", Choice(), None, "ada", "the kind is gone") == 1
    assert await world.listed() == []
    sender = AckSender(world.options(), NAMES, REGISTRY, dict, CompactedViews())
    assert sorted(await sender.kinds("all")) == ["agent", "person"]


@pytest.mark.parametrize("decides", ["replay", "discard"])
async def test_what_is_done_before_a_decision_is_done_once_and_only_where_one_is_made(decides):
    """Goes red when it is done for what is refused, or is about nothing: `audit` would tell of no decision."""
    world = Shelf(Definition("all", kinds=["person"], delivery="acknowledged", start="beginning"))
    for number in range(4):
        await world.park("person", f"p-{number}", of_partition(number % PARTITIONS))
    seen = []

    async def before():
        seen.append(len(await world.listed()))

    async def decide(name, stop_at):
        why = ["a reason"] if decides == "discard" else []
        return await getattr(world.service, decides)(name, Choice(), stop_at, "ada", *why, before=before)

    with pytest.raises(Refused, match="nothing"):
        await decide("nothing", None)
    assert (await decide("all", 0), seen) == (0, [])
    assert (await decide("all", None), seen) == (4, [4])
    assert (await decide("all", None), seen) == (0, [4])
