"""A stop is right where a fault explains it in these words; the shard goes on once a person did what they ask for."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from libipld import encode_dag_cbor
from reached import first

from annals.agents.folding import known_events
from annals.agents.ports import LostEndError, StoppedError
from annals.agents.writing.recovery import losses
from annals.agents.writing.recovery.acknowledged import Acknowledged
from annals.agents.writing.shards.shard import Shard
from annals.workers.audit import acceptance
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.tools.simulation import person
from annals.workers.tools.simulation.history import History, run
from annals.workers.tools.simulation.judged_records import MEMBERS
from annals.workers.tools.simulation.plan import (
    BROKER_FAULTS,
    OPENING_FAULTS,
    PUBLISHING_FAULTS,
    REACTING_FAULTS,
    READING_FAULTS,
    STANDBY_FAULTS,
    Fault,
    Plan,
    plan_of,
)
from annals.workers.tools.simulation.world import World

EVENT = encode_dag_cbor(
    dict.fromkeys(MEMBERS) | {"kind": "counter", "aggregate_id": "a0", "version": 1, "type": "CounterOpened"}
)
SEEDS = range(500)  # a fallback: a change may have moved what the seeds below were found for
CUT = 175  # a seed in which a journal loses its end


def without_standbys(seed: int) -> Plan:
    """A seed's plan as it was found: what standbys and later faults change is another history."""
    plan = plan_of(seed)
    later = {*STANDBY_FAULTS, *BROKER_FAULTS, *OPENING_FAULTS, *READING_FAULTS, *PUBLISHING_FAULTS, *REACTING_FAULTS}
    faults = tuple(fault for fault in plan.faults if fault.what not in later)
    return plan._replace(faults=faults, has_standbys=False, has_readers=False, has_publishers=False, reacts_from=None)


def stops(history: History) -> set[str]:
    return {name.removeprefix("stop: ") for name in history.counts if name.startswith("stop: ")}


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (CUT, "acknowledged are gone"),
        (392, "acknowledged may be gone"),
        (15, "lack what was acknowledged"),
        (2068, "the data directory says"),
        (0, "the data directory says"),
        (4659, "--accept-expired"),
        (608, "delete the group's offsets"),
    ],
)
def test_a_person_has_a_shard_go_on(seed: int, words: str) -> None:
    """In the first history in which one stops in these words: that seed was the last in which it was seen."""
    first(map(plan_of, (seed, *SEEDS)), lambda history: any(words in stop for stop in stops(history)))


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (525, "Events that were acknowledged are gone"),
        (755, "Events that were acknowledged are gone"),
        (5823, "or delete the group's offsets"),
    ],
)
def test_a_shard_that_lost_nothing_does_not_stop(seed: int, words: str) -> None:
    """A fenced shard saw what its successor wrote."""
    history = run(without_standbys(seed))
    assert (history.problems, stops(history) & {words}) == ([], set())


def test_a_journal_that_is_cut_while_it_is_read_stops_a_shard_in_the_words_of_a_cut() -> None:
    history = run(without_standbys(6984))
    assert (history.problems, stops(history) & {"unknown"}) == ([], set())


@pytest.mark.parametrize(
    "seed", [11547, 5390, 6752], ids=["between_two_batches_of_a_transaction", "seen_by_one", "seen_by_each"]
)
def test_outcomes_that_are_cut_off_are_missed_before_a_history_ends(seed: int) -> None:
    def misses(history: History) -> bool:
        return any("lack what was acknowledged" in stop for stop in stops(history))

    first(map(without_standbys, (seed, *SEEDS)), misses)


@pytest.mark.parametrize("seed", [2201, 3474, 5132, 5964])
def test_with_accepted_outcomes_gone_what_was_answered_is_found_as_after_a_lost_offset(seed: int) -> None:
    assert run(without_standbys(seed)).problems == []


def test_a_command_whose_copy_has_expired_is_forwarded_again_once_the_offset_is_lost() -> None:
    assert run(without_standbys(9757)).problems == []


def without_a_cause(patch: pytest.MonkeyPatch) -> None:
    """A shard takes a journal for cut off that is whole."""

    async def require(self: Any, seen: Any) -> Any:
        raise losses.lost(self._place, losses.Known(9), seen.journal_end)

    patch.setattr(Acknowledged, "require", require)


def in_unknown_words(patch: pytest.MonkeyPatch) -> None:
    """A shard says that there is a gap where the end was cut off."""
    patch.setattr(losses, "lost_end", lambda *_, **__: LostEndError("gap in the journal", 0))


def in_words_of_another_stop(patch: pytest.MonkeyPatch) -> None:
    """A shard sends people to the data directory where the group's offset tells of the loss."""
    whole: Any = known_events.lost_end

    def lost_end(*said: Any, **more: Any) -> LostEndError:
        return LostEndError(f"{whole(*said, **more)} (so the store in the data directory says)", 0)

    patch.setattr(losses, "lost_end", lost_end)


