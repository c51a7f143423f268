"""A shard over a log in memory: it opens in order, proves itself, survives what goes wrong, and stops where it must."""

import asyncio

import orjson
import pytest
from structlog.testing import capture_logs

from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import (
    CopyRecord,
    Delivery,
    FencedError,
    OutcomeRecord,
    OutlastedError,
    StaleStateError,
    StoppedError,
    UncertainError,
    UnreachableError,
)
from annals.agents.record_sizes import HEADER_BYTES
from annals.agents.waiting_records import HIGH_BYTES
from annals.agents.writing.shards.command_queue import CommandQueue
from annals.agents.writing.shards.shard import Phase
from annals.schemas.chain import read_block
from annals.schemas.cid import cid_of, cid_text
from annals.testing import MemoryCommandSource, MemoryStore
from annals.topics.encoded_headers import EncodedHeaders
from annals.topics.group_metadata import GroupMetadata
from annals.workers.memory.partition import PartitionLog, Rules
from shard_scene import PERSON, TOPIC, Record, Scene, misplaced, patience, running  # noqa: F401 - `patience` is for all tests here


async def test_it_fences_before_it_looks_and_folds_before_it_takes_commands():
    scene = Scene()
    scene.log.append()
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.log.calls[:4] == ["fence", "look", "read", "commit"]
    assert read_block("person", scene.log.journal[1].value)["version"] == 2


async def test_after_an_uncertain_end_that_was_a_commit_nothing_is_decided_twice():
    scene = Scene()
    scene.log.failures = [("after", UncertainError("no answer"))]
    scene.command("Ada")
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        await scene.answered(2)
        await scene.until(Phase.OPEN)
        scene.command("Cleo", type_="RenamePerson")
        assert await scene.answered(3) == ["accepted"] * 3
    assert len(scene.log.journal) == 3
    assert scene.told.aborts == 1
    assert scene.log.calls.count("fence") == 2


async def test_after_an_uncertain_end_that_was_none_all_is_decided_again():
    scene = Scene()
    scene.log.failures = [("before", UncertainError("refused"))]
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert len(scene.log.journal) == 1
    assert scene.source.begins == [0, 0]


async def sizes(scene, monkeypatch):
    """How many commands each commit had, as they come."""
    commit, found = scene.log.commit, []

    async def counting(writes, next_offset, expected_base, known):
        found.append(writes._outcomes.count)
        return await commit(writes, next_offset, expected_base, known)

    monkeypatch.setattr(scene.log, "commit", counting)
    return found


async def test_a_batch_that_outlasts_its_transaction_is_halved_down_to_one_command_and_doubled_again(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))] * 4
    for number in range(20):
        scene.command("Ada", aggregate_id=f"p-{number}")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(20)
    assert found == [20, 10, 5, 2, 1, 2, 4, 8, 5]
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == [f"c-{number}" for number in range(20)]


async def test_one_command_that_outlasts_its_transaction_is_tried_again(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))] * 3
    scene.command("Ada")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(1)
    assert found == [1, 1, 1, 1]


async def test_a_fence_by_the_broker_after_its_own_timeout_is_no_other_deployment(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced", outlasted=True))] * 3
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id=f"p-{name}")
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert found == [2, 1, 1, 1, 1]


async def test_while_batches_are_halved_and_commands_wait_a_shard_says_so(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))]
    for name in ("Ada", "Bea"):
        scene.command(name, aggregate_id=f"p-{name}")
    commit, said = scene.log.commit, []

    async def asking(writes, next_offset, expected_base, known):
        said.append(scene.shard.trouble)
        return await commit(writes, next_offset, expected_base, known)

    monkeypatch.setattr(scene.log, "commit", asking)
    async with running(scene):
        await scene.answered(2)
    assert [each[:63] for each in said] == ["", "a batch of 2 commands took longer than a transaction may; batch", ""]
    assert said[1].endswith("halved to 1 until commits are quick again: too slow")
    assert scene.shard.trouble == ""


