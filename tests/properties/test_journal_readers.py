"""All readers say the same of each record: the rule record by record, the fold, and verification in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.fold import Fold
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import JournalRecord, StoppedError
from annals.schemas.journal_reader import Counted, Foreign, Gap, KeptEnd, RememberingReader, Void
from annals.topics.keys import keys_of
from annals.topics.wire import encode_headers
from annals.workers.audit import scan as surveying
from annals.workers.audit import verify as verifying
from annals.workers.audit.chains import JournalId
from annals.workers.audit.verify import verify_records
from annals.workers.stores.memory import MemoryStore
from chained import Sealed, chain, records, sealed

if TYPE_CHECKING:
    from annals.workers.audit.report import Report

PARTITIONS = 2
NAMES = ("p-1", "p-2", "p-3", "\u00c4", "A\u0308")
REASONS = {"void": Void, "foreign": Foreign, "gap": Gap}
SAID: dict[str, type] = {"counts": Counted, **REASONS}


def forked(name: str) -> list[Sealed]:
    """A chain, and another writer's that leaves it after its first event and goes on."""
    own = chain(name, 4)
    return [*own, *chain(name, 3, after=own[0], command_id="zombie")]


EVENTS = [event for name in NAMES for event in forked(name)]
STRANGE = [
    EVENTS[0].but(value=b"?"),
    EVENTS[0].but(value=None),
    EVENTS[1].but(key=None),
    EVENTS[1].but(key=b"p-9"),
    sealed("p-1", 1, EVENTS[0].cid),
    sealed("p-1", 0, None),
    sealed("p-1", -(2**64), None),
    sealed("p-1", 2**64 - 1, EVENTS[0].cid),
    sealed("p-2", 1, None, kind="organization"),
]
JOURNALS = st.lists(st.sampled_from(EVENTS + STRANGE) | st.sampled_from(EVENTS[:7]), max_size=40)
# Mostly in order, so that chains become longer than two.
ORDERED = st.lists(st.sampled_from(range(len(EVENTS))), max_size=40).map(
    lambda numbers: [EVENTS[number] for number in sorted(numbers)]
)


def by_the_rule(events: list[Sealed], partition: int) -> tuple[list[type], RememberingReader]:
    reader = RememberingReader("person", keys_of(partition, PARTITIONS))
    return [type(reader.read(offset, event.key, event.value)) for offset, event in enumerate(events)], reader


def in_bulk(events: list[Sealed], partition: int) -> tuple[list[type], Report]:
    """What `annals verify` says of each record; headers are not what this is about."""
    found = [(*record[:3], encode_headers(record[3])) for record in records(events)]
    report = verify_records(JournalId("person", "events.person", partition, PARTITIONS), found)
    statuses: list[type] = [Counted] * len(events)
    for broken in report.broken:
        word = broken.reason.split(":")[0]
        if word in REASONS:
            statuses[broken.offset or 0] = REASONS[word]
    return statuses, report


def up_to_a_gap(events: list[Sealed], partition: int) -> list[Sealed]:
    """The records of aggregates before their first gap: what comes after one is judged by nobody."""
    reader = RememberingReader("person", keys_of(partition, PARTITIONS))
    stopped: set[bytes | None] = set()
    kept = []
    for offset, event in enumerate(events):
        if event.key not in stopped:
            kept.append(event)
            if type(reader.read(offset, event.key, event.value)) is Gap:
                stopped.add(event.key)
    return kept


@pytest.fixture(autouse=True, params=[1, 3, 256])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few records in a survey, and so few surveys in a chunk, that one begins anywhere."""
    monkeypatch.setattr(surveying, "TOGETHER", request.param)
    monkeypatch.setattr(verifying, "CHUNK_OFFSETS", 2 * request.param)


@given(events=JOURNALS | ORDERED, partition=st.integers(0, PARTITIONS - 1))
def test_verification_in_bulk_says_what_the_rule_says(events: list[Sealed], partition: int) -> None:
    judged = up_to_a_gap(events, partition)
    statuses, reader = by_the_rule(judged, partition)
    found, report = in_bulk(judged, partition)
    assert found == statuses
    counts = (statuses.count(Counted), len(reader.ends), statuses.count(Void), statuses.count(Foreign))
    assert (report.events, report.aggregates, report.void, report.foreign) == counts


@given(events=JOURNALS | ORDERED, partition=st.integers(0, PARTITIONS - 1), batch=st.integers(1, 5))
def test_the_fold_says_what_the_rule_says_and_stops_at_a_gap(events: list[Sealed], partition: int, batch: int) -> None:
    statuses, _ = by_the_rule(events, partition)
    readable = statuses.index(Gap) if Gap in statuses else len(statuses)
    store, decider = MemoryStore(), REGISTRY["person"]
    fold = Fold(decider, WorkingSet(decider, store, AggregateCache(1 << 20)), partition, PARTITIONS)
    stopped = False
    for start in range(0, len(events), batch):
        part = [JournalRecord(start + n, e.key, e.value) for n, e in enumerate(events[start : start + batch])]
        try:
            fold.apply(part)
        except StoppedError:
            stopped = True
            break
    before = statuses[:readable]
    assert stopped == (Gap in statuses)
    assert dict(fold.counts) == {
        name: before.count(kind)
        for name, kind in (("events", Counted), ("void", Void), ("foreign", Foreign))
        if kind in before
    }
    _, reader = by_the_rule(events[:readable], partition)
    ends = {key: store.aggregate(key) for key in reader.ends}
    assert {key: KeptEnd(end.version, end.head) for key, end in ends.items() if end} == reader.ends
    assert set(store.voids()) == reader.voids