def accepting_in_vain(patch: pytest.MonkeyPatch) -> None:
    """`annals journal accept` changes nothing."""
    patch.setattr(person, "accept", nothing)


async def nothing(*_: Any) -> None:
    return None


def nothing_is_said_to_be_missing(patch: pytest.MonkeyPatch) -> None:
    """`annals journal accept` does not name what is gone."""
    patch.setattr(acceptance, "Missing", lambda *_: None)
    compare = acceptance.compare

    async def silent(*asked: Any) -> Any:
        return [each._replace(missing=[]) for each in await compare(*asked)]

    patch.setattr(person, "compare", silent)


def for_ever(patch: pytest.MonkeyPatch) -> None:
    """A shard stops whenever it has served for a while, and says what nobody knows a remedy for."""
    serve: Any = Shard._serve

    async def stopping(self: Any) -> None:
        if self.place.partition == 0:
            raise StoppedError("an event cannot be folded")
        await serve(self)

    patch.setattr(Shard, "_serve", stopping)


@pytest.mark.parametrize(
    ("take_out", "said"),
    [
        (without_a_cause, "stopped without a cause"),
        (in_unknown_words, "stopped without a cause"),
        (in_words_of_another_stop, "stopped without a cause"),
        (accepting_in_vain, "unanswered"),
        (nothing_is_said_to_be_missing, "are missing, and"),
        (for_ever, "unanswered"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_stop_that_is_wrong_is_a_failure(
    take_out: Callable[[pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    assert any(said in problem for problem in run(plan_of(CUT)).problems)


@pytest.mark.parametrize("commits", [False, True])
def test_what_is_lost_of_an_aborted_transaction_excuses_no_answer_that_is_lost_later(*, commits: bool) -> None:
    """It excuses that a shard saw its outcomes end lower: it says so before anybody knows how the transaction ends."""
    world = World(plan_of(CUT))
    faults, model = world._faults._of_brokers, world.model
    faults.outcomes_cut_within(Fault(0.0, "outcomes_cut_within", 0, 0.0))
    ((where, key),) = faults._losing.items()
    identity = model.init_producer_id("annals", 60_000)[1]
    assert not model.add_partition("annals", identity, where)
    for number in range(2):
        batch = RecordBatch()
        batch.fill([(b"a0", b"an outcome", 0, b"\0")], 0, 1 << 20)
        model.produce("annals", where, batch.build(*identity, number), adds=False)
    model.end_transaction("annals", identity, commits=commits, renews=False)
    world.loop.run_until_complete(asyncio.sleep(60.0))  # of the world's time: by then it has its marker
    world.loop.close()
    assert world.torn_outcomes == {key}
    assert world.lost_outcomes == ({key} if commits else set())
    assert set(world.lost_answers) == ({where} if commits else set())
    anybody: Any = None
    assert world.person.has_fewer_outcomes(anybody, key)
    assert world.person.has_lost_outcomes(anybody, key) is commits


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize(("topic", "fault"), [("events", "journal_cut_at_work"), ("outcomes", "outcomes_cut")])
def test_what_is_cut_off_an_open_transaction_is_lost_only_if_that_is_committed(
    topic: str, fault: str, *, commits: bool
) -> None:
    world = World(plan_of(CUT))
    model, where, key = world.model, (f"{topic}.counter", 0), ("counter", 0)
    for number in range(2):  # a transaction that stays, and one that is cut off
        identity = model.init_producer_id("annals", 60_000)[1]
        assert not model.add_partition("annals", identity, where)
        batch = RecordBatch()
        batch.fill([(b"a0", EVENT if topic == "events" else b"an outcome", 0, b"\0")], 0, 1 << 20)
        model.produce("annals", where, batch.build(*identity, 0), adds=False)
        if not number:
            model.end_transaction("annals", identity, commits=True, renews=False)
            world.loop.run_until_complete(asyncio.sleep(1.0))
            model.logs[where].mark(1, 0, commits=False)
    world._faults.happen(Fault(0.0, fault, 0, 1.0))
    assert model.logs[where].end == 3
    assert (world.lost_events, world.lost_outcomes) == (set(), set())
    assert (key in world.perhaps_cut, key in world.torn_outcomes) == (topic == "events", topic == "outcomes")
    model.end_transaction("annals", identity, commits=commits, renews=False)
    world.loop.run_until_complete(asyncio.sleep(60.0))
    world.loop.close()
    assert bool(world.lost_events) is (commits and topic == "events")
    assert (key in world.cut, key in world.perhaps_cut) == (commits and topic == "events", False)
    assert bool(world.lost_outcomes) is (commits and topic == "outcomes")
