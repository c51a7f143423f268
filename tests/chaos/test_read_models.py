"""Three workers of all roles, parents and children killed while commands run: every answer is what a fold has."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from chaos_crew import NAMES, Api, Sender, has_read_all, start
from chaos_readings import Journals, story
from chaos_walks import Walker
from chaos_workers import eventually

from annals.agents.reading.jobs import DONE
from annals.workers.registry import projections
from grouped import Group, group
from processes import WITHIN_S
from projecting import rows_from_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PARTITIONS = 3
STORIES = 18
FILTERS = ("type", "correlation_id", "causation_id", "command_id", "actor")


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def assert_index(api: Api, journals: Journals) -> None:
    """Every index of events answers what the journals have, in the order of the contract."""
    every = journals.found()
    assert api.pages("/v1/events?limit=1000", "events") == every
    for member in FILTERS:
        values = sorted({event[member] for event in every if event[member] is not None})
        assert len(values) > 1, member
        for value in spread(values):
            assert_found(api, journals, {member: value})
    times = sorted({event["recorded_at"] for event in every})
    for since, until in itertools.combinations(spread(times, 4), 2):
        assert_found(api, journals, {"since": since, "until": until})
    assert_found(api, journals, {"since": times[-1]})
    assert_found(api, journals, {"until": times[0]})
    for event in spread(every):
        assert api.get(f"/v1/events/{event['cid']}") == event
        assert_found(api, journals, {member: event[member] for member in FILTERS if event[member] is not None})
        assert_found(api, journals, {"kind": event["kind"], "actor": event["actor"], "since": event["recorded_at"]})


def assert_found(api: Api, journals: Journals, asked: dict[str, str]) -> None:
    """By pages of several sizes, and downwards: there each partition's own order is what is promised."""
    wanted = journals.found(**asked)
    for limit in (1000, 40):
        query = urlencode({**asked, "limit": limit})
        assert api.pages(f"/v1/events?{query}", "events") == wanted, asked
    down = api.pages(f"/v1/events?{urlencode({**asked, 'order': 'desc', 'limit': 1000})}", "events")
    assert by_partition(down[::-1]) == by_partition(wanted), asked


def assert_walks(walker: Walker, journals: Journals) -> None:
    """Each walk has of every partition an unbroken part of its events, from the first one on, and what was shown."""
    assert walker.walks
    for order, asked, events in walker.walks:
        wanted = by_partition(journals.found(**asked))
        for key, found in by_partition(events if order == "asc" else events[::-1]).items():
            assert found == wanted[key][: len(found)], (order, asked, key)
    assert walker.lost == []


def by_partition(events: list[Any]) -> dict[tuple[str, int], list[Any]]:
    found: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for event in events:
        found[event["kind"], event["partition"]].append(event)
    return found


def spread(values: list[Any], count: int = 12) -> list[Any]:
    """Some of a list, from its first to its last."""
    count = min(count, len(values))
    return [values[number * (len(values) - 1) // max(1, count - 1)] for number in range(count)]


def assert_states(api: Api, journals: Journals) -> None:
    """Every aggregate's state is what its decider folds, now and at a version before, and so is its history."""
    for number, key in enumerate(sorted(journals.heads)):
        kind, name = key
        path, newest = f"/v1/aggregates/{kind}/{quote(name)}", len(journals.heads[key])
        for version, query in ((newest, ""), (max(1, newest - 1), f"?version={max(1, newest - 1)}")):
            wanted, found = journals.state(key, version), api.get(path + query)
            assert {member: found[member] for member in wanted} == wanted, (key, version)
        if number % 7 == 0:
            history = api.pages(f"{path}/events?limit=1000", "events")
            assert [event["cid"] for event in history] == journals.heads[key]
    for kind in journals.ends:
        listed = api.pages(f"/v1/aggregates/{kind}?limit=1000", "aggregates")
        found = {(kind, each["aggregate_id"]): (each["version"], each["head"]) for each in listed}
        assert found == {key: (len(heads), heads[-1]) for key, heads in journals.heads.items() if key[0] == kind}


def assert_rows(api: Api, folded: dict[str, list[Any]]) -> None:
    """Every row of every projection is one of a fold from Kafka, and none is missing."""
    for name, rows in folded.items():
        found = api.pages(f"/v1/projections/{name}/rows?limit=1000", "rows")
        assert sorted(map(_text, found)) == sorted(map(_text, rows)), name
        assert rows, name


def _text(row: Any) -> str:
    return json.dumps(row, sort_keys=True)


def test_after_kills_of_parents_and_children_every_answer_is_that_of_a_fold(crew: Group) -> None:
    workers = {name: start(crew, name) for name in NAMES[:1]}
    workers["w0"].until_ready()  # it makes the topics
    workers |= {name: start(crew, name) for name in NAMES[1:]}
    for worker in workers.values():
        worker.until_ready()
    apis = [Api(worker) for worker in workers.values()]
    walker = Walker(apis)
    sender = Sender(crew, STORIES, story)
    sender.start()
    walker.start()

    def until_told(count: int) -> None:
        eventually(lambda: sender.told.total() >= count or sender.error, f"{count} outcomes")

    each = len(story(0))
    until_told(2 * each)
    workers["w1"].kill_reader()
    until_told(4 * each)
    workers["w0"].process.kill()
    workers["w0"].process.wait()
    workers["w0"] = start(crew, "w0")
    until_told(7 * each)
    workers["w2"].kill_reader()
    workers["w1"].process.kill()
    workers["w1"].process.wait()
    workers["w1"] = start(crew, "w1")
    sender.until_done()
    assert set(sender.told) == {"accepted"}, sender.told
    for worker in workers.values():
        worker.until_ready()
    walker.end()

    journals = Journals(crew.settings, PARTITIONS)
    assert len(journals.all()) >= STORIES * each
    newest = [versions[-1] for versions in projections().values()]
    folded = asyncio.run(rows_from_kafka(crew.settings, newest))
    assert_walks(walker, journals)
    for api in apis:
        eventually(
            lambda api=api: has_read_all(api, journals),
            "everything is read",
            WITHIN_S,
            lambda api=api: f"{api('/v1/projections')}",
        )
        assert_rows(api, folded)
        assert_index(api, journals)
    assert_states(apis[0], journals)
    status, job = apis[1](f"/v1/projections/{newest[0].name}/verify", "POST")
    assert status == 202, job
    job = eventually(lambda: _ended(apis[2].get(f"/v1/jobs/{job['id']}")), "verified")
    assert (job["status"], job["result"]["differences"], job["result"]["unanswered"]) == (DONE, [], [])


def _ended(job: Any) -> Any:
    return None if job["status"] == "running" else job
