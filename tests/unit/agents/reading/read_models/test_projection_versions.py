"""Versions of projections beside each other: who answers, when all turn, what is dropped, and how failures go on."""

import asyncio

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.reading.gathering.gather import PartitionReason
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.projecting.rows import RowSet
from annals.agents.reading.projecting.versions import (
    TURN_BACK_MS,
    TurnRefusedError,
    candidate,
    followed,
    rebuilt,
    rebuilt_aggregate,
    turned_back,
    turned_to,
    without_previous,
)
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.refold import Refold, verify
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.agents.reading.read_models.service import ProjectionService
from annals.schemas.job_record import JobRecord
from annals.schemas.kinds import person
from annals.schemas.projection_record import ProjectionRecord, decode_record
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock
from projecting import (
    BOTH,
    NEW,
    OLD,
    ONE,
    PARTITIONS,
    TWO,
    Group,
    Here,
    MemoryShards,
    ScratchStores,
    Topic,
    member,
    names_of,
    people,
)


def rows_of(rows, of):
    """Return the rows and index entries of a set, without what is its own in their keys."""
    return {(space[:1], key[len(space) :]): rows[key] for space in of.spaces for key in rows if key.startswith(space)}


async def verified(made, shards):
    refold = Refold(ONE, DECIDERS, {"person": PARTITIONS}, MemoryReadingStore())
    return await verify(ONE, 1, refold, made, LocalRows(shards))


async def test_a_process_that_has_not_read_the_topic_answers_with_no_version():
    shards, topic, group = MemoryShards(people("a"), BOTH), Topic(), Group(member("a", 2), member("b", 2))
    topic.is_read = False
    models = ReadModels(BOTH, DECIDERS, topic, group, Clock())
    sources, name = {"local": LocalRows(shards)}, "people_directory"
    answers = RowAnswers(BOTH, sources, models.version_of, Clock())
    service = ProjectionService(
        models, topic, sources, DECIDERS, people("a"), {"person": PARTITIONS}, Clock(), ScratchStores()
    )
    # The newest one that all have may not be whole, or they have turned back from it.
    asks = [lambda: answers.rows(name, {}, None, 9), lambda: service.status(name), lambda: service.rebuild(name)]
    for ask in asks:
        with pytest.raises(NotReadyError, match="which version of people_directory answers is not known yet"):
            await ask()
    job = JobRecord(id="j", kind="verify", subject=name, status="running", started_at="", request={"projection": name})
    verifying = asyncio.create_task(service.works()["verify"](job, lambda _: None))
    await asyncio.sleep(0)  # it is taken up before the topic is read
    topic.records[name], topic.is_read = ProjectionRecord(name=name, version=1, switched_ms=0), True
    assert (await verifying).version == 1
    assert (await answers.rows(name, {}, None, 9)).version == 1
    assert (await service.status(name)).version == 1


async def test_a_new_version_builds_beside_the_old_one_which_answers_until_all_turn_by_one_record():
    made = people("a", "b", "f")
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1), member("b", 1))
    sources = {"local": LocalRows(shards)}
    old = ReadModels(OLD, DECIDERS, topic, group, Clock())
    assert await old.turn(sources) == ["people_directory"]  # the first version, when it has read everything
    assert topic.records["people_directory"].positions == {"person": [1, 1, 1]}
    assert await old.turn(sources) == []
    # One member is updated: it builds the new version beside, and nobody turns.
    new = ReadModels(BOTH, DECIDERS, topic, group, Clock())
    group.members[0] = member("a", 2)
    new.apply(Here(shards))
    assert await new.turn(sources) == []
    assert (new.version_of("people_directory"), old.version_of("people_directory")) == (1, 1)
    # All have it, but on one partition it is behind.
    group.members[1] = member("b", 2)
    for shard in shards.here.values():
        if shard.partition != 2:
            shard.read(made)
    assert await new.turn(sources) == []
    for shard in shards.here.values():
        shard.read(made)
    assert (await names_of(shards, 1))[0] == ["Ada a", "Ada b", "Ada f"]
    assert await new.turn(sources) == ["people_directory"]
    assert new.version_of("people_directory") == 2
    assert await names_of(shards, 2) == (["ADA A", "ADA B", "ADA F"], set())
    record = topic.records["people_directory"]
    assert (record.version, record.previous, record.positions) == (2, 1, {"person": [1, 1, 1]})
    # The old one is folded on for a day; then its rows go.
    made.append("person", "e", person.PersonRegistered(name="Ada e"))
    new.apply(Here(shards))
    for shard in shards.here.values():
        shard.read(made)
    assert len((await names_of(shards, 1))[0]) == 4
    topic.records["people_directory"] = msgspec.structs.replace(record, switched_ms=record.switched_ms - TURN_BACK_MS)
    new.apply(Here(shards))
    assert await names_of(shards, 1) == ([], {"version_missing"})
    for shard in shards.here.values():
        shard.read(made)
    assert not any(b"people_directory\0\0001\0\0" in key for each in Here(shards).all() for key in each.store.rows)


