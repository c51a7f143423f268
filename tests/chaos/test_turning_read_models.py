"""Three workers turn to new versions of a local and a global projection while parents and children are killed.

Every page of rows that any of them answers meanwhile is compared with what a fold of its own has at the page's
positions, and so is every state. ANNALS_TEST_READ_MODELS_SEED draws other kills.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
from chaos_crew import NAMES, Api, Sender, has_read_all, start
from chaos_readings import Journals
from chaos_rows import MODELS, RowsOf, as_texts, longer_story, shouted, without_sharers
from chaos_workers import eventually

from annals.agents.reading.jobs import DONE
from annals.topics.keys import partition_of
from grouped import Group, GroupWorker, group
from processes import WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from annals.schemas.outcome import Outcome

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]

SEED = int(os.environ.get("ANNALS_TEST_READ_MODELS_SEED", "1"))
PARTITIONS = 3
STORIES = 18
PAUSE_S = 0.05
OK, NOT_FOUND = 200, 404
GLOBAL = {"locations"}
TURNED = {"people_directory", *GLOBAL}
# The child, which reads, is of a release that has a second version of these: all names in capitals.
SECOND = f"""
import dataclasses
import msgspec
import annals.agents.registered as registered
known = dict(registered.projections())
def second(first):
    def fold(event, rows):
        first.fold(event, rows)
        row = rows.get(event.aggregate_id)
        rows.put(msgspec.structs.replace(row, name=row.name.upper()), event.aggregate_id)
    return dataclasses.replace(first, version=2, fold=fold)
for name in {sorted(TURNED)}:
    (first,) = known[name]
    known[name] = (first, second(first))
registered.projections = lambda: known
"""
RELEASE = {
    "exec": f"""
