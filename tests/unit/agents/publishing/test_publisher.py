"""A publisher on a log in memory: each event that counts once and in order, through the death of its process."""

import asyncio
from contextlib import asynccontextmanager

import orjson
import pytest
import structlog
from aiokafka.structs import TopicPartition

from annals.agents import backoff
from annals.agents.aggregates import REGISTRY
from annals.agents.pace import Pace
from annals.agents.publishing.administration import put
from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.selection import Subscribed
from annals.agents.publishing.share import Share
from annals.agents.reading.found import JournalRun
from annals.schemas.cid import cid_text
from annals.schemas.progress import LIVE, Progress
from annals.schemas.subscription import Definition, Former
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.read import settled_ends
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.log import KafkaPublishLog
from chained import chain
from following import Clock, until
from publishing import EVENTS, NAMES, Counts, Mortal, World, answer, at_each_step, eventually, progress_of, shown


async def test_a_subscription_from_the_beginning_gets_every_event_once():
    world = World("all")
    ada = chain("p-1", 6)
    world.journal.records.clear()
    world.journal.append([*ada[:3], ada[0]])  # the fourth is void
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", 3))
        world.journal.append(ada[3:])
        await eventually(lambda: has(world, "all", 6))
    assert await world.cids("all") == shown(ada)
    key, value, headers = (await world.received("all"))[1]
    assert (key, orjson.loads(value)) == (b"p-1", {"name": "Ada 2"})
    assert headers["content-type"] == b"application/json"
    assert headers["ce_previous"].decode() == cid_text(ada[0].cid)
    assert headers["ce_type"] == b"annals.person.PersonRenamed.v1"
    assert "ce_previous" not in (await world.received("all"))[0][2]


async def test_the_groups_offset_says_how_far_it_is_to_whoever_asks_for_lags():
    """As `kafka-consumer-groups` shows it; what is gone on from is the record in the topic of progress."""
    world = World("all")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, "all", 3))

        async def is_told():
            told = world.model.committed_offset(NAMES.publishing_group("annals"), EVENTS)
            return told is not None and told[0] == publisher.position == 3

        await eventually(is_told)


async def test_a_subscription_is_live_though_only_a_marker_stands_behind_the_last_event():
    """A quiet journal ends with its last transaction's marker, and what is live begins behind that."""
    world = World("all")
    world.journal.append(chain("p-1", 2))
    world.journal.mark()
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", 2))
        await eventually(lambda: is_without_its_own(world, "all"))
        assert await positions_of(world) == {"live": 3}


async def test_what_is_behind_a_store_that_is_read_anew_waits_and_writes_nothing(monkeypatch):
    """A store that was set aside has less than was published from it: nothing moves, and nothing is committed."""
    world = World("all")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("all")
    asked = asyncio.Event()

    async def nothing_yet(offset, limit):
        asked.set()
        return JournalRun([], offset, is_end=True)

    async with world.shard() as shard, world.publisher(shard):
        with monkeypatch.context() as patched:
            patched.setattr(shard, "events_from", nothing_yet)
            async with asyncio.timeout(30):
                await asked.wait()
            written = world.model.logs["progress", 0].stable
            for _ in range(1_000):
                await asyncio.sleep(0)
            assert world.model.logs["progress", 0].stable == written
        await eventually(lambda: has(world, "all", 3))


async def is_without_its_own(world, name):
    return name not in await positions_of(world)


async def positions_of(world):
    """The positions that are written, by name."""
    return {name: progress["position"] for name, progress in (await progress_of(world)).items()}


async def has(world, name, count):
    return len(await world.cids(name)) >= count


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_nothing_is_lost_or_doubled(is_carried_out, monkeypatch):
    """Killed at each request in turn, catch-up and hand-over included; the next process goes on."""
    monkeypatch.setattr("annals.agents.publishing.publisher.RUN_EVENTS", 2)
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 2)
    await at_each_step(killed_at, is_carried_out=is_carried_out)