async def test_what_answers_without_a_record_is_recorded_at_once_so_that_no_update_of_all_turns_before_it_is_whole():
    made = people("a", "b", "f")
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1))
    del shards.here["person", 0]  # a partition that does not answer, or never does
    old, new = (ReadModels(each, DECIDERS, topic, group, Clock()) for each in (OLD, BOTH))
    assert await old.turn({"local": LocalRows(shards)}) == ["people_directory"]
    group.members[0] = member("a", 2)
    assert new.version_of("people_directory") == 1


def released(made):
    """Shards with the rows of version 1, which answers, and the read models of a release that has version 2 alone."""
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 2))
    topic.records["people_directory"] = ProjectionRecord(name="people_directory", version=1, switched_ms=0)
    new = ReadModels(NEW, DECIDERS, topic, group, Clock())
    new.apply(Here(shards))
    return shards, new


async def test_a_release_without_the_old_version_answers_with_its_rows_as_they_were():
    made = people("a")
    shards, new = released(made)
    made.append("person", "a", person.PersonRenamed(name="Grace"))
    page = await LocalRows(shards).rows(TWO, 1, {"name": "ada"}, None, 9)
    assert ([each.row["name"] for each in page.rows], page.stale) == (["Ada a"], [])
    for shard in shards.here.values():
        shard.read(made)
    page = await LocalRows(shards).rows(TWO, 1, {"name": "ada"}, None, 9)
    assert [each.row["name"] for each in page.rows] == ["Ada a"]
    assert [each.reason for each in page.stale] == ["people_directory version 1 is at offset 1 of 2"]
    assert await new.turn({"local": LocalRows(shards)}) == ["people_directory"]


class ByStandbys:
    """Rows of which a partition is answered by a standby (the `RowSource` port)."""

    def __init__(self, source):
        self.source = source

    async def rows(self, *asked):
        page = await self.source.rows(*asked)
        return page._replace(stale=[PartitionReason("person", 0, "standby")])


async def test_nobody_turns_by_what_a_standby_has_read():
    made = people("a")
    shards, new = released(made)
    for shard in shards.here.values():
        shard.read(made)
    assert await new.turn({"local": ByStandbys(LocalRows(shards))}) == []
    assert await new.turn({"local": LocalRows(shards)}) == ["people_directory"]


async def test_two_that_turn_at_once_write_one_record():
    made = people("a")
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1))
    one, other = (ReadModels(OLD, DECIDERS, topic, group, Clock()) for _ in range(2))
    sources = {"local": LocalRows(shards)}
    assert [await one.turn(sources), await other.turn(sources)] == [["people_directory"], []]
    before = topic.records["people_directory"]
    topic.records["people_directory"] = msgspec.structs.replace(before, rebuilds=1)
    assert not await one._turn_one(TWO, before, LocalRows(MemoryShards(made, BOTH)))


