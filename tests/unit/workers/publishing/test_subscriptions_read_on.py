"""Who asks about subscriptions again reads what came since, and is told what was answered to whoever changed one."""

import asyncio
import tracemalloc

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.schemas.cid import cid_of
from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.schemas.subscription import Definition, Former, Record
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.kafka.read.newest_records import ROW_BYTES
from annals.workers.memory.client import Direct
from annals.workers.publishing.ack_sender import AckSender
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.places import _placed, _placed_bytes
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriptions_topic import _kept, _record_bytes
from annals.workers.settings import Settings
from publishing import NAMES
from shelves import Shelf

MANY = 50


@pytest.fixture
def shelf(monkeypatch):
    made = Shelf(monkeypatch)
    for number in range(MANY):
        name = f"s-{number:02}"
        definition = msgspec.structs.replace(made.definition, name=name, delivery="stream")
        value = msgspec.json.encode(Record(definition, 1, {"person": [0]}))
        made.model.append(("subscriptions", 0), name.encode(), value)
    return made


def service_of(shelf, views=None):
    return SubscriptionService(Settings(), shelf.options(), REGISTRY, views)


async def test_who_asks_again_reads_what_came_since(shelf):
    """Goes red when one of them reads the topic whole: each answer then costs as much as there are subscriptions."""
    service = service_of(shelf, shelf.views)
    acks = AckSender(shelf.options(), NAMES, REGISTRY, dict, shelf.views)

    async def unknown():
        with pytest.raises(Refused, match="no subscription"):
            await acks.kinds("nobody")

    asks = (
        lambda: service.get("s-01"),
        lambda: service.page(limit=MANY),
        lambda: shelf.service.page("all", Choice(), FIRST, 10),
        lambda: acks.kinds("all"),
        unknown,
    )
    await service.get("s-00")
    assert shelf.read["subscriptions"] == MANY + 1
    for ask in asks:
        shelf.read.clear()
        await ask()
        assert shelf.read["subscriptions"] == 1, "the record that was read last"
    shelf.read.clear()
    await service.pause("s-01")
    assert shelf.read["subscriptions"] <= 4, "as the only writer, and read back"


class Rounds(Direct):
    """A network whose answers come when nobody has anything more to ask: count is how often one was waited for."""

    def __init__(self):
        self.count, self._round = 0, None

    async def ask(self, request, serve):
        if self._round is None:
            self._round = asyncio.create_task(self._pass())
        await asyncio.shield(self._round)
        return serve(request)

    async def _pass(self):
        for _ in range(200):
            await asyncio.sleep(0)
        self.count, self._round = self.count + 1, None


async def test_what_an_answer_is_made_of_is_asked_for_at_once(shelf):
    """Goes red when subscriptions, progress, and where the journals end are asked for one after another."""
    await shelf.park(1)
    network = Rounds()
    service = SubscriptionService(Settings(), shelf.options(network), REGISTRY, shelf.views)

    async def rounds(ask):
        await ask()
        network.count = 0
        await ask()
        return network.count

    assert await rounds(lambda: service.get("s-01")) == 3, "the first offsets, the ends, the records"
    assert await rounds(lambda: service.get("all")) == 6, "its rows once it is known that there are any"
    assert await rounds(lambda: service.page(limit=MANY + 1)) == 6


def filtered(name, count):
    filters = [{"any": [{"exact": {"subject": f"p-{number}"}} for number in range(count)]}] if count else []
    return Record(
        Definition(name, filters=filters), 1, {kind: [10**9 + number for number in range(12)] for kind in REGISTRY}
    )


@pytest.mark.parametrize("count", [0, 60])
@pytest.mark.parametrize("formers", [0, 20])
def test_a_subscription_counts_by_what_it_takes_in_memory(count, formers):
    """Goes red when its JSON is counted: of many filters the objects take nearly ten times as much."""
    values = []
    for number in range(20):
        record = filtered(f"s-{number}", count)
        former = [Former(filtered(f"s-{number}", count).definition, record.begin) for _ in range(formers)]
        values.append(msgspec.json.encode(msgspec.structs.replace(record, former=former)))
    tracemalloc.start()
    try:
        kept = [_kept(f"s-{number}".encode(), value, number) for number, value in enumerate(values)]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.9 * taken < sum(_record_bytes(each) for each in kept) < 1.5 * taken


@pytest.mark.parametrize("failure", ["", "x" * 1_000])
def test_a_progress_counts_by_what_it_takes_in_memory(failure):
    """Goes red when only its key counts: one of a reaction that failed takes four times as much."""
    records = []
    for number in range(1_000):
        progress = Progress(
            10**9 + number, cid_of(b"%d" % number), 1, failure=failure and f"{failure}{number}"[-1_000:]
        )
        records.append((progress_key(f"subscription-{number}", "events.person", number), encode_progress(progress)))
    _placed(*records[0], 0)  # what the first one takes besides is taken once
    tracemalloc.start()
    try:
        rows = {bytes(bytearray(key)): _placed(key, value, 0) for key, value in records}
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    counted = sum(ROW_BYTES + len(key) + _placed_bytes(placed) for key, placed in rows.items())
    assert 0.9 * taken < counted < 1.5 * taken


async def test_where_the_topic_is_deleted_while_it_is_read_it_is_said_to_be_missing(shelf, monkeypatch):
    """Goes red with an IndexError: the topic was there when it was looked for, and not any more when it was read."""
    service, rows = service_of(shelf, shelf.views), CompactedViews.rows

    async def deleted(views, client, topic, *rest, **more):
        shelf.model.delete_topic(topic)
        return await rows(views, client, topic, *rest, **more)

    monkeypatch.setattr(CompactedViews, "rows", deleted)
    with pytest.raises(MissingTopicError, match="there is no topic subscriptions: create it"):
        await service.get("s-00")


async def test_what_was_answered_is_what_is_found_at_each_worker(shelf):
    workers = [service_of(shelf) for _ in range(2)]
    for each in workers:
        await each.page()  # it knows the topic as it was before
    for turn in range(4):
        writing, other = workers[turn % 2], workers[1 - turn % 2]
        changed = await (writing.pause if turn % 2 == 0 else writing.resume)("s-07")
        for each in (writing, other):
            found = await each.get("s-07")
            assert (found.etag, found.body["status"]) == (changed.etag, changed.body["status"])
            listed = {answered.body["name"]: answered.etag for answered in (await each.page())[0]}
            assert listed["s-07"] == changed.etag
    await workers[0].delete("s-07", changed.etag)
    for each in workers:
        with pytest.raises(Refused, match="no subscription"):
            await each.get("s-07")
        assert len((await each.page())[0]) == MANY
