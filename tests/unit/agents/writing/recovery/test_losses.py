"""What was acknowledged must be in the journal: its last event, wherever it stands; an end can be lifted."""

import pytest

from annals.agents.ports import Ends, LostEndError, UncertainError
from annals.agents.writing.recovery.losses import Known
from annals.agents.writing.shards.shard import Phase
from annals.schemas.cid import cid_of, cid_text
from annals.topics.group_metadata import EventAt, GroupMetadata, RecordAt, digest_of
from annals.workers.stores.memory import MemoryStore
from shard_scene import Scene, patience, running  # noqa: F401 - `patience` is for all tests here

GONE = cid_of(b"an event that was acknowledged")


def persons(scene: Scene, *numbers: int) -> list[bytes]:
    """Registrations in the journal, each with a marker behind it."""
    cids = []
    for number in numbers:
        cids.append(scene.log.append(aggregate_id=f"p-{number}", command_id=f"c-{number}"))
        scene.log.lift("events", scene.log.end + 1)
    return cids


async def stopped(scene: Scene) -> str:
    async with running(scene):
        await scene.until(Phase.STOPPED)
    return scene.shard.reason


def remembered(scene: Scene, metadata: GroupMetadata, committed: int = 0) -> None:
    scene.log.remember(committed, metadata)


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("offset", [1, 2, 9])
async def test_a_last_event_that_is_not_there_stops_it_however_far_the_journal_reaches(offset, lifted):
    scene = Scene()
    persons(scene, 0, 1)
    if lifted:
        scene.log.lift("events", 90)
    remembered(scene, GroupMetadata(11, EventAt(offset, GONE)))
    reason = await stopped(scene)
    assert f"{cid_text(GONE)} at offset {offset}" in reason
    assert f"ends at offset {90 if lifted else 4}" in reason
    assert "it reached 11 before" in reason
    assert scene.log.calls.count("commit") == 0


async def test_a_last_event_that_stands_elsewhere_was_restored():
    scene = Scene()
    first, last = persons(scene, 0, 1)
    remembered(scene, GroupMetadata(41, EventAt(38, last)))
    scene.command("Bea", type_="RenamePerson", aggregate_id="p-1")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.log.metadata == GroupMetadata(
        6,
        EventAt(4, cid_of(scene.log.journal[-1].value)),
        0,
        RecordAt(0, digest_of(scene.commands[0].value)),
        RecordAt(0, digest_of(scene.log.last_outcome)),
    )
    assert first != last


async def test_what_a_commit_without_events_says_is_the_last_event_all_the_same():
    scene = Scene()
    (last,) = persons(scene, 1)
    scene.command("Bea")
    scene.log.write(("events.person", 0), b"p-1", b"foreign")
    async with running(scene):
        assert await scene.answered(1) == ["rejected"]
    assert scene.log.metadata[:2] == (3, EventAt(0, last))


async def test_a_batch_below_the_known_end_stops_it_before_a_fence_can_hide_that():
    scene = Scene()
    (last,) = persons(scene, 0)
    scene.log.failures = [("before", LostEndError("events.person-0 ends at offset 0", 0))]
    scene.command("Ada")
    reason = await stopped(scene)
    assert f"ends at offset 0, and it reached 2 before, its last event being {EventAt(0, last)}" in reason
    assert scene.log.calls.count("fence") == 1
    assert scene.log.outcomes == []


async def test_a_journal_that_lost_nothing_but_what_was_behind_its_last_event_is_read_again():
    scene = Scene()
    (first,) = persons(scene, 0)
    scene.log.write(("events.person", 0), b"p-1", b"foreign")
    async with running(scene):
        await scene.until(Phase.OPEN)
        scene.log.cut("events", 2)
        scene.command("Bea", aggregate_id="p-9")
        assert await scene.answered(1) == ["accepted"]
    assert cid_of(scene.log.journal[0].value) == first


async def test_an_outcome_that_was_cut_off_before_anybody_looked_at_the_end_is_missed():
    scene = Scene()
    async with running(scene):
        await scene.until(Phase.OPEN)
        scene.command("Ada")
        await scene.until_it(lambda: scene.told.batches == 1)
        scene.log.cut("outcomes", 0)
        scene.shard.compare(scene.shard.ends(), scene.ends())
        await scene.until(Phase.STOPPED)
    assert "end at offset 0 and lack what was acknowledged" in scene.shard.reason


async def test_what_this_worker_knew_is_asked_for_after_an_uncertain_end_too():
    scene = Scene()
    scene.log.failures = [("", None), ("before", UncertainError("no answer"))]
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        scene.log.cut("events", 0)
        scene.log.lift("events", 61)
        scene.log.failures = [("before", UncertainError("no answer"))]
        scene.command("Bea", type_="RenamePerson")
        await scene.until(Phase.STOPPED)
    assert "at offset 0" in scene.shard.reason
    assert scene.log.calls.count("commit") == 2


