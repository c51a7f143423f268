"""Snapshots that a reading store keeps by itself, and states in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents.reading.following.answers import COUNTED_S
from annals.agents.reading.keeping.layout import ABSENT, AggregateRow
from annals.agents.reading.snapshots import kept as kept_module
from annals.agents.reading.snapshots.kept import SPACING
from annals.agents.reading.snapshots.policy import SnapshotPolicy
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.workers.settings import SettingsError, load_settings
from annals.workers.settings.snapshots import snapshot_policies
from annals.workers.stores.reading_memory import MemoryReadingStore
from api_serving import reading
from chained import chain, sealed
from following import snapshots_of, soon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chained import Sealed
    from following import Journal

AT = "2026-11-21T09:30:00.000000Z"
LATER = "2026-11-21T09:31:00.000000Z"


def end(version: int, size: int = 0, at: str = AT) -> AggregateRow:
    return AggregateRow(version, version, size, b"", AT, at)


@pytest.mark.parametrize(
    ("policy", "before", "after", "is_due"),
    [
        (SnapshotPolicy(), end(1), end(10_000, 10**9, LATER), False),
        (SnapshotPolicy(events=10), end(9), end(10), True),
        (SnapshotPolicy(events=10), end(10), end(19), False),
        (SnapshotPolicy(events=10), end(10), end(35), True),
        (SnapshotPolicy(events=1), ABSENT, end(1), True),
        (SnapshotPolicy(bytes=1_000), end(1, 999), end(2, 1_000), True),
        (SnapshotPolicy(bytes=1_000), end(1, 1_000), end(2, 1_999), False),
        (SnapshotPolicy(seconds=60), end(1), end(2, at=LATER), True),
        (SnapshotPolicy(seconds=60), end(1), end(2), False),
        (SnapshotPolicy(seconds=60), ABSENT, end(2, at=LATER), False),
    ],
)
def test_a_snapshot_is_due(policy: SnapshotPolicy, before: AggregateRow, after: AggregateRow, is_due: bool) -> None:  # noqa: FBT001
    assert policy.is_due(before, after) is is_due


async def kept_of(shard: Any, journal: Journal, events: Sequence[Sealed]) -> list[int]:
    """Have a shard read events one by one; the versions of which it has snapshots then."""
    for event in events:
        journal.append([event])
        assert await shard.until_version("p-1", event.version, soon())
    return [kept.version for kept in await snapshots_of(shard)]


def known_by(emails: int) -> list[Sealed]:
    """The events of a person whose state grows: so many addresses."""
    events = [sealed("p-1", 1, None, type_name="PersonRegistered", data={"name": "Ada"})]
    for number in range(emails):
        said = {"email": f"ada.{number:03}@example.org"}
        events.append(sealed("p-1", len(events) + 1, events[-1].cid, type_name="EmailAdded", data=said))
    return events


async def test_snapshots_are_kept_by_events_used_and_counted() -> None:
    events = chain("p-1", 7)
    async with reading(SnapshotPolicy(events=2, keep=2), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        assert await kept_of(shard, journals["person"], events[1:]) == [2, 4, 6]
        found = await shard.state("p-1", version=5)
        assert (found.version, found.state["name"]) == (5, "Ada 5")
        assert (await shard.state("p-1", version=5)).state["name"] == "Ada 5"  # of memory
        assert (await shard.state("p-1", version=2)).state["name"] == "Ada 2"
        counted = (await shard.numbers()).snapshots
        assert (counted.count, counted.hits, counted.misses) == (3, 2, 0)
        assert counted.size_bytes == sum(kept.size_bytes for kept in await snapshots_of(shard))


async def test_snapshots_are_counted_seldom_and_at_once_where_one_is_made_or_removed_by_hand() -> None:
    """Goes red when each look at the statistics reads all snapshots, or when who made one does not see it."""
    events = chain("p-1", 6)
    async with reading(SnapshotPolicy(events=1, keep=9), person=events[:3]) as (shards, journals):
        shard = shards.of("person", "p-1")
        assert (await shard.numbers()).snapshots.count == 1
        assert await kept_of(shard, journals["person"], events[3:]) == [3, 4, 5, 6]
        assert (await shard.state("p-1", version=5)).version == 5
        counted = (await shard.numbers()).snapshots
        assert (counted.count, counted.hits) == (1, 1)
        assert await shard.drop_snapshot("p-1", 3)
        assert (await shard.numbers()).snapshots.count == 3
        await shard.keep_snapshot("p-1")
        assert (await shard.numbers()).snapshots.count == 3
        shard._counted = shard._counted[0] - COUNTED_S - 1, shard._counted[1]  # type: ignore[attr-defined]
        assert (await shard.numbers()).snapshots.count == 3


async def test_snapshots_are_listed_in_pages_and_no_more_of_them_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a page reads what it does not show: each of them is read for its size."""
    events = chain("p-1", 6)
    async with reading(SnapshotPolicy(events=1), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        assert await kept_of(shard, journals["person"], events[1:]) == [1, 2, 3, 4, 5, 6]
        read = snapshots_read(monkeypatch)
        for behind, descending, expected in (
            (None, False, [1, 2]), (2, False, [3, 4]), (5, False, [6]), (6, False, []), (2**64 - 1, False, []),
            (None, True, [6, 5]), (5, True, [4, 3]), (2, True, [1]), (1, True, []),
        ):  # fmt: skip
            read.clear()
            page = await shard.snapshots("p-1", behind=behind, descending=descending, limit=2)
            assert [kept.version for kept in page] == expected
            assert len(read) <= 3


async def test_of_snapshots_that_stay_in_any_case_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a sweep, a fold or a list reads each snapshot, which may have megabytes, to know its version."""
    events = chain("p-1", 12)
    async with reading(SnapshotPolicy(events=1, keep=4), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        assert await kept_of(shard, journals["person"], events[1:5]) == [1, 2, 3, 4, 5]
        read = snapshots_read(monkeypatch)
        assert (await shard.aggregates(status=None, since=None, until=None, after=None, limit=9)).aggregates[
            0
        ].snapshot_version == 5
        assert read == []
        assert await shard.clean_snapshots() == 0  # type: ignore[attr-defined]
        assert read == [1]
        read.clear()
        journals["person"].append(events[5:6])
        assert await shard.until_version("p-1", 6, soon())
        assert set(read) <= {1, 2}  # of those behind the newest four, whether they stay


def snapshots_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions of the snapshots that are read from now on."""
    read: list[int] = []
    get, get_many, items = MemoryReadingStore.get, MemoryReadingStore.get_many, MemoryReadingStore.range

    def note(*keys: bytes) -> None:
        read.extend(int.from_bytes(key[-8:], "big") for key in keys if key[:1] == kept_module.SNAPSHOTS)

    def noted_get(self: Any, key: bytes) -> bytes | None:
        note(key)
        return get(self, key)

    def noted_get_many(self: Any, keys: Sequence[bytes]) -> list[bytes | None]:
        note(*keys)
        return get_many(self, keys)

    def noted_range(self: Any, first: bytes, last: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        for key, value in items(self, first, last, reverse=reverse):
            note(key)
            yield key, value

    monkeypatch.setattr(MemoryReadingStore, "get", noted_get)
    monkeypatch.setattr(MemoryReadingStore, "get_many", noted_get_many)
    monkeypatch.setattr(MemoryReadingStore, "range", noted_range)
    monkeypatch.setattr(MemoryReadingStore, "keys", lambda *asked, **how: (key for key, _ in items(*asked, **how)))
    return read


async def test_where_states_grow_as_their_chains_do_one_stays_each_time_that_the_version_doubles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goes red when none stays where a state has more than a quarter of its chain: all of it was folded."""
    monkeypatch.setattr(kept_module, "SPACING", 10_000)
    events = chain("p-1", 40)
    async with reading(SnapshotPolicy(events=1, keep=3), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        assert await kept_of(shard, journals["person"], events[1:]) == [1, 2, 4, 8, 16, 32, 38, 39, 40]
        assert await shard.clean_snapshots() == 0  # type: ignore[attr-defined]
        assert [kept.version for kept in await snapshots_of(shard)] == [1, 2, 4, 8, 16, 32, 38, 39, 40]


@pytest.mark.parametrize("start", [0, 10])  # of the state version, and within the head: another release, another chain
async def test_a_former_snapshot_from_which_nothing_is_folded_does_not_stay(start: int) -> None:
    """Goes red when it is kept in the place of those that could be: a former state is folded from before it."""
    async with reading(SnapshotPolicy(events=10, keep=2), person=chain("p-1", 1)) as (shards, journals):
        shard, events = shards.of("person", "p-1"), chain("p-1", 60)
        assert await kept_of(shard, journals["person"], events[1:]) == [*range(10, 61, 10)]
        store = shard._open_store.store  # type: ignore[attr-defined]
        rows = dict(store.range(b"n", b"o"))
        for key in sorted(rows)[1::2]:
            store.apply({key: rows[key][:start] + b"\xff" + rows[key][start + 1 :]})
        assert await shard.clean_snapshots() == 2  # type: ignore[attr-defined]
        assert [kept.version for kept in await snapshots_of(shard)] == [10, 30, 50, 60]


async def test_however_long_a_chain_is_a_former_state_is_folded_from_the_last_events_before_it_alone() -> None:
    """Goes red when the newest snapshots alone stay: version 11 was folded from the first event on."""
    async with reading(SnapshotPolicy(events=10, keep=2), person=chain("p-1", 1)) as (shards, journals):
        shard, events = shards.of("person", "p-1"), chain("p-1", 200)
        assert await kept_of(shard, journals["person"], events[1:]) == [*range(10, 201, 10)]
        assert await shard.clean_snapshots() == 0  # type: ignore[attr-defined]


async def assert_thinned_out(shard: Any, events: Sequence[Sealed], keep: int) -> None:
    """Of a shard's snapshots the newest are there, and of older ones neither too many nor too few."""
    *former, _, _, _ = kept = await snapshots_of(shard)
    versions, event_bytes = [each.version for each in kept], sum(len(event.value or b"") for event in events)
    assert versions[-keep:] == [119, 120, 121]
    assert 3 < len(former) < 40
    assert SPACING * sum(each.size_bytes for each in former) <= event_bytes
    for before, snapshot in zip([0, *versions], former, strict=False):  # no more than is needed lies between two
        assert (snapshot.version - before - 2) * event_bytes < SPACING * snapshot.size_bytes * len(events)
    assert await shard.clean_snapshots() == 0
    for version in (1, 30, 70, 118):
        assert len((await shard.state("p-1", version=version)).state["emails"]) == version - 1


async def test_former_snapshots_are_thinned_out_where_they_are_large_beside_their_events() -> None:
    """Goes red when all stay, or when the one that follows a new snapshot is not looked at."""
    events = known_by(120)
    async with reading(SnapshotPolicy(events=1, keep=3), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        await kept_of(shard, journals["person"], events[1:])
        await assert_thinned_out(shard, events, 3)


async def test_those_made_by_hand_are_thinned_out_when_all_are_looked_through() -> None:
    events = known_by(120)
    async with reading(SnapshotPolicy(keep=3), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        for event in [None, *events[1:]]:
            await kept_of(shard, journals["person"], [event] if event else [])
            await shard.keep_snapshot("p-1")
        assert len(await snapshots_of(shard)) == len(events)
        assert await shard.clean_snapshots() > len(events) / 2  # type: ignore[attr-defined]
        await assert_thinned_out(shard, events, 3)


async def test_what_is_too_large_is_left_out_and_counted() -> None:
    async with reading(SnapshotPolicy(events=1, largest=1), person=chain("p-1", 3)) as (shards, _):
        shard = shards.of("person", "p-1")
        assert await snapshots_of(shard) == []
        assert shard._telemetry.left_out >= 1  # type: ignore[attr-defined]


def test_a_policy_that_says_nothing_keeps_all_that_was_asked_for_and_is_not_too_large() -> None:
    policy = SnapshotPolicy()
    assert policy == SnapshotPolicy(events=0, bytes=0, seconds=0, largest=4_194_304, keep=0, keep_seconds=0)
    assert (policy.is_active, policy.oldest(datetime.now(UTC))) == (False, None)


def test_any_reason_alone_keeps_snapshots_and_of_versions_alone_it_is_known_when_none_is_due() -> None:
    by_events, by_bytes, by_seconds = SnapshotPolicy(events=5), SnapshotPolicy(bytes=7), SnapshotPolicy(seconds=3)
    assert all(policy.is_active for policy in (by_events, by_bytes, by_seconds))
    assert [by_events.may_be_due(before, end) for before, end in ((0, 4), (4, 5), (5, 9), (3, 11))] == [
        False,
        True,
        False,
        True,
    ]
    assert by_bytes.may_be_due(1, 2)
    assert by_seconds.may_be_due(1, 2)
    assert not SnapshotPolicy().may_be_due(1, 2)


def test_a_snapshot_may_be_as_old_as_the_policy_says() -> None:
    now = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert SnapshotPolicy(keep_seconds=3_600).oldest(now) == "2026-11-21T08:30:00.000000Z"


async def test_former_snapshots_are_removed_by_age_and_those_kept_by_hand_too() -> None:
    events = chain("p-1", 4)
    async with reading(SnapshotPolicy(keep=2, keep_seconds=3_600), person=events[:1]) as (shards, journals):
        shard = shards.of("person", "p-1")
        for event in events[1:]:
            await shard.keep_snapshot("p-1")
            journals["person"].append([event])
            assert await shard.until_version("p-1", event.version, soon())
        assert [kept.version for kept in await snapshots_of(shard)] == [1, 2, 3]
        now = datetime.now(UTC) + timedelta(hours=2)
        shard._clock.now = lambda: now  # type: ignore[attr-defined,method-assign]
        assert await shard.clean_snapshots() == 3  # type: ignore[attr-defined]
        assert await snapshots_of(shard) == []
        store = shard._open_store.store  # type: ignore[attr-defined]
        assert list(store.range(b"n", b"o")) == list(store.range(b"w", b"x")) == []


def test_states_in_memory_are_bounded_in_bytes_and_time() -> None:
    states = RecentStates(2_000)
    states.keep("person", 1, b"a", "A", 10)
    assert (states.get("person", 1, b"a"), states.get("person", 2, b"a"), states.get("agent", 1, b"a")) == (
        "A",
        None,
        None,
    )
    states.keep("person", 1, b"b", "B", 10_000)
    assert states.get("person", 1, b"b") is None
    for cid in (b"c", b"d", b"e"):
        states.keep("person", 1, cid, "C", 10)
    assert states.get("person", 1, b"a") is None
    gone = RecentStates(2_000, kept_s=0)
    gone.keep("person", 1, b"a", "A", 10)
    assert gone.get("person", 1, b"a") is None


def test_the_setting_names_kinds_and_members() -> None:
    assert snapshot_policies("") == {"": SnapshotPolicy()}
    found = snapshot_policies("events=5, keep=2; person: bytes=7,seconds=3 ,keep_seconds=9,largest=1;agent:")
    assert found[""] == SnapshotPolicy(events=5, keep=2)
    assert found["person"] == SnapshotPolicy(bytes=7, seconds=3, keep_seconds=9, largest=1)
    assert found["agent"] == SnapshotPolicy()


@pytest.mark.parametrize(
    "text",
    [
        "events",
        "events=-1",
        "events=1,events=2",
        "often=1",
        "events=1;keep=2",
        "events=1;x:keep=y",
        "events=9999999999",
    ],
)
def test_a_wrong_policy_is_refused_by_the_settings_name(text: str) -> None:
    with pytest.raises(SettingsError, match="ANNALS_READ_SNAPSHOTS"):
        load_settings({"read_snapshots": text}, {})
