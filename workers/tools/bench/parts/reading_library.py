"""What the library answers from one reading shard, and what folding costs: no Kafka, no HTTP."""

from __future__ import annotations

import itertools
import shutil
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.found import EventFilter
from annals.schemas.values.moments import recorded_at
from annals.workers.tools.bench.baselines.reading import EventTable, fold_plainly
from annals.workers.tools.bench.figures import Figure, Runs, quantile
from annals.workers.tools.bench.load import aggregate_ids
from annals.workers.tools.bench.programs import BenchError
from annals.workers.tools.bench.reading_model import BATCH, JournalMaker, ReadingModel, forget_files, moment_of
from annals.workers.tools.bench.typical import STORIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from annals.agents.ports import JournalRecord
    from annals.workers.tools.bench.ground import Ground
    from annals.workers.tools.bench.plan import Plan

MS: Final = 1_000
LONG: Final = "person-long"
LARGE: Final = "organization-large"
COLD: Final = 20  # states, each of a store that was opened for it
PAGE: Final = 100
EVENT: Final = "PersonRenamed"

METHOD: Final = """\
By library: one partition of `person` with {events:,} events of {aggregates:,} aggregates in RocksDB, folded in this
process, whose garbage collector looks as seldom as a worker's; one aggregate more has {chain:,} events. Times are
medians of {samples:,} questions, one after the other, from the call to the answer. Cold: the store was opened for this
question, and the kernel dropped its files before. Verified: every CID and link computed anew. Without snapshot: the
state at that version, folded from the first event. By type and time: a page of 100 from the middle, one type within a
tenth of the time; SQLite has an index over (type, time), and decodes as many. Snapshot: the largest state that an
organization may have ({members:,} members), by its p99.
Folding: the typical commands of all seven kinds, each kind's journal into a store of its own, in batches of 500; plain:
the same events decoded and put as msgpack into RocksDB with their aggregate's newest members, unverified, no index.
"""


async def measure_library(ground: Ground, plan: Plan) -> tuple[str, list[Figure]]:
    """Fold, then ask; return the method and the figures."""
    runs = Runs()
    folder = ground.folder / "reading"
    for number in range(plan.runs):
        ground.say(f"read, run {number + 1} of {plan.runs}: folding")
        here = folder / str(number)
        here.mkdir(parents=True)
        runs.add(**fold_rates(here, plan.read_fold_events))
        ground.say(f"read, run {number + 1} of {plan.runs}: {plan.read_events:,} events to ask")
        runs.add(**await _answers(here, plan))
        runs.add(snapshot=await _snapshot_ms(here, plan))
        shutil.rmtree(here)
    method = METHOD.format(
        events=plan.read_events,
        aggregates=plan.drain_aggregates,
        chain=plan.read_chain,
        samples=plan.read_samples,
        members=plan.read_members,
    )
    return method, _figures(runs, plan)


def _figures(runs: Runs, plan: Plan) -> list[Figure]:
    values = runs.values
    chain = f"{plan.read_chain:,}"
    return [
        Figure(name="state by library, warm", unit="ms", values=values["warm"], most=0.2),
        Figure(name="state by library, cold", unit="ms", values=values["cold"], most=10.0),
        Figure(name=f"history of {chain} events, verified", unit="ms", values=values["history"], most=10.0),
        Figure(name=f"state of {chain} events without snapshot", unit="ms", values=values["folded"], most=20.0),
        Figure(name=f"type and time in {plan.read_events:,} events, page", unit="ms", values=values["page"], most=10.0),
        Figure(name="the same page from SQLite, unverified", unit="ms", values=values["sqlite"]),
        Figure(name="snapshot of the largest state, p99", unit="ms", values=values["snapshot"], most=100.0),
        Figure(name="fold: state and five indexes", unit="/s", values=values["indexed"], least=40_000.0),
        Figure(name="fold: eight projections on top", unit="/s", values=values["projected"], least=25_000.0),
        Figure(name="fold: plain, msgpack into RocksDB", unit="/s", values=values["plain"]),
    ]