@pytest.mark.parametrize(("end", "offset"), [(41, 38), (43, 38), (53, 50)])
async def test_what_a_person_gave_up_is_not_asked_for(end, offset):
    """Goes red when this worker, which alone saw a marker or an event behind it, stops for the same loss once more."""
    scene = Scene(known=Known(end, EventAt(offset, GONE)))
    (last,) = persons(scene, 5)
    remembered(scene, GroupMetadata(2, EventAt(0, last), 41))
    scene.command("Bea", type_="RenamePerson", aggregate_id="p-5")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.log.metadata.accepted_until == 41


async def test_an_event_behind_what_a_person_gave_up_is_asked_for():
    scene = Scene(known=Known(43, EventAt(41, GONE), 41))
    (last,) = persons(scene, 5)
    remembered(scene, GroupMetadata(2, EventAt(0, last), 41))
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "it reached 43 before" in scene.shard.reason


async def test_what_this_worker_wrote_since_a_person_gave_up_what_was_there_is_asked_for():
    scene = Scene()
    (last,) = persons(scene, 5)
    accepted = GroupMetadata(2, EventAt(0, last), 1)
    remembered(scene, accepted)
    scene.command("Bea", type_="RenamePerson", aggregate_id="p-5")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
        scene.log.cut("events", 2)
        remembered(scene, accepted)  # and the group's offset is the one before
        scene.log.failures = [("before", UncertainError("no answer"))]
        scene.command("Eve", type_="RenamePerson", aggregate_id="p-5")
        await scene.until(Phase.STOPPED)
    assert "it reached 4 before" in scene.shard.reason


async def folded(scene: Scene) -> MemoryStore:
    async with running(scene):
        await scene.until(Phase.OPEN)
    return scene.stores.store


async def test_words_of_a_later_release_outlast_our_commits():
    scene = Scene()
    _, last = persons(scene, 0, 1)
    remembered(scene, GroupMetadata(4, EventAt(2, last), others="later=somewhere"))
    scene.command("Bea", type_="RenamePerson", aggregate_id="p-1")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.log.metadata.journal_end == 6
    assert scene.log.metadata.others == "later=somewhere"


async def test_an_end_that_is_cut_exactly_at_the_marker_stops_it():
    scene = Scene()
    _, last = persons(scene, 0, 1)
    remembered(scene, GroupMetadata(4, EventAt(2, last)))
    scene.log.cut("events", 2)
    scene.log.hold_up("events")  # a record is there, in a transaction that never ends
    assert "ends at offset 3, and it reached 4 before" in await stopped(scene)


@pytest.mark.parametrize("offset_is_lost", [False, True])
async def test_a_store_that_has_more_of_this_journal_is_not_stale_but_the_journal_is_lost(offset_is_lost):
    before, scene = Scene(), Scene()
    kept, _ = persons(before, 0, 1)
    scene.stores.store = await folded(before)
    persons(scene, 0)
    if not offset_is_lost:
        remembered(scene, GroupMetadata(2, EventAt(0, kept)))
    reason = await stopped(scene)
    assert "ends at offset 2 (so the store in the data directory says" in reason
    assert scene.stores.renewed == 0


async def test_an_event_that_does_not_count_hides_no_loss():
    """Goes red when a store that does not know the journal's first event is taken for one of another journal."""
    before, scene = Scene(), Scene()
    for each in before, scene:
        each.log.append(aggregate_id="p-9", command_id="c-9", key=b"p-8")
    persons(before, 0, 1)
    scene.stores.store = await folded(before)
    persons(scene, 0)  # the group's offset is lost as well
    assert "so the store in the data directory says" in await stopped(scene)
    assert scene.stores.renewed == 0


async def test_a_store_of_a_journal_that_is_empty_now_is_stale_only_without_outcomes():
    before = Scene()
    persons(before, 0, 1)
    store = await folded(before)
    scene = Scene()
    scene.stores.store = store
    scene.log.lift("outcomes", 7)
    assert "ends at offset 0" in await stopped(scene)
    other = Scene()
    other.stores.store = store
    await folded(other)
    assert other.stores.renewed == 1