async def killed_at(step, *, is_carried_out):
    """Kill the process at a request; return whether it had come so far."""
    world = World("old", "new")
    events = chain("p-1", 4)
    more = chain("p-1", 3, events[-1])
    last = chain("p-2", 1)
    world.journal.append(events)
    await world.subscribe("old")

    async def both_have(count):
        return await has(world, "old", count) and await has(world, "new", count)

    async def is_over():
        return world.network.died.is_set() or await both_have(7)

    async with world.shard() as shard:
        async with world.publisher(shard):
            await eventually(lambda: has(world, "old", 4))
            await world.subscribe("new", 0)
            world.die_at(step, is_carried_out=is_carried_out)
            world.journal.append(more)
            await eventually(is_over)
        has_died = world.next_process()
        async with world.publisher(shard):
            await eventually(lambda: both_have(7))
            world.journal.append(last)
            await eventually(lambda: both_have(8))
    for name in ("old", "new"):
        assert await world.cids(name) == shown([*events, *more, *last]), (step, name)
    return has_died


async def test_a_paused_subscription_goes_on_where_it_stopped():
    world = World("one", "other")
    events = chain("p-1", 9)
    world.journal.append(events[:3])
    await world.subscribe("one")
    await world.subscribe("other")
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, "one", 3))
        await eventually(lambda: has(world, "other", 3))
        world.subscriptions.set("one", definition={"status": "paused"})

        async def is_out():
            return "one" in publisher._roster.own

        await eventually(is_out)
        world.journal.append(events[3:6])
        await eventually(lambda: has(world, "other", 6))
        assert len(await world.cids("one")) == 3
        world.subscriptions.set("one", definition={"status": "active"})
        await eventually(lambda: has(world, "one", 6))
        world.journal.append(events[6:])
        await eventually(lambda: has(world, "one", 9))
    assert await world.cids("one") == shown(events)


async def test_a_change_holds_from_its_position():
    world = World("one")
    events = chain("p-1", 6)
    world.journal.append(events)
    await world.write_progress("one", Progress(0, None, 1))
    former = Former(Definition("one", types=["PersonRegistered"]), {"person": [4]})
    world.subscriptions.set("one", former=[former])
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 2))
    assert await world.cids("one") == shown(events[4:])


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_an_event_behind_a_change_that_was_answered_is_judged_by_it_though_nobody_has_noticed(delivery):
    """Who changes a subscription and then has something recorded must not find it judged by what held before."""
    world = World("one")
    events = [event for number in range(4) for event in chain(f"p-{number}", 1)]
    definition = {"delivery": delivery, "types": ["PersonRenamed"]}
    await world.subscribe("one", **definition)
    former = Former(Definition("one", **definition), {"person": [2]})
    async with world.shard() as shard, world.publisher(shard):
        world.journal.append(events[:2])
        await eventually(lambda: has(world, "one", 2))
        only = {"filters": [{"exact": {"subject": "p-9"}}]}
        world.subscriptions.answered.append(lambda: world.subscriptions.set("one", definition=only, former=[former]))
        wanted = chain("p-9", 1)
        world.journal.append([*events[2:], *wanted])
        await eventually(lambda: has(world, "one", 3))
    assert await world.cids("one") == shown([*events[:2], *wanted])


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_a_kind_that_is_added_where_nothing_was_published_yet_loses_no_event(delivery):
    """The change holds from the end that the journal had, whoever is the first to publish it, and when."""
    world = World("one")
    events = [event for number in range(5) for event in chain(f"p-{number}", 1)]
    world.journal.append(events)
    former = Former(Definition("one", kinds=["organization"], delivery=delivery), {"person": [2]})
    kinds = {"kinds": ["organization", "person"], "delivery": delivery}
    world.subscriptions.set("one", definition=kinds, begin={"organization": [0]}, former=[former])
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 3))
    assert await world.cids("one") == shown(events[2:])


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_a_kind_that_is_added_while_the_first_publisher_opens_loses_no_event(delivery, monkeypatch):
    """Goes red when who wanted the kind before is asked, and where the journal ends only then."""
    world = World("one")
    events = [event for number in range(5) for event in chain(f"p-{number}", 1)]
    world.journal.append(events[:2])
    organizations = {"kinds": ["organization"], "delivery": delivery}
    world.subscriptions.set("one", definition=organizations, begin={"organization": [0]})
    former = Former(Definition("one", **organizations), {"person": [2]})
    progress = KafkaPublishLog.progress

    async def changed_meanwhile(self, **asked):
        found = await progress(self, **asked)
        if len(world.journal.records) == 2:
            both = {**organizations, "kinds": ["organization", "person"]}
            world.subscriptions.set("one", definition=both, begin={"organization": [0]}, former=[former])
            world.journal.append(events[2:])
        return found

    monkeypatch.setattr(KafkaPublishLog, "progress", changed_meanwhile)
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 3))
    assert await world.cids("one") == shown(events[2:])


