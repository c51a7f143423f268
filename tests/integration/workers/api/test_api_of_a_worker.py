"""The API of a worker on a real broker: a command, its state, an administrative call and its record in `audit`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from annals.schemas.values.moments import moment_of
from following import until
from grouped import AGAIN, Group, group
from processes import ENTRY_POINT, own_environment
from whole_topics import delete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

COMMAND = {"kind": "person", "id": "c-1", "type": "RegisterPerson", "aggregate_id": "a/1", "data": {"name": "Ada"}}
ADA = "/v1/aggregates/person/a%2F1"


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


def annals(crew: Group, api: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks the API or Kafka."""
    environment = own_environment(
        ANNALS_API_URL=api,
        ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers,
        ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix,
    )
    return subprocess.run(
        [ENTRY_POINT, *words], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


async def audited(crew: Group, topic: str) -> list[dict[str, Any]]:
    """What is recorded, in its order."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=crew.settings.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[dict[str, Any]] = []
        while len(found) < end:
            records = (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
            found += [{**json.loads(record.value), "key": record.key.decode()} for record in records]
        return found


def test_a_worker_answers_over_http(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    (started,) = worker.logged("worker started")
    api = started["api"]

    status, outcome = worker.asked("POST", "/v1/commands?wait=60", COMMAND)
    assert (status, outcome["version"]) == (200, 1)
    assert outcome["status"] in {"accepted", "duplicate"}, "a duplicate, where it was asked again"
    status, state = worker.asked("GET", f"{ADA}?expect_at_least=1&wait=60")
    assert status == 200, state
    assert (status, state["head"], state["state"]["name"]) == (200, outcome["head"], "Ada")
    assert worker.asked("POST", "/v1/commands?wait=60", COMMAND)[1]["status"] == "duplicate"
    stale = COMMAND | {"id": "c-2", "expected_version": 7}
    status, problem = worker.asked("POST", "/v1/commands?wait=60", stale)
    assert (status, problem["outcome"]["error"]["code"]) == (409, "version_conflict")
    assert worker.asked("POST", "/v1/commands", COMMAND | {"id": "c-3"}) == (202, {"command_id": "c-3"})
    assert worker.asked("GET", "/v1/stats")[1]["kinds"]["person"]["aggregates"] == 1

    located = COMMAND | {"kind": "location", "type": "DefineLocation", "aggregate_id": "l"}
    located["data"] = {"name": "Lab", "location_type": "logical", "parent_id": "top"}
    assert worker.asked("POST", "/v1/commands?wait=60", located)[0] == 200
    status, found = worker.asked("GET", "/v1/questions/locations?under=top&expect=location/l@1&wait=60")
    assert (status, [row["name"] for row in found["rows"]], found["missing"]) == (200, ["Lab"], []), found
    status, found = worker.asked("GET", "/v1/projections/people_directory/rows?name=ADA&expect=person/a%2F1@1&wait=60")
    assert (status, [row["aggregate_id"] for row in found["rows"]], found["next"]) == (200, ["a/1"], None), found
    status, job = worker.asked("POST", "/v1/projections/people_directory/verify")
    assert (status, job["kind"]) == (202, "verify")
    asyncio.run(until(lambda: worker.asked("GET", f"/v1/jobs/{job['id']}")[1]["status"] != "running"))
    assert worker.asked("GET", f"/v1/jobs/{job['id']}")[1]["result"]["differences"] == []

    for words in (
        "state person a/1 --version 1",
        "snapshots list person",
        "stats",
        "snapshots stats",
        f"events person a/1 --api {api}",
    ):
        told = annals(crew, api, *words.split())
        assert told.returncode == 0, told.stderr
    from_api, from_kafka = told, annals(crew, api, "events", "person", "a/1")
    assert [json.loads(line) for line in from_api.stdout.splitlines()] == [
        json.loads(line) for line in from_kafka.stdout.splitlines()
    ]

    status, kept = worker.asked("POST", f"{ADA}/snapshots", **{"x-request-id": "r-1"})
    assert (status, kept["version"]) == (201, 1)
    *_, before, after = asyncio.run(audited(crew, f"{crew.settings.topic_prefix}audit"))
    assert (before["key"], before["method"], before["path"], before["status"]) == (
        "r-1",
        "POST",
        f"{ADA}/snapshots",
        None,
    )
    assert (after["key"], after["principal"], after["status"]) == ("r-1", "anonymous", 201)

    asyncio.run(delete(crew.settings.bootstrap_servers, f"{crew.settings.topic_prefix}audit"))
    second = crew.worker("two", {}, ROLES="read", API_PORT="0", CREATE_TOPICS="0").until_ready()
    (started,) = second.logged("worker started")

    def is_refused() -> bool:
        status, problem = second.call("POST", f"{ADA}/snapshots")
        assert status in AGAIN, problem
        is_named = "annals topics create" in problem.get("detail", "")
        return (status, problem.get("type"), is_named) == (503, "urn:annals:problem:not_ready", True)

    second.until(is_refused, "it refuses what it cannot record, and says what to do")
    assert second.end() == 0

    open_to_all = crew.worker("three", {}, ROLES="write,read", API_PORT="0", API_HOST="0.0.0.0")
    assert open_to_all.until_over() == 2
    assert "ANNALS_API_TOKENS_FILE" in open_to_all.log.read_text()
    assert worker.end() == 0


def test_snapshots_by_bytes_and_by_seconds_of_a_worker(crew: Group) -> None:
    """Each is due where the events say so: the bytes of their blocks, or their times, passed a multiple."""
    policies = "person: bytes=1000; location: seconds=1"
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0", READ_SNAPSHOTS=policies).until_ready()

    def done(kind: str, number: int, type_: str, data: dict[str, Any]) -> dict[str, Any]:
        """The event of a command, once it is read."""
        command = {"kind": kind, "id": f"c-{number}", "type": type_, "aggregate_id": "a", "data": data}
        status, outcome = worker.asked("POST", "/v1/commands?wait=60", command)
        assert status == 200, outcome
        version = outcome["version"]
        path = f"/v1/aggregates/{kind}/a/events?from={version}&expect_at_least={version}&wait=60"
        (event,) = worker.asked("GET", path)[1]["events"]
        (listed,) = worker.asked("GET", f"/v1/aggregates/{kind}?expect={kind}/a@{version}")[1]["aggregates"]
        return {**event, "bytes": listed["bytes"]}

    def due(events: list[dict[str, Any]], passed: Callable[[dict[str, Any]], int]) -> list[int]:
        return [two["version"] for one, two in pairwise(events) if passed(one) != passed(two)]

    people = [done("person", 0, "RegisterPerson", {"name": "Ada"})]
    while len(by_bytes := due(people, lambda event: event["bytes"] // 1000)) < 3:
        people.append(done("person", len(people), "RenamePerson", {"name": f"Ada {len(people)}"}))
    places = [done("location", 0, "DefineLocation", {"name": "Lab", "location_type": "logical"})]
    while len(by_seconds := due(places, lambda event: moment_of(event["recorded_at"]).second)) < 2:
        places.append(done("location", len(places), "SetCapacity", {"capacity": len(places)}))
    for kind, expected in (("person", by_bytes), ("location", by_seconds)):
        listed, path = [], f"/v1/aggregates/{kind}/a/snapshots?limit=1"
        while path:
            page = worker.asked("GET", path)[1]
            listed += [each["version"] for each in page["snapshots"]]
            path = page["next"]
        assert listed == expected
        newest = json.loads(
            annals(crew, worker.logged("worker started")[0]["api"], "snapshots", "show", kind, "a", "--json").stdout
        )
        assert newest["version"] == expected[-1]