def fold_rates(folder: Path, events: int) -> dict[str, float]:
    """Return the events per second over all kinds: state and indexes, with projections on top, and the plain fold."""
    taken = dict.fromkeys(("indexed", "projected", "plain"), 0.0)
    total = 0
    for kind in STORIES:
        records = typical_journal(kind, events // len(STORIES))
        total += len(records)
        for name in ("indexed", "projected"):
            model = ReadingModel(folder / f"{kind}-{name}", kind, with_projections=name == "projected")
            began = perf_counter()
            model.read(records)
            taken[name] += perf_counter() - began
            model.close()
        began = perf_counter()
        fold_plainly(folder / f"{kind}-plain", records, BATCH)
        taken["plain"] += perf_counter() - began
    return {name: total / seconds for name, seconds in taken.items()}


def typical_journal(kind: str, events: int) -> list[JournalRecord]:
    """Return so many events of a kind: each aggregate has the story's."""
    maker, story = JournalMaker(kind), STORIES[kind]
    records: list[JournalRecord] = []
    for number in itertools.count():
        for name, data in (*story.before, story.command):
            records += maker.decide(f"{kind}-{number:07}", name, data)
        if len(records) >= events:
            return records[:events]
    raise AssertionError("counting has no end")


async def _answers(folder: Path, plan: Plan) -> dict[str, float]:
    place, ids = folder / "asked", aggregate_ids(plan.drain_aggregates)
    model, table = ReadingModel(place, "person"), EventTable(folder / "events.sqlite")
    for records in _in_batches(JournalMaker("person").decide_all(_person_commands(ids, plan))):
        model.read(records)
        table.add(records)
    end = model.fold.position.offset
    since, until = moment_of(end // 2), moment_of(end // 2 + max(2 * PAGE, end // 10))
    wanted = EventFilter(types=(EVENT,), since=since, until=until)
    found = await model.find(wanted, start=None, descending=False, limit=PAGE)
    state = await model.state(LONG, version=plan.read_chain)
    if len(found.events) != PAGE or state is None:
        raise BenchError(f"a page of {len(found.events)} events, {state}")
    turns = itertools.cycle(ids)
    samples, few = plan.read_samples, max(1, plan.read_samples // 10)
    chain = plan.read_chain
    since_text, until_text = recorded_at(since), recorded_at(until)

    async def page_of_table() -> object:
        return table.page(EVENT, since_text, until_text, PAGE)

    answers = {
        "warm": await _ms(lambda: model.state(next(turns)), samples),
        "history": await _ms(lambda: model.history(LONG, first=1, last=chain, descending=False, limit=None), few),
        "folded": await _ms(lambda: model.state(LONG, version=chain), few),
        "page": await _ms(lambda: model.find(wanted, start=None, descending=False, limit=PAGE), few),
        "sqlite": await _ms(page_of_table, few),
    }
    table.close()
    model.close()
    return {**answers, "cold": await _cold_ms(place, ids)}


def _person_commands(ids: list[str], plan: Plan) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield LONG, "RegisterPerson", {"name": "Ada Lovelace"}
    for number in range(plan.read_chain):  # one event more than is asked for: the newest state is another
        yield LONG, "RenamePerson", {"name": f"Ada King {number}", "reason": "married once more"}
    for number in range(plan.read_events):
        turn, index = divmod(number, len(ids))
        name = f"Ada King {number}"
        if turn:
            yield ids[index], "RenamePerson", {"name": name, "reason": "married once more"}
        else:
            yield ids[index], "RegisterPerson", {"name": name, "email": f"{ids[index]}@example.org"}


def _in_batches(records: Iterator[JournalRecord]) -> Iterator[list[JournalRecord]]:
    while batch := list(itertools.islice(records, BATCH)):
        yield batch


async def _cold_ms(place: Path, ids: list[str]) -> float:
    taken = []
    for number in range(COLD):
        forget_files(place)
        model = ReadingModel(place, "person")
        began = perf_counter()
        await model.state(ids[number * len(ids) // COLD])
        taken.append(perf_counter() - began)
        model.close()
    return MS * median(taken)


async def _snapshot_ms(folder: Path, plan: Plan) -> float:
    """Return the p99 of keeping the largest state."""
    model = ReadingModel(folder / "large", "organization")
    maker = JournalMaker("organization")
    begin = [(LARGE, name, data) for name, data in STORIES["organization"].before]
    members = plan.read_members - sum(name == "AddMember" for _, name, _ in begin)
    more = (
        (LARGE, "AddMember", {"person_id": f"member-{number:07}", "role_id": "analyst", "since": "2026-01-01"})
        for number in range(members)
    )
    for records in _in_batches(maker.decide_all(itertools.chain(begin, more))):
        model.read(records)
    taken = []
    for _ in range(max(1, plan.read_samples // 10)):
        began = perf_counter()
        if await model.keep_snapshot(LARGE) is None:
            raise BenchError(f"there is no {LARGE}")
        taken.append(perf_counter() - began)
    model.close()
    return MS * quantile(taken, 0.99)


async def _ms(ask: Callable[[], Awaitable[object]], times: int) -> float:
    taken = []
    for _ in range(times):
        began = perf_counter()
        await ask()
        taken.append(perf_counter() - began)
    return MS * median(taken)