async def test_the_progress_that_a_subscription_is_put_with_is_known_where_the_first_publisher_opens(monkeypatch):
    """Goes red when it is not there and is written anew: answers from before the subscription was put count again."""
    world = World("other", "all")
    world.journal.append(chain("p-1", 2))
    world.subscriptions.set("other", definition={"kinds": ["organization"]}, begin={"organization": [0]})
    for _ in range(2):
        await world.send("acks.all", b"p-1", b"no answer")
    progress, put = KafkaPublishLog.progress, []

    async def put_meanwhile(self, **asked):
        found = await progress(self, **asked)
        if not put and asked.get("is_settled", True):
            put.append("all")
            before = world.model.logs["acks.all", 0].stable
            await world.write_progress("all", Progress(2, None, 1, acks=before))
            world.subscriptions.set("all", definition={"delivery": "acknowledged"}, begin={"person": [2]})
        return found

    monkeypatch.setattr(KafkaPublishLog, "progress", put_meanwhile)
    async with world.shard() as shard, world.publisher(shard):
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, "all", 1))
        (record,) = await world.received("all")
        await answer(world, record)
        await eventually(lambda: is_answered(world))
    assert world.counts.results.total() == 1


async def test_the_first_publisher_that_is_overtaken_while_it_opens_finds_no_loss(monkeypatch):
    """Goes red when how far its successor came is compared with where the journal ended before: it stopped.

    There is no event yet, only aborted transactions.
    """
    world, events = World("all"), chain("p-1", 3)
    await world.subscribe("all")
    progress, asks = KafkaPublishLog.progress, []

    async def overtaken(self, **asked):
        asks.append(asked)
        if asks == [{"is_settled": False}, {}, {}]:  # it knows where the journal ends
            for _ in range(3):
                world.journal.mark()
            async with world.publisher(shard) as successor:
                await eventually(lambda: is_live_at(world, 3))
                assert successor.position == 3
        return await progress(self, **asked)

    monkeypatch.setattr(KafkaPublishLog, "progress", overtaken)
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: publisher.phase in {"publishing", "stopped"})
        assert publisher.phase == "publishing", publisher.reason
        world.journal.append(events)
        await eventually(lambda: has(world, "all", 3))
    assert await world.cids("all") == shown(events)


async def is_live_at(world, position):
    return (await progress_of(world)).get(LIVE, {}).get("position") == position


async def is_answered(world):
    return world.counts.results.total() > 0


async def test_a_kind_that_came_later_is_published_from_its_beginning_to_who_asked_for_all():
    world = World("one")
    events = chain("p-1", 3)
    world.journal.append(events)
    world.subscriptions.set("one", begin={"organization": [0]})
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 3))
    assert await world.cids("one") == shown(events)


async def test_an_expression_that_fails_does_not_match_and_is_counted():
    world = World("one")
    world.journal.append([*chain("p-1", 1, data={"name": "Ada"}), *chain("p-2", 1, data={"x": 1})])
    await world.subscribe("one", filters=[{"cel": "data.name.startsWith('A')"}])
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: reached(publisher, 2))
        await eventually(lambda: has(world, "one", 1))
    assert len(await world.cids("one")) == 1
    assert world.counts.failures == {"one": 1}