@pytest.mark.parametrize("metadata", [GroupMetadata(3, None, 4), GroupMetadata(5, EventAt(3, GONE))])
async def test_a_store_that_a_person_or_the_offset_overrules_is_folded_anew(metadata):
    before, scene = Scene(), Scene()
    persons(before, 0, 1)
    scene.stores.store = await folded(before)
    persons(scene, 0)
    if metadata.last:
        scene.log.lift("events", 3)
        metadata = metadata._replace(last=EventAt(3, scene.log.append(aggregate_id="p-7", command_id="c-7")))
    remembered(scene, metadata._replace(journal_end=2))
    await folded(scene)
    assert scene.stores.renewed == 1


async def test_a_store_whose_last_record_moved_is_folded_anew():
    before, scene = Scene(), Scene()
    persons(before, 0, 1)
    scene.stores.store = await folded(before)
    scene.log.restore(before.log.journal)
    await folded(scene)
    assert scene.stores.renewed == 1


@pytest.mark.parametrize(
    ("answered", "is_open"),
    [
        (Ends(0, 0, 0, 1), True),  # of before the commit
        (Ends(1, 2, 0, 1), False),
        (Ends(0, 1, 0, 1), True),  # the marker is not written yet
        (Ends(0, 2, 0, 0), False),
    ],
)
async def test_an_answer_is_compared_with_what_was_known_when_it_was_asked_for(answered, is_open):
    scene = Scene()
    scene.log.lift("commands", 1)
    async with running(scene):
        await scene.until(Phase.OPEN)
        asked = scene.shard.ends()
        scene.command("Ada")
        await scene.answered(1)
        await scene.until_it(lambda: scene.told.batches == 1)
        scene.shard.compare(asked, answered)
        assert (scene.shard.phase is Phase.OPEN) is is_open


async def test_a_front_that_was_deleted_under_it_stops_it():
    scene = Scene()
    persons(scene, 0)
    async with running(scene):
        await scene.until(Phase.OPEN)
        scene.log.expire("events", 1)
        scene.shard.compare(scene.shard.ends(), scene.ends())
        assert scene.shard.phase is Phase.OPENING
        await scene.until(Phase.STOPPED)
    assert "begins at offset 1 instead of 0" in scene.shard.reason


@pytest.mark.parametrize(("decides", "words"), [(False, ", and they reached 5"), (True, " and lack what was")])
@pytest.mark.parametrize("role", ["outcomes", "commands"])
async def test_ends_of_commands_and_outcomes_that_were_seen_are_asked_for(role, decides, words):
    scene = Scene()
    for each in ("outcomes", "commands"):
        scene.log.lift(each, 5)
    remembered(scene, GroupMetadata(0), 5)
    if decides:
        scene.command("Ada")
    async with running(scene):
        await scene.until(Phase.OPEN)
        await scene.until_it(lambda: scene.told.batches == decides)
        scene.log.cut(role, 3)
        scene.shard.compare(scene.shard.ends(), scene.ends())
        await scene.until(Phase.STOPPED)
    assert f"end at offset 3{words}" in scene.shard.reason


def cut_commands(scene):
    scene.log.cut("commands", 0)


def expire_commands(scene):
    scene.log.expire("commands", 1)


def lift_outcomes(scene):
    scene.log.lift("outcomes", 9)


def hide_outcomes(scene):
    scene.log.hold_up("outcomes")


def expire_outcomes(scene):
    scene.log.lift("outcomes", 9)
    scene.log.expire("outcomes", 1)


@pytest.mark.parametrize(
    ("topic", "happen", "is_lost"),
    [
        ("command", None, True),
        ("command", cut_commands, True),
        ("command", expire_commands, False),
        ("outcome", lift_outcomes, True),
        ("outcome", None, True),
        ("outcome", hide_outcomes, False),  # a stranger's open transaction hides it
        ("outcome", expire_outcomes, False),
    ],
)
async def test_the_last_command_and_outcome_must_be_there_unless_they_expired(topic, happen, is_lost):
    scene = Scene()
    scene.command("Ada")
    at = RecordAt(0, digest_of(b"another one"))
    remembered(scene, GroupMetadata(0, **{topic: at}), 1)
    if happen is not None:
        happen(scene)
    async with running(scene):
        await scene.until(Phase.STOPPED if is_lost else Phase.OPEN)
    if is_lost:
        assert f"the {topic}s of person, partition 0, end at offset" in scene.shard.reason
        assert str(at) in scene.shard.reason


async def test_after_the_brokers_were_away_nothing_is_decided_before_the_last_command_was_seen():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        scene.shard.acknowledged.doubt()
        scene.command("Bea", type_="RenamePerson")
        await scene.answered(2)
        scene.shard.acknowledged.doubt()
        scene.log.cut("commands", 1)
        scene.log.write(("commands.person", 0), b"p-1", b"another one")
        scene.command("Cleo", type_="RenamePerson")
        await scene.until(Phase.STOPPED)
    assert len(scene.log.outcomes) == 2