import annals.workers.reader_process as parent
then = "from annals.workers.reader_child import main; import sys; main(sys.argv[1:])"
parent.PROGRAM = ("-P", "-c", {SECOND!r} + then)
"""
}


class Page(NamedTuple):
    """What was asked of a worker, and its answer. expected: the event that the answer must rest on, if any.

    known: how many outcomes there were when what answers began to read: where it says nothing, it has read those.
    """

    worker: str
    model: str
    body: Any
    expected: tuple[str, str, int] | None
    known: int


class Asker:
    """Asks for rows and states in a thread of its own until told to end, each time another worker.

    pages: of rows that were answered; states: of aggregates, None: there is none; told: answers by status.
    """

    def __init__(self, workers: dict[str, Api], sender: Sender, seed: int) -> None:
        self._workers = workers
        self._sender = sender
        self._draw = random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.known = dict.fromkeys(NAMES, 0)
        self.pages: list[Page] = []
        self.states: list[tuple[str, str, int, Any]] = []
        self.told: Counter[int] = Counter()
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def until_answered(self, count: int) -> None:
        """Wait until so many more pages were answered, whoever is killed."""
        wanted = len(self.pages) + count
        eventually(lambda: len(self.pages) >= wanted or self.error, f"{count} more pages")

    def _run(self) -> None:
        try:
            for model in itertools.cycle(MODELS):
                if self._is_over.is_set():
                    return
                self._ask(self._draw.choice(NAMES), model)
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self.error = error

    def _ask(self, worker: str, model: str) -> None:
        path, expected = f"/v1/projections/{model}/rows?limit=1000", None
        recent = self._sender.outcomes[-60:]
        if recent and self._draw.random() < 0.5:
            last = self._draw.choice(recent)
            expected = (last.kind, last.aggregate_id, last.version)
            path += f"&wait=5&expect={last.kind}/{quote(last.aggregate_id)}@{last.version}"
        known = self.known[worker] if model in GLOBAL else min(self.known.values())
        status, body = self._workers[worker](path)
        self.told[status] += 1
        if status == OK:
            self.pages.append(Page(worker, model, body, expected, known))
        if recent:
            last = self._draw.choice(recent)
            path = f"/v1/aggregates/{last.kind}/{quote(last.aggregate_id)}?expect_at_least={last.version}&wait=5"
            status, body = self._workers[worker](path)
            self.told[status] += 1
            if status in {OK, NOT_FOUND}:
                self.states.append((last.kind, last.aggregate_id, last.version, body if status == OK else None))
        self._is_over.wait(PAUSE_S)


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


class Killer:
    """Kills parents, children and both, and starts again what does not start again by itself; drawn from a seed."""

    def __init__(self, crew: Group, workers: dict[str, GroupWorker], asker: Asker, sender: Sender, seed: int) -> None:
        self._crew = crew
        self._workers = workers
        self._asker = asker
        self._sender = sender
        self._draw = random.Random(seed)
        self.releases: dict[str, Any] = dict.fromkeys(NAMES)
        self.killed: Counter[str] = Counter()

    def strike(self) -> None:
        name, what = self._draw.choice(NAMES), self._draw.choice(("parent", "child", "both"))
        self.killed[what] += 1
        self.kill(name, what)

    def kill(self, name: str, what: str) -> None:
        worker, known = self._workers[name], len(self._sender.outcomes)
        if what == "child":
            worker.kill_reader()
        else:
            reader = worker.reader()
            if what == "both":
                worker.kill()
            worker.process.kill()
            worker.process.wait()
            reader.wait(WITHIN_S)  # it ends with its parent
            self._workers[name] = start(self._crew, name, self.releases[name])
        self._asker.known[name] = known

    def update(self, name: str) -> None:
        """Kill a worker, and start the new release in its place."""
        self.releases[name] = RELEASE
        self.kill(name, self._draw.choice(("parent", "both")))


def assert_pages(pages: Sequence[Page], journals: Journals, outcomes: Sequence[Outcome]) -> dict[str, set[int]]:
    """Each page has exactly the rows of its positions, of one version; return the versions that were seen of each."""
    rows, seen = RowsOf(journals, PARTITIONS), {model: set[int]() for model in MODELS}
    offsets = {
        (event["kind"], event["aggregate_id"], event["version"]): (event["partition"], event["offset"])
        for event in journals.all()
    }
    for page in pages:
        kind, body = MODELS[page.model][0], page.body
        positions = body["positions"]
        missing = {each["partition"] for each in body["missing"]}
        assert missing == {at for at, offset in enumerate(positions[kind]) if offset is None}, page
        assert (body["next"] is None) == (not missing), page
        shown = [row for row in body["rows"] if partition_of(row["aggregate_id"].encode(), PARTITIONS) not in missing]
        # A partition whose rows are there may not have said who shares addresses of others.
        assert page.model == "people_directory" or len(shown) == len(body["rows"]), page
        wanted, found = rows.at(page.model, positions), as_texts(shown)
        if page.model == "people_directory":
            wanted, found = without_sharers(wanted), without_sharers(found)
        versions = {1: wanted, **({2: shouted(wanted)} if page.model in TURNED else {})}
        of = [version for version, its in versions.items() if its == found]
        assert of, (page.worker, page.model, positions, body["stale"], _difference(wanted, found))
        if found:
            seen[page.model] |= set(of)
        stale = missing | {each["partition"] for each in body["stale"]}
        events = [(each.kind, each.aggregate_id, each.version) for each in outcomes[: page.known]]
        for event in [each for each in events if each[0] == kind]:
            partition, offset = offsets[event]
            assert partition in stale or positions[kind][partition] > offset, (page, offset)
        if page.expected is not None and page.expected[0] == kind:
            partition, offset = offsets[page.expected]
            assert (positions[kind][partition] or 0) > offset, (page, offset)
    return seen


def _difference(wanted: list[str], found: list[str]) -> Any:
    return sorted(set(wanted) - set(found))[:3], sorted(set(found) - set(wanted))[:3]


def assert_states(states: Sequence[tuple[str, str, int, Any]], journals: Journals) -> None:
    """Each state is the one at its position, and no older than was asked for."""
    offsets: dict[tuple[str, str], list[int]] = {}
    for event in journals.all():
        offsets.setdefault((event["kind"], event["aggregate_id"]), []).append(event["offset"])
    for kind, name, least, body in states:
        assert body is not None, (kind, name, least)
        version = sum(offset < body["position"]["offset"] for offset in offsets[kind, name])
        assert body["version"] == version >= least, (kind, name, least, body)
        wanted = journals.state((kind, name), version)
        assert {member: body[member] for member in wanted} == wanted, (kind, name, version)


def assert_whole(apis: dict[str, Api], journals: Journals) -> None:
    """Every row of every read model, on whichever worker answers; who shares an address among them."""
    rows = RowsOf(journals, PARTITIONS)
    for api in apis.values():
        eventually(lambda api=api: has_read_all(api, journals), "everything is read", WITHIN_S)
        for model in MODELS:
            wanted = rows.at(model, journals.ends)
            assert wanted, model
            found = as_texts(api.pages(f"/v1/projections/{model}/rows?limit=1000", "rows"))
            assert found == (shouted(wanted) if model in TURNED else wanted), model


def test_while_all_turn_and_are_killed_each_answer_is_what_a_fold_has_at_its_position(crew: Group) -> None:
    workers = {name: start(crew, name) for name in NAMES[:1]}
    workers["w0"].until_ready()  # it makes the topics
    workers |= {name: start(crew, name) for name in NAMES[1:]}
    for worker in workers.values():
        worker.until_ready()
    apis = {name: Api(worker) for name, worker in workers.items()}

    def first_records() -> bool:
        told = [each for worker in workers.values() for each in worker.logged("turned to a version of a projection")]
        return {each["projection"] for each in told} >= set(TURNED)

    # Without the first record the next release would answer by its newest version, whatever there is of its rows.
    eventually(first_records, "the first records are written")
    draw, sender = random.Random(SEED), Sender(crew, STORIES, longer_story)
    asker = Asker(apis, sender, SEED)
    killer = Killer(crew, workers, asker, sender, SEED)
    sender.start()
    asker.start()

    eventually(lambda: sender.outcomes or sender.error, "a first outcome")
    asker.until_answered(2 * len(MODELS))
    each, steps = len(longer_story(0)), [*(["update"] * len(NAMES)), *(["strike"] * 6)]
    draw.shuffle(steps)
    updated = iter(draw.sample(NAMES, len(NAMES)))
    for at, step in enumerate(steps, 1):
        wanted = at * each * STORIES // (len(steps) + 2)
        eventually(lambda wanted=wanted: sender.told.total() >= wanted or sender.error, f"{wanted} outcomes")
        killer.strike() if step == "strike" else killer.update(next(updated))
        asker.until_answered(len(MODELS))
    sender.until_done()
    assert set(sender.told) == {"accepted"}, sender.told
    for worker in workers.values():
        worker.until_ready()
    for name, model in itertools.product(NAMES, TURNED):
        said = partial(apis[name], f"/v1/projections/{model}")
        is_new = f"{name} answers by the new {model}"
        eventually(
            lambda said=said: (said()[1] or {}).get("version") == 2, is_new, WITHIN_S, lambda said=said: str(said())
        )
    asker.until_answered(2 * len(MODELS))
    asker.end()

    journals = Journals(crew.settings, PARTITIONS)
    assert len(journals.all()) >= each * STORIES
    seen = assert_pages(asker.pages, journals, sender.outcomes)
    assert {model: seen[model] for model in TURNED} == {model: {1, 2} for model in TURNED}, seen
    assert_states(asker.states, journals)
    assert len(asker.states) > each, asker.told
    assert_whole(apis, journals)
    for model in TURNED:
        status, job = apis["w1"](f"/v1/projections/{model}/verify", "POST")
        assert status == 202, job
        job = eventually(lambda job=job: _ended(apis["w2"].get(f"/v1/jobs/{job['id']}")), "verified")
        assert (job["status"], job["result"]["differences"], job["result"]["unanswered"]) == (DONE, [], []), job


def _ended(job: Any) -> Any:
    return None if job["status"] == "running" else job