@pytest.mark.parametrize("dialect", ["exact", "cel"])
async def test_the_content_type_is_an_attribute_as_any_other(dialect):
    """CloudEvents' `datacontenttype`, which the Kafka binding puts into a header of another name."""
    wanted = "application/vnd.ipld.dag-cbor"
    test = {"cel": f"event.datacontenttype == '{wanted}'"}
    if dialect == "exact":
        test = {"exact": {"datacontenttype": wanted}}
    world = World("data", "block")
    world.journal.append(chain("p-1", 2))
    await world.subscribe("data", filters=[{"not": test}])
    await world.subscribe("block", filters=[test], payload="block")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "data", 2))
        await eventually(lambda: has(world, "block", 2))
    types = {name: (await world.received(name))[0][2]["content-type"] for name in ("data", "block")}
    assert types == {"data": b"application/json", "block": wanted.encode()}


async def reached(publisher, position):
    return publisher.position >= position


NESTED = "data.l.all(a, data.l.all(b, data.l.all(c, data.l.all(d, a + b + c + d >= 0))))"
"""Over its budget on a list of forty."""


@asynccontextmanager
async def paused_over_its_budget():
    """A world whose subscription `one` is paused at the second of three events, which `other` has; the events."""
    world = World("one", "other")
    events = [*chain("p-1", 1), *chain("p-2", 1, data={"l": list(range(40))}), *chain("p-3", 1)]
    world.journal.append(events)
    await world.subscribe("one", filters=[{"any": [{"cel": NESTED}, {"exact": {"subject": "p-1"}}]}])
    await world.subscribe("other")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "other", 3))
        await until(lambda: "one" in world.subscriptions.paused)
        yield world, events


async def test_an_expression_over_its_budget_pauses_its_subscription_and_no_other():
    async with paused_over_its_budget() as (world, events):
        pass  # its definition stays
    assert "budget" in world.subscriptions.paused["one"]
    assert await world.cids("one") == shown(events[:1])


async def test_a_definition_that_is_put_while_the_one_before_it_is_being_paused_stays_active(monkeypatch):
    """Goes red when what mends a subscription is paused for what it mends."""
    world = World("one")
    world.journal.append(chain("p-1", 2, data={"l": list(range(40))}))
    pause = world.subscriptions.pause

    async def after_a_change(name, *found):
        world.subscriptions.set(name, definition={"filters": []})
        await pause(name, *found)

    monkeypatch.setattr(world.subscriptions, "pause", after_a_change)
    await world.subscribe("one", filters=[{"cel": NESTED}])
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 2))
    assert world.subscriptions.paused == {}


async def test_nothing_is_written_before_somebody_subscribes():
    world = World("one")
    world.journal.append(chain("p-1", 3))
    async with world.shard() as shard, world.publisher(shard) as publisher:

        async def is_idle():
            return publisher.reason == "there are no subscriptions"

        await eventually(is_idle)
        assert publisher._writer is None
        assert publisher.problem is None
        await world.subscribe("one")
        await eventually(lambda: has(world, "one", 3))


async def test_why_progress_cannot_be_read_is_said_while_it_is_tried_again(monkeypatch):
    """A broker that ends while it writes the markers of a transaction can leave that open for good."""
    monkeypatch.setattr(settled_ends, "SETTLED_WITHIN_S", 0.01)
    world = World("one")
    await world.subscribe("one")
    network = Mortal()
    network.left = 4  # behind its records, before its end
    writing = asyncio.create_task(write_by(network, world))
    await network.died.wait()
    told = []
    async with world.shard() as shard, world.publisher(shard) as publisher:
        until_current = world.subscriptions.until_current  # asked whenever it opens, before progress

        async def counted():
            told.append(publisher.problem)
            await until_current()

        async def is_tried_again():
            return len(list(filter(None, told))) >= 2

        monkeypatch.setattr(world.subscriptions, "until_current", counted)
        await eventually(is_tried_again)
    writing.cancel()
    assert all("a transaction has been open" in each and "find-hanging" in each for each in filter(None, told))


async def write_by(network, world):
    writer = TransactionalWriter(world.options(network), "annals-somebody", ["progress"])
    await writer.fence()
    batch = RecordBatch()
    batch.fill([(b"x", b"", NO_TIMESTAMP, encode_headers([]))], 0, 1 << 20)
    await writer.commit({TopicPartition("progress", 0): [batch]}, Offsets("g", "progress", 0, 0, ""), {})