async def test_what_the_brokers_ask_to_wait_is_waited_before_a_batch_and_said(monkeypatch):
    monkeypatch.setattr("annals.agents.pace.SAID_FROM_S", 0.0)
    scene = Scene()
    scene.log.throttled = [0.1]
    scene.command("Ada")
    async with running(scene):
        await scene.until_it(lambda: "the brokers throttle this worker's writes" in scene.shard.trouble)
        assert "commit" not in scene.log.calls
        await scene.answered(1)
    assert scene.shard.trouble == ""


async def test_batches_stay_halved_while_a_quota_is_felt(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", OutlastedError("too slow"))]
    for number in range(8):
        scene.command("Ada", aggregate_id=f"p-{number}")
    scene.log.throttled = [0, 0, 0, 0.001, 0, 0.001]  # before a batch, after its failure, before and after the next
    found = await sizes(scene, monkeypatch)
    async with running(scene):
        await scene.answered(8)
    assert found == [8, 4, 4]


async def test_brokers_that_do_not_answer_are_asked_again(monkeypatch):
    scene = Scene()
    fence, tries = scene.log.fence, []

    async def unreachable():
        tries.append(1)
        if len(tries) < 4:
            raise UnreachableError("no answer from the transaction coordinator")
        await fence()

    monkeypatch.setattr(scene.log, "fence", unreachable)
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]


async def test_fenced_once_it_opens_again_when_no_rebalance_explains_it():
    scene = Scene()
    scene.log.failures = [("before", FencedError("another worker writes this journal now"))]
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.told.fences == 1


async def test_fenced_twice_within_a_minute_it_stops_and_names_the_other_deployment():
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced"))] * 2
    scene.command("Ada")
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "another deployment" in scene.shard.reason
    assert scene.log.outcomes == []


async def test_fenced_twice_over_a_minute_apart_it_goes_on(monkeypatch):
    scene = Scene()
    scene.log.failures = [("before", FencedError("fenced"))] * 2
    fenced = scene.told.fenced

    def later():
        scene.clock.advance(61)
        fenced()

    monkeypatch.setattr(scene.told, "fenced", later)
    scene.command("Ada")
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]


def without_a_beginning(scene: Scene) -> None:
    scene.log.append(aggregate_id="p-2")
    scene.log.expire("events", 1)


def cut_off(scene: Scene) -> None:
    scene.log.remember(0, GroupMetadata(9))


def with_expired_commands(scene: Scene) -> None:
    for _ in range(5):
        scene.command("Ada")
    scene.log.expire("commands", 5)


@pytest.mark.parametrize(
    ("happen", "words"),
    [
        (without_a_beginning, "begins at offset 1 instead of 0"),
        (cut_off, "ends at offset 1, and it reached 9 before"),
        (with_expired_commands, "5 offsets of commands from 0 on expired"),
    ],
)
async def test_it_stops_where_going_on_would_be_guessing(happen, words):
    scene = Scene()
    scene.log.append()
    happen(scene)
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert words in scene.shard.reason


async def test_it_goes_on_without_expired_commands_only_when_told_to():
    scene = Scene(accept_expired=True)
    with_expired_commands(scene)
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.source.begins == [5]


async def test_it_goes_on_from_the_newest_outcome_when_the_groups_offset_is_lost():
    scene = Scene()
    for name in ("Ada", "Bea"):
        scene.command(name)
    scene.log.answer(hint("c-1", 0, None, offset=1))
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.source.begins == [2]


async def test_an_outcome_that_the_journal_does_not_bear_out_passes_no_command_over():
    scene = Scene()
    for name in ("Ada", "Bea"):
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")
    scene.log.answer(hint("c-1", 2, cid_text(cid_of(b"nobody's")), status="accepted", offset=1, journal_end=99))
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.source.begins == [0]


async def test_an_end_that_only_an_outcome_knows_stops_nothing_and_is_told():
    scene = Scene()
    head = cid_text(scene.log.append())
    scene.command("Ada")
    scene.log.answer(hint("c-0", 1, head, offset=0, journal_end=9))
    with capture_logs() as said:
        async with running(scene):
            await scene.until(Phase.OPEN)
    assert scene.source.begins == [1]
    (told,) = [each for each in said if each["event"] == "an outcome says that the journal reached further"]
    assert (told["log_level"], told["said"], told["journal_end"]) == ("error", 9, 1)


