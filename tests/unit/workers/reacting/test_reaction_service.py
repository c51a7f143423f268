"""Reactions as they are shown, paused and resumed, and followed by others: on a log in memory."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from annals.schemas.progress import LIVE, Progress
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.kafka.read import followed_topic, newest_records
from annals.workers.kafka.write.transaction import TransactionalWriter
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import compacted_views
from annals.workers.reacting.controls_topic import ControlsWriter, FollowedControls
from annals.workers.reacting.service import NEVER_RESUMED, ReactionService
from annals.workers.settings import Settings
from chained import chain
from publishing import NAMES, World, eventually
from reactors import COUNTING

REACTIONS = {name: replace(COUNTING, name=name) for name in ("counting", "other", "third")}


class Administered(World):
    """A cluster with topics, and what administers the reactions in it."""

    def __init__(self, *topics):
        super().__init__()
        self.model = MemoryCluster({name: Topic(1) for name in (*topics, "events.person")}, transaction_version=2)
        self.service = ReactionService(Settings(), self.options(), REACTIONS)


async def test_the_progress_is_read_once_for_all_reactions(monkeypatch):
    """Goes red when each reaction that is listed has the whole topic of progress read again."""
    world, read = Administered("progress", "reactions"), []

    def read_range(client, where, *more, **options):
        read.append(where)
        return reading(client, where, *more, **options)

    reading = newest_records.read_range
    monkeypatch.setattr(newest_records, "read_range", read_range)
    await world.write_progress("reaction:other", Progress(0, version=1))
    found = {each.body["name"]: each.body["positions"]["person"] for each in await world.service.all()}
    assert found == {"counting": [None], "other": [0], "third": [None]}
    assert read.count(("progress", 0)) == 1


async def test_one_that_is_up_to_date_is_no_event_behind_whatever_marks_the_ends_of_transactions():
    world = Administered("progress", "reactions")
    for name in ("p-1", "p-2"):
        (event,) = chain(name, 1)
        await world.send("events.person", event.key, event.value)  # a marker is behind it
    await world.write_progress("reaction:other", Progress(3, version=1))
    await world.write_progress("reaction:third", Progress(1, version=1))
    lags = {each.body["name"]: each.body["lag"] for each in await world.service.all()}
    assert lags == {"counting": {"events": 0}, "other": {"events": 0}, "third": {"events": 1}}


async def test_what_is_resumed_and_paused_is_answered_and_followed():
    world = Administered("progress", "reactions", "timers.counting")
    followed = FollowedControls(world.options(), NAMES)
    following = asyncio.create_task(followed.run())
    shown = await world.service.get("counting")
    assert (shown.body["status"], shown.body["reason"], shown.etag) == ("paused", NEVER_RESUMED, "none")
    resumed = await world.service.resume("counting")
    assert (resumed.body["status"], resumed.body["positions"]) == ("active", {"person": [0]})
    assert resumed.etag == "0", "that of the first record is not that of none"

    async def is_said(status):
        kept = followed.get("counting")
        return kept is not None and kept.control.status == status

    await eventually(lambda: is_said("active"))
    paused = await world.service.pause("counting", "for a while")
    assert (paused.body["status"], paused.body["reason"]) == ("paused", "for a while")
    await eventually(lambda: is_said("paused"))
    assert followed.get("other") is None
    assert followed.problem is None
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_where_it_begins_is_answered_though_anothers_transaction_began_before(monkeypatch):
    """Goes red when what was just written is read as far only as that other transaction begins: no position."""
    world = Administered("progress", "reactions", "timers.counting")
    commit, settled_bounds = ControlsWriter.commit, compacted_views.settled_bounds

    async def behind_another(*written):
        await world.leave_open(LIVE, Progress(7))
        await commit(*written)

    async def once_it_has_ended(*asked):
        another = TransactionalWriter(world.options(), "annals-killed", ["progress"])
        await another.fence()
        await another.close()
        return await settled_bounds(*asked)

    monkeypatch.setattr(ControlsWriter, "commit", behind_another)
    monkeypatch.setattr(compacted_views, "settled_bounds", once_it_has_ended)
    resumed = await world.service.resume("counting")
    assert resumed.body["positions"] == {"person": [0]}


@pytest.mark.parametrize("topic", ["reactions", "progress"])
async def test_without_its_topics_no_reaction_is_resumed_and_the_missing_one_is_named(topic):
    world = Administered(*({"reactions", "progress"} - {topic}))
    with pytest.raises(MissingTopicError, match=f"^there is no topic {topic}: "):
        await asyncio.wait_for(world.service.resume("counting"), 10)


async def test_one_whose_journal_lost_what_it_reacted_to_says_so():
    """Goes red when one that has stopped at a journal that was made anew is shown as active and not behind."""
    world = Administered("progress", "reactions", "timers.other")
    (event,) = chain("p-1", 1)
    await world.send("events.person", event.key, event.value)
    await world.service.resume("other")
    assert (await world.service.get("other")).body["reason"] in ("", None)
    await world.write_progress("reaction:other", Progress(9, version=1))
    reason = (await world.service.get("other")).body["reason"]
    assert "(partition 0 up to 9): its end was cut off, or it was made anew" in reason
    assert "give the reaction another name" in reason


async def test_one_that_failed_says_in_which_partition_and_why():
    world = Administered("progress", "reactions", "timers.other")
    await world.service.resume("other")
    assert (await world.service.get("other")).body["failed"] == []
    reason = "person 'p-1' version 1, offset 0: ValueError at mine:7"
    await world.write_progress("reaction:other", Progress(0, version=1, failure=reason))
    assert (await world.service.get("other")).body["failed"] == [{"kind": "person", "partition": 0, "reason": reason}]
    assert [len(each.body["failed"]) for each in await world.service.all()] == [0, 1, 0]
    await world.write_progress("reaction:other", Progress(1, version=2))
    (failed,) = (await world.service.get("other")).body["failed"]
    assert failed["reason"] == "version 2 has run here, and this release has version 1: run the newer one"


@pytest.mark.parametrize("exception", [MissingTopicError("reactions"), TopicAuthorizationFailedError("reactions")])
async def test_reactions_that_run_are_held_up_once_where_their_topic_cannot_be_read_any_more(monkeypatch, exception):
    """Goes red when everything that is read is held up for as long as what was known holds, again and again."""
    monkeypatch.setattr(followed_topic, "RETRY_S", 0.01)
    now, failures = [0.0], []
    monkeypatch.setattr(followed_topic, "loop_time", lambda: now[0])
    world = Administered("progress", "reactions")
    followed = FollowedControls(world.options(), NAMES)
    following = asyncio.create_task(followed.run())
    await world.service.resume("counting")
    await eventually(lambda: is_known(followed))

    async def fail(*_):
        failures.append(exception)
        raise exception

    monkeypatch.setattr(followed_topic, "list_offsets", fail)
    monkeypatch.setattr(followed_topic, "settled_bounds", fail)
    await eventually(lambda: has_failed(failures))
    monkeypatch.setattr(followed_topic, "HOLDS_S", 3_600.0)
    now[0] += followed_topic.HOLDS_S
    async with asyncio.timeout(30):
        await followed.until_current()
    assert followed.get("counting").control.status == "active", "what was known holds"
    is_right = isinstance(exception, TopicAuthorizationFailedError)
    told = "reactions cannot be read: the user needs Read on the topic: reactions" if is_right else None
    assert followed.problem == told
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def has_failed(failures):
    return len(failures) > 2


async def is_known(followed):
    return followed.get("counting") is not None