async def test_progress_of_another_journal_stops_the_publisher():
    world = World("one")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("one")
    await world.write_progress(LIVE, Progress(2, b"\x01\x71\x1e\x20" + bytes(32)))
    async with world.shard() as shard, world.publisher(shard) as publisher:

        async def is_stopped():
            return publisher.phase == "stopped"

        await eventually(is_stopped)
        assert "another journal" in publisher.reason
        assert publisher.problem == f"person-0 is not published: {publisher.reason}"
    await world.write_progress(LIVE, Progress(20))
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(is_stopped)
        assert "ends at 3" in publisher.reason


async def test_a_topic_that_is_gone_pauses_its_subscription_and_no_other(monkeypatch):
    monkeypatch.setattr("annals.workers.kafka.connections.TOPIC_WITHIN_S", 0.05)
    world = World("other")
    world.journal.append(chain("p-1", 3))
    await world.subscribe("gone")
    await world.subscribe("other")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "other", 3))

        async def is_paused():
            return "gone" in world.subscriptions.paused

        await eventually(is_paused)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_topic_that_lost_its_end_pauses_its_subscription_and_no_other(version):
    world = World("cut", "other", version=version)
    events = chain("p-1", 8)
    world.journal.append(events[:4])
    await world.subscribe("cut")
    await world.subscribe("other")

    async def is_paused():
        return "cut" in world.subscriptions.paused

    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "cut", 4))
        world.model.logs["subscribers.cut", 0].truncate(0)
        world.journal.append(events[4:6])
        await eventually(is_paused)
        await eventually(lambda: has(world, "other", 6))
        assert len(await world.cids("cut")) < 4
        assert "lost its end" in world.subscriptions.paused["cut"]
        world.subscriptions.set("cut", definition={"status": "active"}, reason=None)  # somebody has looked after it
        world.journal.append(events[6:])
        await eventually(lambda: has(world, "other", 8))
        await eventually(lambda: has(world, "cut", 4))
    assert await world.cids("other") == shown(events)
    assert await world.cids("cut") == shown(events[4:])


async def test_a_subscription_that_begins_anew_may_have_a_new_topic():
    world = World("one")
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    await world.subscribe("one")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "one", 3))
        world.model.logs["subscribers.one", 0].truncate(0)
        await world.write_progress("one", Progress(0, None, 2))
        world.subscriptions.set("one", incarnation=2)
        world.journal.append(events[3:])
        await eventually(lambda: has(world, "one", 6))
    assert world.subscriptions.paused == {}
    assert await world.cids("one") == shown(events)


async def test_progress_that_lost_its_end_stops_the_publisher():
    world = World("one")
    events = chain("p-1", 6)
    world.journal.append(events[:3])
    await world.subscribe("one")
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: has(world, "one", 3))
        world.model.logs["progress", 0].truncate(0)
        world.journal.append(events[3:])

        async def is_stopped():
            return publisher.phase == "stopped"

        await eventually(is_stopped)
        assert "progress-0 ends at offset" in publisher.reason
    assert await world.cids("one") == shown(events[:3])


async def test_a_subscription_that_could_not_go_on_goes_on_by_its_changed_definition():
    """Goes red when the event at which it stopped is judged by the definition that stopped there, for ever."""
    async with paused_over_its_budget() as (world, events):
        kept = world.subscriptions.all()["one"]
        made = put(kept, Definition("one"), {}, {"person": [3]}, {"person": [1]}, has_topic=True)
        world.subscriptions.set("one", definition={"filters": [], "status": "active"}, former=made.record.former)
        await eventually(lambda: has(world, "one", 3))
    assert await world.cids("one") == shown(events)