async def test_it_waits_for_a_strangers_transaction_on_the_journal():
    scene = Scene()
    scene.log.append()
    stranger = scene.log.hold_up("events")
    async with running(scene):
        await scene.until_it(lambda: scene.log.calls.count("look") == 3)
        assert "transaction is open on the journal since offset 1" in scene.shard.reason
        stranger.end()
        await scene.until(Phase.OPEN)


async def test_a_gap_stops_it_at_the_place():
    scene = Scene()
    scene.log.append(version=3, previous=scene.log.append())
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "gap in the journal: person 'p-1', partition 0, offset 1: version 3" in scene.shard.reason


async def test_an_unknown_event_stops_it_with_its_place():
    scene = Scene()
    scene.log.append(type_="PersonTeleported")
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "offset 0, " in scene.shard.reason
    assert ": person event PersonTeleported" in scene.shard.reason


async def test_commands_whose_events_are_void_are_decided_again():
    scene = Scene()
    first = scene.log.append(command_id="c-0")
    scene.log.append(version=2, previous=first, name="Bea", command_id="c-1", type_="PersonRenamed")
    scene.log.append(version=2, previous=first, name="Cleo", command_id="c-2", type_="PersonRenamed")
    for name in ("Ada", "Bea", "Cleo"):
        scene.command(name, type_="RegisterPerson" if name == "Ada" else "RenamePerson")
    promised = {"version": 2, "type": "PersonRenamed", "cid": cid_text(cid_of(scene.log.journal[2].value))}
    answer = hint("c-2", 2, promised["cid"], offset=2, status="accepted", events=[promised])
    elsewhere = answer._replace(command_offset=0)  # a stranger's: that is another command
    garbage = hint("c-2", 2, cid_text(cid_of(b"nobody's")), offset=2)  # so is this: no chain ever stood there
    scene.log.answer(answer, elsewhere, garbage)
    scene.log.remember(3)
    async with running(scene):
        assert await scene.answered(1) == ["accepted"]
    assert scene.source.begins == [2]
    event = read_block("person", scene.log.journal[-1].value)
    assert (event["version"], event["command_id"]) == (3, "c-2")


async def test_a_store_that_is_no_fold_of_this_journal_is_renewed():
    scene, other = Scene(), Scene()
    other.log.append(name="Somebody else")
    async with running(other):
        await other.until(Phase.OPEN)
    scene.stores.store = other.stores.store
    scene.log.append()
    async with running(scene):
        await scene.until(Phase.OPEN)
    assert scene.stores.renewed == 1
    assert scene.stores.store.aggregate(b"p-1") is not None


async def test_through_a_rebalance_that_leaves_it_here_it_goes_on_where_it_was():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.shard.suspend()
        assert scene.shard.phase is Phase.SUSPENDED
        scene.command("Bea", type_="RenamePerson")
        scene.shard.resume()
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.calls.count("fence") == 1
    assert scene.source.begins == [0, 1]


def broken_for_defects(monkeypatch):
    decide = PERSON.decide

    def broken(command, *rest):
        if command.name.startswith("Defect"):
            raise ZeroDivisionError
        return decide(command, *rest)

    monkeypatch.setattr(PERSON, "decide", broken)


async def test_a_defect_is_answered_and_does_not_hold_up_those_behind_it(monkeypatch):
    scene = Scene()
    broken_for_defects(monkeypatch)
    scene.command("Ada")
    scene.command("Defect", type_="RenamePerson")
    scene.command("Bea", type_="RenamePerson")
    async with running(scene):
        await scene.answered(3)
        assert scene.shard.phase is Phase.OPEN
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", "rejected", "accepted"]
    assert scene.log.outcomes[1]["error"]["code"] == "internal_error"


async def test_five_defects_in_a_row_stop_it_also_over_several_batches(monkeypatch):
    scene = Scene()
    broken_for_defects(monkeypatch)
    scene.command("Ada")
    async with running(scene):
        for n in range(5):
            await scene.answered(1 + n)
            scene.command(f"Defect {n}", type_="RenamePerson")
        await scene.until(Phase.STOPPED)
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", *["rejected"] * 4]
    assert scene.log.committed == 5
    assert "offset 5: deciding a command of person failed with ZeroDivisionError at " in scene.shard.reason