def test_what_was_turned_back_from_is_not_turned_to_again_by_itself():
    first = turned_to("people_directory", 1, {"person": [0]}, None, 0)
    second = turned_to("people_directory", 2, {"person": [0]}, first, 1_000)
    back = turned_back(second, 1_000 + TURN_BACK_MS - 1)
    assert (back.version, back.previous, back.held) == (1, None, 2)
    group = [member("a", 2)]
    assert candidate("people_directory", first, group) == 2
    assert candidate("people_directory", back, group) is None
    assert candidate("people_directory", back, [member("a", 3)]) == 3
    assert candidate("people_directory", first, [*group, member("b", 1)]) is None
    assert candidate("people_directory", None, []) is None
    for refused in (lambda: turned_back(second, 1_000 + TURN_BACK_MS), lambda: turned_back(first, 0)):
        with pytest.raises(TurnRefusedError):
            refused()
    assert without_previous(second, 1).previous is None
    with pytest.raises(TurnRefusedError):
        without_previous(second, 2)
    with pytest.raises(TurnRefusedError):
        without_previous(second, 3)


async def test_rebuilding_begins_rows_anew_and_one_aggregate_alone():
    made = people("a", "c")
    shards, topic, group = MemoryShards(made, OLD), Topic(), Group(member("a", 1))
    models, here = ReadModels(OLD, DECIDERS, topic, group, Clock()), Here(shards)
    await models.turn({"local": LocalRows(shards)})
    kept = {each.partition: dict(each.store.rows) for each in here.all()}
    for shard in here.all():  # rows that are wrong
        for key in shard.store.rows:
            if key.startswith(b"P\0\0"):
                wrong = msgspec.msgpack.decode(shard.store.rows[key][1:]) | {"name": "Wrong"}
                shard.store.rows[key] = b"\1" + msgspec.msgpack.encode(wrong)
    found = await verified(made, shards)
    assert not found.is_equal
    assert [(each.key, each.stored["name"], each.folded["name"]) for each in found.differences] == [
        (["a"], "Wrong", "Ada a"),
        (["c"], "Wrong", "Ada c"),
    ]
    await topic.change("people_directory", lambda record: rebuilt_aggregate(record, "person", "a"))
    models.apply(here)
    assert (await names_of(shards, 1))[0] == ["Ada a", "Wrong"]
    await topic.change("people_directory", rebuilt)
    models.apply(here)
    assert (await names_of(shards, 1))[0] == ["Ada a", "Wrong"]  # until the new rows are whole
    assert not (await LocalRows(shards).rows(ONE, 1, {}, None, 9)).stale
    for shard in here.all():
        shard.read(made)
    assert (await names_of(shards, 1))[0] == ["Ada a", "Ada c"]
    assert (await verified(made, shards)).is_equal
    for shard in here.all():
        former = RowSet("people_directory", 1)
        assert rows_of(shard.store.rows, RowSet("people_directory", 1, 1)) == rows_of(kept[shard.partition], former)
        assert rows_of(shard.store.rows, former) == {}


def test_without_a_record_nothing_is_dropped():
    known = ["states", "people_directory/1", "people_directory/7", "other/1"]
    assert followed("person", BOTH, {}, DECIDERS, known, 0).dropped == []
    record = ProjectionRecord(name="people_directory", version=1, switched_ms=0)
    assert followed("person", BOTH, {"people_directory": record}, DECIDERS, known, 0).dropped == ["people_directory/7"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"name":"a","version":0,"switched_ms":0}',
        b'{"name":"a","version":1,"switched_ms":0,"more":1}',
        b'{"name":"b","version":1,"switched_ms":0}',
        b'{"name":"a","version":1,"switched_ms":0,"previous":1}',
        b'{"name":"a\\n","version":1,"switched_ms":0}',
        b'{"name":"a","version":1,"switched_ms":0,"positions":{"person":[-1]}}',
        b'{"name":"a","version":1.5,"switched_ms":0}',
        b'{"name":"a","version":1,"switched_ms":0}' + b" " * 300_000,
    ],
)
def test_a_record_is_read_as_a_strangers(value):
    with pytest.raises(ValueError, match=r"."):
        decode_record(b"a", value)