async def test_a_selective_catch_up_commits_what_is_enough_for_a_transaction_and_not_each_run(monkeypatch):
    monkeypatch.setattr("annals.agents.publishing.publisher.RUN_EVENTS", 10)
    monkeypatch.setattr("annals.agents.publishing.joining.RUN_EVENTS", 10)
    world = World("all", "few")
    events = [event for number in range(500) for event in chain(f"p-{number}", 1)]
    world.journal.append(events)
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, "all", 500))
        await eventually(lambda: is_without_its_own(world, "all"))
        before = len(await world.received("", "progress"))
        await world.subscribe("few", filters=({"suffix": {"subject": "00"}},))
        await eventually(lambda: is_without_its_own(world, "few"))
        committed = len(await world.received("", "progress")) - before
    assert await world.cids("few") == shown([event for event in events if event.key.endswith(b"00")])
    assert committed <= 8, "500 events were 50 runs"


async def test_who_was_behind_publishes_nothing_once_another_has_it_live():
    """As a worker that was frozen goes on: goes red when no progress is taken for none that anybody has written."""
    world = World("all")
    events = chain("p-1", 4)
    world.journal.append(events)
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: is_live(world, "all"))
        kept, counts = world.subscriptions.all()["all"], Fenced()
        pace = Pace(Clock(), structlog.get_logger(), 2, "events")
        who = Subscribed(kept, "person", 0), Progress(0, None, 1), shard, REGISTRY["person"]
        frozen = CatchUp(*who, world.logs().catching_up("all"), lambda: 4, Share(Clock()), counts, pace)
        running = asyncio.create_task(frozen.run())
        await asyncio.wait([running, told := asyncio.create_task(counts.told.wait())], return_when="FIRST_COMPLETED")
        frozen.stop()
        told.cancel()
        await running
    assert await world.cids("all") == shown(events)
    assert not frozen.has_reached
    assert await positions_of(world) == {"live": 4}


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_where_somebody_begins_without_progress_it_is_written_before_what_is_live_passes_it(delivery):
    """As behind a topic of progress that somebody deleted: goes red when the next owner takes the rest for published.

    Else what is live is at the journal's end in a transaction of its own, and the next owner takes it for the whole.
    """
    world = World("all", "paused")
    world.journal.append(chain("p-1", 3))
    world.subscriptions.set("all", definition={"delivery": delivery})
    world.subscriptions.set("paused", definition={"status": "paused"})
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: is_written(world))
    first = [key for key, _, _ in await world.received("", "progress")][:3]
    assert {key.split(b"/")[0] for key in first} == {b"all", b"paused", b"live"}
    assert (await positions_of(world))["paused"] == 0


async def is_written(world):
    return LIVE in await positions_of(world)


async def is_live(world, name):
    return (await positions_of(world)).keys() == {LIVE} and await has(world, name, 1)


class Fenced(Counts):
    """Tells when a writer was fenced."""

    def __init__(self):
        super().__init__()
        self.told = asyncio.Event()

    def fenced(self):
        self.told.set()


@pytest.mark.parametrize("delivery", ["stream", "acknowledged"])
async def test_one_that_is_fenced_again_and_again_says_so(delivery, monkeypatch):
    """As by another deployment of these journals: goes red when each does one thing in its turn, and both are ready."""
    monkeypatch.setattr(backoff, "LASTING_S", 2.0)
    # One that only commits its position finds out with that, and the other one after it: far more often than LASTING_S.
    monkeypatch.setattr("annals.agents.publishing.publisher.IDLE_COMMIT_S", 0.1)
    world = World("all")
    await world.subscribe("all", delivery=delivery)
    fought = 0

    async def is_told(*publishers):
        nonlocal fought
        fought += 1
        world.journal.append(chain(f"p-{fought}", 1))
        return all(each.problem for each in publishers)

    async def is_over(publisher):
        await is_told()
        return publisher.problem is None

    async with world.shard() as shard, world.publisher(shard) as one:
        async with world.publisher(shard) as other:
            await eventually(lambda: is_told(one, other))
            assert "another worker writes" in one.problem
            assert "again and again" in one.problem or "person-0 for all" in one.problem
        await eventually(lambda: is_over(one))
        await eventually(lambda: has(world, "all", fought))
    cids = await world.cids("all")
    assert len(cids) == len(set(cids)) or delivery == "acknowledged"
