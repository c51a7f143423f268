"""Two reading workers on a real broker: each answers for both, and goes on when the other is killed."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from grouped import SOON_MISSED, Group, GroupWorker, group
from whole_topics import delete

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 2
PARTITIONS_OF = {
    "write": r'^annals_shard_open\{kind="person",partition="(\d+)"',
    "read": r'^annals_reading_offset\{kind="person",partition="(\d+)"',
}


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, PARTITIONS) as made:
        yield made


def whole(worker: GroupWorker, events: int) -> Any:
    """A page of all persons' events, once every partition has answered with what there is."""
    status, body = worker.call("GET", "/v1/events?kind=person&limit=1000")
    is_whole = status == 200 and not body["missing"] and len(body["events"]) == events
    return body if is_whole else None


@pytest.mark.untraced
def test_each_answers_for_both_and_for_a_killed_one_too(crew: Group) -> None:
    one = crew.worker("one", SOON_MISSED, ROLES="write,read", API_PORT="0").until_ready()
    two = crew.worker("two", SOON_MISSED, ROLES="read", API_PORT="0").until_ready()
    answers = crew.answers()
    assert set(answers) == {"accepted"}
    count = len(answers)
    first, second = (
        worker.until(lambda worker=worker: whole(worker, count), "all partitions answer") for worker in (one, two)
    )
    assert first["events"] == second["events"]
    assert len({each["partition"] for each in first["events"]}) == PARTITIONS
    for event in first["events"]:
        for worker in (one, two):
            path = f"/v1/aggregates/person/{event['aggregate_id']}?version={event['version']}"
            assert worker.asked("GET", path)[1]["head"] == event["cid"]
            assert worker.asked("GET", f"/v1/events/{event['cid']}")[1] == event
    listed = two.asked("GET", "/v1/aggregates/person")[1]
    assert {each["aggregate_id"] for each in listed["aggregates"]} == {each["aggregate_id"] for each in first["events"]}

    cursor = two.asked("GET", "/v1/events?kind=person&limit=3")[1]["cursor"]
    two.process.kill()
    two.process.wait()
    assert set(crew.answers()) == {"accepted"}
    one.until(lambda: whole(one, 2 * count), "the other's partitions are read here")
    rest = one.asked("GET", f"/v1/events?kind=person&limit=1000&cursor={cursor}")[1]
    assert (rest["missing"], rest["next"]) == ([], None)
    seen = [each["cid"] for each in first["events"][:3] + rest["events"]]
    assert len(seen) == len(set(seen)) == 2 * count
    assert one.end() == 0


def shared(workers: Iterable[GroupWorker]) -> dict[str, list[set[str]]]:
    """The partitions that each worker decides about, and those that each reads."""
    return {
        role: [set(re.findall(pattern, worker.metrics(), re.MULTILINE)) for worker in workers]
        for role, pattern in PARTITIONS_OF.items()
    }


@pytest.mark.untraced
def test_workers_without_names_that_are_restarted_get_what_they_had(crew: Group) -> None:
    """The one that comes back first has everything, and gives up what the other had, not what is last."""

    def start(*names: str) -> dict[str, GroupWorker]:
        started = {name: crew.worker(name, SOON_MISSED, ROLES="write,read", API_PORT="0") for name in names[:1]}
        started[names[0]].until_ready()
        started[names[1]] = crew.worker(names[1], SOON_MISSED, ROLES="write,read", API_PORT="0")
        started[names[1]].until(lambda: each_has_one(*started.values()), "each has a partition for each role")
        return started

    def each_has_one(*workers: GroupWorker) -> bool:
        return all(len(each) == 1 for of in shared(workers).values() for each in of)

    first = start("one", "two")
    before = shared([first["one"], first["two"]])
    for worker in first.values():
        worker.kill()
    again = start("two", "one")
    assert shared([again["one"], again["two"]]) == before == {"write": [{"0"}, {"1"}], "read": [{"0"}, {"1"}]}


def test_a_journal_that_is_deleted_is_named_and_one_that_is_made_anew_stops_reading(crew: Group) -> None:
    """Goes red where the group looks for topics by itself alone: it does so every five minutes."""
    one = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    two = crew.worker("two", {}, ROLES="read", API_PORT="0").until_ready()
    count = len(crew.answers())
    for worker in (one, two):
        worker.until(lambda worker=worker: whole(worker, count), "all partitions answer")
    topic = f"{crew.settings.topic_prefix}events.person"
    asyncio.run(delete(crew.settings.bootstrap_servers, topic))
    two.until(lambda: any(f"{topic} are gone" in reason for reason in two.health() or []), "the topic is named")
    with crew.annals("topics", "create", "--partitions", str(PARTITIONS)) as making:
        assert making.wait(60) == 0
    for worker in (one, two):
        worker.until(
            lambda worker=worker: any(
                "read: person-" in reason and "made anew" in reason for reason in worker.health() or []
            ),
            "the new journal is looked at, which lacks what was acknowledged",
        )