async def test_a_state_that_has_no_encoding_is_a_defect_of_the_command_that_leads_there(monkeypatch):
    scene = Scene()
    encode = PERSON.encode_state

    def broken(state):
        if state.name == "Defect":
            raise OverflowError
        return encode(state)

    monkeypatch.setattr(PERSON, "encode_state", broken)
    scene.command("Ada")
    scene.command("Bea", type_="RenamePerson")
    scene.command("Defect", type_="RenamePerson")
    async with running(scene):
        await scene.answered(3)
    assert [outcome["status"] for outcome in scene.log.outcomes] == ["accepted", "accepted", "rejected"]
    assert [outcome["version"] for outcome in scene.log.outcomes] == [1, 2, 2]


async def test_what_there_is_no_time_for_is_decided_in_the_next_transaction(monkeypatch):
    monkeypatch.setattr("annals.agents.writing.batches.deciding.DECIDING_S", -1.0)
    scene = Scene()
    scene.command("Ada")
    for n in range(3 * 64):
        scene.command(f"Ada {n}", type_="RenamePerson")
    async with running(scene):
        await scene.answered(193)
    assert [outcome["version"] for outcome in scene.log.outcomes] == list(range(1, 194))
    assert scene.log.calls.count("commit") == 4


async def test_what_the_store_cannot_take_opens_it_again(monkeypatch):
    scene = Scene()
    apply, tries = MemoryStore.apply, []

    def full(store, changes):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no space left on device")
        apply(store, changes)

    monkeypatch.setattr(MemoryStore, "apply", full)
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
    assert len(scene.log.journal) == 1
    assert scene.stores.store.aggregate(b"p-1").version == 1


def lift(scene: Scene, end: int) -> None:
    """Markers and aborted records behind the last command, which a fetch passes over."""
    scene.log.lift("commands", end)
    scene.source.fetch()


async def test_nothing_is_behind_when_all_that_was_read_is_decided():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        lift(scene, 5)
        await scene.until_it(lambda: scene.shard.lag(5) == 0)
        assert scene.shard.lag(7) == 2
    assert scene.shard.lag(7) == 6


async def test_with_nothing_in_hand_it_commits_its_position_behind_markers_once():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        lift(scene, 5)
        await scene.until_it(lambda: scene.shard.lag(5) == 0)
        for _ in range(2):  # it stands still from the second look on
            scene.shard.keep_position()
        await scene.until_it(lambda: scene.log.committed == 5)
        commits = scene.log.calls.count("commit")
        for _ in range(3):
            scene.shard.keep_position()
            await asyncio.sleep(0)
        lift(scene, 7)
        scene.command("Bea", type_="RenamePerson")
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.committed == 8
    assert scene.log.calls.count("commit") == commits + 1
    assert scene.log.calls.count("fence") == 1


async def test_why_a_transaction_failed_is_forgotten_once_nothing_is_left_behind_it():
    """Goes red when an opening weeks later says why a transaction, which had been committed after all, had failed."""
    scene = Scene()
    scene.log.failures = [("after", UncertainError("no answer"))]
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until_it(lambda: scene.log.calls.count("fence") == 2 and scene.shard.phase is Phase.OPEN)
        for _ in range(2):
            scene.shard.keep_position()
        scene.shard._tell("opening again")
        assert scene.shard.trouble == ""


async def test_a_position_that_moves_is_not_committed_yet():
    scene = Scene()
    async with running(scene):
        await scene.until(Phase.OPEN)
        for position in range(1, 6):
            lift(scene, position)
            await scene.until_it(lambda: scene.shard.lag(5) == 5 - position)  # noqa: B023 - called in this turn
            scene.shard.keep_position()
            await asyncio.sleep(0)
    assert "commit" not in scene.log.calls


async def test_a_position_is_committed_only_while_the_shard_is_open():
    scene = Scene()
    async with running(scene):
        await scene.until(Phase.OPEN)
        lift(scene, 5)
        await scene.until_it(lambda: scene.shard.lag(5) == 0)
        await scene.shard.suspend()
        for _ in range(3):
            scene.shard.keep_position()
            await asyncio.sleep(0)
        assert "commit" not in scene.log.calls
        scene.shard.resume()
        await scene.until_it(lambda: scene.shard.lag(5) == 0)
        for _ in range(2):
            scene.shard.keep_position()
        await scene.until_it(lambda: scene.log.committed == 5)


