"""Two reading workers on a real broker: each answers for both, and goes on when the other is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from grouped import SOON_MISSED, Group, GroupWorker, group
from whole_topics import delete

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 2


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
