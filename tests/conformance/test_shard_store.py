"""What every shard store promises: one suite, run on memory and on RocksDB."""

import pytest

from annals.agents.ports import Changes, Position, Stored, command_key
from annals.workers.stores.memory import MemoryStore
from annals.workers.stores.rocks import RocksStore, StoreBudget

HEAD = b"\x01\x71\x1e\x20" + bytes(32)
OTHER = b"\x01\x71\x1e\x20" + bytes(range(32))
TIME = "2026-11-21T09:30:00.000000Z"
ADA = Stored(3, HEAD, TIME, b"state")
COMMAND = command_key(b"p-1", b"c-1")


SEVEN = Position(7, 6, HEAD)


def changes(position=SEVEN, aggregates=None, commands=None, voids=None):
    return Changes(aggregates or {}, commands or {}, voids or {}, position)


@pytest.fixture(params=["memory", "rocksdb"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryStore()
        return
    store = RocksStore(tmp_path / "store", StoreBudget(8 << 20, 4 << 20).options("lz4"))
    yield store
    store.close()


def test_a_new_store_stands_at_the_journals_start_and_is_empty(store):
    assert store.position() == Position(0, -1, b"")
    assert store.aggregate(b"p-1") is None
    assert store.command(COMMAND) is None
    assert not store.is_void(HEAD)
    assert store.voids() == {}


def test_changes_are_there_with_their_position(store):
    events = (3, [(HEAD, "PersonRenamed"), (OTHER, "Ünïcode")])
    store.apply(changes(aggregates={b"p-1": ADA}, commands={COMMAND: events}, voids={OTHER: (b"p-2", b"c-9")}))
    assert store.position() == Position(7, 6, HEAD)
    assert store.aggregate(b"p-1") == ADA
    first, written = store.command(COMMAND)
    assert (first, list(written)) == events
    assert store.is_void(OTHER)
    assert not store.is_void(HEAD)
    assert store.voids() == {OTHER: (b"p-2", b"c-9")}


def test_several_commands_are_looked_up_at_once_in_the_order_asked_for(store):
    keys = [command_key(b"p-1", b"c-%d" % number) for number in range(100)]
    store.apply(changes(commands={key: (number, [(HEAD, "A")]) for number, key in enumerate(keys) if number % 3}))
    asked = [*reversed(keys), keys[1], b""]
    found = store.commands(asked)
    assert found == [store.command(key) for key in asked]
    assert sum(each is None for each in found) == 35
    assert store.commands([]) == []


def test_voids_are_read_in_pieces_of_bounded_size(store):
    cids = [bytes([number]) * 36 for number in range(1, 6)]
    store.apply(changes(aggregates={b"p-1": ADA}, voids={cid: (b"p-2", cid) for cid in reversed(cids)}))
    found, after = [], b""
    while piece := store.voids(after, most_bytes=500):
        assert len(piece) <= 2
        assert all(command_id == cid for cid, (_, command_id) in piece.items())
        found += piece
        after = max(piece)
    assert found == cids


def test_a_later_batch_replaces_an_aggregate_and_keeps_the_others(store):
    store.apply(changes(aggregates={b"p-1": ADA, b"p-2": ADA}))
    store.apply(changes(Position(9, 8, OTHER), {b"p-1": ADA._replace(version=4)}))
    assert store.aggregate(b"p-1").version == 4
    assert store.aggregate(b"p-2") == ADA
    assert store.position() == Position(9, 8, OTHER)


def test_a_batch_that_fails_leaves_nothing(store):
    store.apply(changes(aggregates={b"p-1": ADA}))
    with pytest.raises((TypeError, AttributeError, ValueError)):
        store.apply(changes(Position(9, 8, OTHER), {b"p-2": ADA, b"p-3": None}))
    assert store.position() == Position(7, 6, HEAD)
    assert store.aggregate(b"p-2") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [((b"p", b"1c"), (b"p1", b"c")), ((b"", b"pc"), (b"p", b"c")), ((b"p\x00", b"c"), (b"p", b"\x00c"))],
)
def test_commands_of_different_aggregates_are_never_the_same(store, one, other):
    store.apply(changes(commands={command_key(*one): (1, [(HEAD, "A")])}))
    assert store.command(command_key(*one)) is not None
    assert store.command(command_key(*other)) is None


def test_any_bytes_can_be_ids(store):
    for key in (b"\x00", b"\xff" * 1_024, "Ä\U0001f600".encode()):
        store.apply(changes(aggregates={key: ADA}, voids={HEAD: (key, key)}))
        assert store.aggregate(key) == ADA
        assert store.voids()[HEAD] == (key, key)


def test_what_was_read_stays_when_the_store_changes(store):
    store.apply(changes(aggregates={b"p-1": ADA}))
    before = store.aggregate(b"p-1")
    store.apply(changes(aggregates={b"p-1": ADA._replace(state=b"other")}))
    assert before == ADA


def test_all_aggregates_are_told_by_key_as_they_were_when_the_first_was_asked_for(store):
    store.apply(changes(aggregates={b"p-2": ADA, b"p-1": ADA}, commands={COMMAND: (3, [(HEAD, "PersonRenamed")])}))
    told = store.aggregates()
    first = next(told)
    store.apply(changes(Position(9, 8, OTHER), {b"p-3": ADA}))
    assert [first, *told] == [(b"p-1", ADA), (b"p-2", ADA)]