async def test_an_offset_without_our_metadata_is_committed_with_it_once_nothing_is_in_hand():
    scene = Scene()
    scene.log.lift("commands", 5)
    scene.log.remember(5)
    async with running(scene):
        await scene.until(Phase.OPEN)
        for _ in range(2):
            scene.shard.keep_position()
        await scene.until_it(lambda: scene.log.metadata.journal_end == 0)
    assert scene.log.calls.count("commit") == 1


async def test_what_somebody_else_writes_beside_an_open_shard_is_read_at_once():
    scene = Scene()
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        await scene.until(Phase.OPEN)
        scene.shard.compare(scene.shard.ends(), scene.ends())
        scene.log.append(version=2, previous=cid_of(scene.log.journal[0].value), type_="PersonRenamed", name="Bea")
        scene.shard.compare(scene.shard.ends(), scene.ends())
        scene.command("Cleo", type_="RenamePerson")
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.calls.count("fence") == 2
    assert read_block("person", scene.log.journal[-1].value)["version"] == 3


QUARTER = HIGH_BYTES // 4


def closed_source() -> MemoryCommandSource:
    """A source that nothing is fetched from: the test delivers."""
    return MemoryCommandSource(PartitionLog(Rules()), TOPIC, 0, lambda delivery: None)


@pytest.mark.parametrize(
    "large",
    [
        {"key": None, "value": bytes(QUARTER)},
        {"key": bytes(QUARTER), "value": None},
        {"key": None, "value": None, "headers": (("x", bytes(QUARTER)),)},
        {"key": None, "value": None, "headers": (("x" * QUARTER, None),)},
        {"key": None, "value": None, "headers": (("", None),) * (QUARTER // HEADER_BYTES)},
        {"key": None, "value": None, "headers": EncodedHeaders(QUARTER // 2, bytes(QUARTER))},
    ],
    ids=["value", "key", "header's value", "header's name", "empty headers", "headers as they stand"],
)
async def test_a_full_inbox_pauses_its_source_until_there_is_room(large):
    """Goes red, but for the value, when only values are counted."""
    source = closed_source()
    command_queue = CommandQueue(source)
    command_queue.put(Delivery(TOPIC, 0, 0, [Record(offset=n, **large) for n in range(6)]))
    assert source.is_paused
    taken = []
    while len(taken) < 6:
        taken += command_queue.take(0)
    assert not source.is_paused
    assert [record.offset for record in taken] == list(range(6))


def test_what_was_decided_meanwhile_is_not_taken_again():
    command_queue = CommandQueue(closed_source())
    command_queue.put(Delivery(TOPIC, 0, 0, [Record(n, None, None) for n in range(3)]))
    assert [record.offset for record in command_queue.take(2)] == [2]
    assert command_queue.take(2) == []


def test_what_was_fetched_for_an_older_position_is_not_taken():
    source = closed_source()
    command_queue = CommandQueue(source)
    source.generation = 2
    command_queue.put(Delivery(TOPIC, 0, 1, [Record(0, None, None)]))
    assert len(command_queue) == 0


def test_a_position_that_is_not_there_any_more_ends_the_taking():
    command_queue = CommandQueue(closed_source())
    command_queue.put(Delivery(TOPIC, 0, 0, []))
    with pytest.raises(StaleStateError, match="not in the topic any more"):
        command_queue.take(0)


def test_stopped_is_a_journal_error_that_names_its_reason():
    assert "why" in str(StoppedError("why"))


def hint(command_id, version, head, *, offset, journal_end=0, status="rejected", aggregate_id="p-1", events=()):
    """An outcome as a record; without events, unless some are given."""
    outcome = {
        "command_id": command_id,
        "kind": "person",
        "aggregate_id": aggregate_id,
        "status": status,
        "version": version,
        "head": head,
        "events": list(events),
    }
    return OutcomeRecord(aggregate_id.encode(), orjson.dumps(outcome), offset, journal_end)


LAST = hint("c-3", 0, None, offset=3)


async def test_with_the_groups_offset_lost_what_was_forwarded_is_not_forwarded_again():
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copy(copy_of(scene, 2), copy_of(scene, 0))
    async with running(scene):
        await scene.answered(2)
    assert scene.source.begins == [0, 0]
    assert scene.log.forwards == []
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == ["c-1", "c-3"]


async def test_what_the_next_one_commits_behind_a_lost_offset_does_not_hide_that_more_was_forwarded():
    scene = Scene(partitions=2, delivers_until=1)
    scene.command("Ada")
    scene.command("Bea", aggregate_id="p-3")
    scene.command("Cleo", type_="RenamePerson")
    async with running(scene):
        await scene.answered(1)
    assert (scene.log.committed, scene.log.metadata.unsure_until) == (1, 3)
    scene.log.copy(copy_of(scene, 1))
    later = Scene(partitions=2, log=scene.log)
    async with running(later):
        await later.answered(2)
    assert later.log.forwards == []
    assert later.log.metadata.unsure_until == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"partition": 0},
        {"key": b"p-1"},
        {"value": b"{}"},
        {"headers": [("ce_specversion", b"1.0")]},
        {"offset": 2},
        {"offset": 1},  # that one is where it belongs
    ],
)
async def test_what_only_calls_itself_a_copy_has_nothing_passed_over(lie):
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copy(copy_of(scene, 0)._replace(**lie))
    async with running(scene):
        await scene.answered(2)
    assert scene.log.forwards == [scene.commands[0].value, scene.commands[2].value]
    assert [outcome["command_id"] for outcome in scene.log.outcomes] == ["c-1", "c-3"]


def copy_of(scene: Scene, offset: int) -> CopyRecord:
    """The copy of a command in the other partition."""
    record = scene.commands[offset]
    return CopyRecord(1, offset, record.key, record.value, [])


async def test_with_the_groups_offset_lost_a_dead_letter_is_kept_once():
    scene = Scene()
    for value in (b"no command", b"nor this"):
        scene.record(value)
    scene.command("Ada")
    scene.log.bury((0, b"p-1", b"no command"), (1, b"p-1", b"another"))
    async with running(scene):
        await scene.answered(1)
    assert scene.log.dead_lettered == [b"nor this"]


def behind(*, answers=None, is_copied=True, letters=((2, b"p-1", b"no command"),)):
    """A shard whose group's offset, with our metadata, is behind four commands: the second is misplaced, the third no
    command at all."""
    scene = Scene(partitions=2)
    scene.command("Ada")
    scene.command("Bea", aggregate_id="p-3")
    scene.record(b"no command")
    scene.command("Cleo")
    scene.log.remember(0, GroupMetadata(0))
    scene.log.answer(*([hint("c-0", 0, None, offset=0), LAST] if answers is None else answers))
    if is_copied:
        scene.log.copy(copy_of(scene, 1))
    scene.log.bury(*letters)
    return scene


async def begins_at(scene):
    async with running(scene):
        await scene.until(Phase.OPEN)
    return scene.source.begins[0]


async def test_an_outcome_beyond_the_groups_offset_counts_if_all_before_it_are_answered():
    assert await begins_at(behind()) == 4


async def test_one_outcome_beyond_the_groups_offset_passes_no_command_over():
    assert await begins_at(behind(answers=[LAST])) == 0


async def test_an_older_outcome_beyond_the_groups_offset_counts_as_far_as_all_are_answered():
    assert await begins_at(behind(is_copied=False)) == 1


async def test_a_command_without_its_dead_letter_is_not_passed_over():
    assert await begins_at(behind(letters=[(2, b"p-1", b"another"), (3, b"p-1", b"no command")])) == 2


@pytest.mark.parametrize(
    "lie",
    [
        {"command_offset": 1},
        {"value": orjson.dumps({"command_id": "c-0"})},
        {"key": b"p-2"},
    ],
)
async def test_between_the_groups_offset_and_an_outcome_only_what_the_journal_bears_out_is_an_answer(lie):
    assert await begins_at(behind(answers=[hint("c-0", 0, None, offset=0)._replace(**lie), LAST])) == 0


async def test_an_outcome_of_another_command_is_no_answer():
    assert await begins_at(behind(answers=[hint("c-9", 0, None, offset=0), LAST])) == 0


async def test_commands_that_expired_behind_the_groups_offset_are_not_answered_by_an_outcome():
    scene = behind()
    scene.log.expire("commands", 2)
    async with running(scene):
        await scene.until(Phase.STOPPED)
    assert "2 offsets of commands from 0 on expired" in scene.shard.reason


async def test_while_outcomes_may_be_hidden_an_offset_that_is_behind_is_not_believed():
    scene = behind()
    stranger = scene.log.hold_up("outcomes")
    async with running(scene):
        await scene.until_it(lambda: "transaction is open on the outcomes" in scene.shard.reason)
        stranger.end()
        await scene.until(Phase.OPEN)
    assert scene.source.begins == [4]


async def test_with_the_groups_offset_lost_what_was_never_forwarded_is_forwarded():
    scene = Scene(partitions=2)
    misplaced(scene)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert scene.log.forwards == [scene.commands[0].value, scene.commands[2].value]


async def test_while_copies_cannot_be_seen_it_is_not_ready_and_says_why():
    scene = Scene(partitions=2)
    misplaced(scene)
    scene.log.copy(copy_of(scene, 0), copy_of(scene, 2))
    stranger = scene.log.hold_up("commands", 1)
    async with running(scene):
        await scene.until(Phase.OPEN)
        await scene.until(Phase.OPENING)
        await scene.until_it(lambda: "commands.person" in scene.shard.reason and "transaction" in scene.shard.reason)
        stranger.end()
        await scene.answered(2)
        assert scene.shard.phase is Phase.OPEN
    assert scene.source.begins == [0, 0]
    assert scene.log.forwards == []


async def test_a_rebalance_while_copies_are_looked_for_loses_nothing():
    scene = Scene(partitions=2)
    misplaced(scene)
    stranger = scene.log.hold_up("commands", 1)
    async with running(scene):
        await scene.until(Phase.OPEN)
        await scene.until(Phase.OPENING)
        await scene.shard.suspend()
        stranger.end()
        await scene.until(Phase.SUSPENDED)
        scene.shard.resume()
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert len(scene.log.forwards) == 2


@pytest.mark.parametrize("is_ours", [False, True])
async def test_a_strangers_transaction_on_the_outcomes_is_waited_for_where_they_tell_what_is_decided(is_ours):
    scene = Scene()
    if is_ours:
        scene.log.remember(0, GroupMetadata(0))
    stranger = scene.log.hold_up("outcomes")
    async with running(scene):
        if not is_ours:
            await scene.until_it(lambda: scene.log.calls.count("look") == 3)
            stranger.end()
        await scene.until(Phase.OPEN)
    assert (scene.log.calls.count("look") == 1) is is_ours


async def test_what_came_behind_the_fence_was_never_forwarded():
    scene = Scene(partitions=2)
    scene.command("Ada")
    async with running(scene):
        await scene.answered(1)
        scene.command("Bea", aggregate_id="p-3")
        scene.command("Cleo", type_="RenamePerson")
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert "copies" not in scene.log.calls
    assert len(scene.log.forwards) == 1


async def test_with_an_offset_of_its_own_a_shard_looks_for_no_copies():
    scene = Scene(partitions=2)
    scene.log.remember(0, GroupMetadata(0))
    misplaced(scene)
    async with running(scene):
        assert await scene.answered(2) == ["accepted", "accepted"]
    assert "copies" not in scene.log.calls
    assert len(scene.log.forwards) == 2


def test_what_is_kept_of_an_aggregate_counts_its_id():
    """Goes red when only its state counts: a stranger's events may have ids of a megabyte."""
    aggregate_cache = AggregateCache(1 << 20)
    aggregate = WorkingSet(PERSON, MemoryStore(), aggregate_cache).absent
    for number in range(100):
        aggregate_cache.keep((1, b"%d" % number * 50_000), aggregate, 10)
    assert sum(len(key) for _, key in aggregate_cache.cache) <= 1 << 20
