"""A re-keyed projection on the broker: events of all partitions are in one row, while those who fold are killed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from annals.topics.catalog import REKEYED_TOPIC_BYTES
from annals.workers.settings import client_options
from distributions import installed
from grouped import SOON_MISSED, Group, GroupWorker, group
from processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

EACH = 6
READ = '{role="read"}'
KEYS = ("c-1", "c-2", "c-3", "c-4")
PROJECTION = """
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row
from annals.schemas.kinds import person as say


class Cause(Row, kw_only=True):
    seen: list[str] = []


def indexes(row):
    return {"first": row.seen[:1]}


def fold(event, rows):
    old = rows.get(event.key) or Cause(kind=event.kind, aggregate_id=event.key)
    rows.put(replace(old, seen=[*old.seen, event.aggregate_id]), event.key)


BY_CAUSE = Projection(
    name="by_cause", version=1, wanted={"person": frozenset({say.PersonRegistered})}, row=Cause,
    parameters=("first",), indexes=indexes, fold=fold, key="correlation_id", rekeyed=True,
)
"""


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """A group whose processes have a distribution with the projection."""
    entry_point = "[annals.projections]\nby_cause = causes:BY_CAUSE\n"
    monkeypatch.setenv("PYTHONPATH", installed(tmp_path / "site", "annals-causes", entry_point, causes=PROJECTION))
    with group(bootstrap, topic_prefix, tmp_path, partitions=3) as made:
        yield made


def start(crew: Group, name: str) -> GroupWorker:
    return crew.worker(name, SOON_MISSED, ROLES="write,read", API_PORT=str(free_port())).until_ready()


def send(crew: Group, numbers: range) -> None:
    """Register people, each with one of the keys, in the partition of their own ids."""
    crew.send(
        {
            "kind": "person",
            "aggregate_id": f"p-{key}-{number}",
            "type": "RegisterPerson",
            "correlation_id": key,
            "data": {"name": "Ada"},
        }
        for number in numbers
        for key in KEYS
    )


def rows(worker: GroupWorker) -> dict[str, Any]:
    """The answer of a worker; empty while it gives none."""
    status, body = worker.call("GET", "/v1/projections/by_cause/rows?limit=100")
    return body if status == 200 else {}


def seen(answer: dict[str, Any]) -> dict[str, list[str]]:
    return {row["aggregate_id"]: sorted(row["seen"]) for row in answer.get("rows", ())}


def log_of(*workers: GroupWorker) -> str:
    """What they have logged of the projection."""
    return "".join(
        each["event"]
        for worker in workers
        for each in worker.logged("turned to")
        if each.get("projection") == "by_cause"
    )


@pytest.mark.untraced
def test_each_event_is_in_its_keys_row_once_whatever_is_killed(crew: Group) -> None:
    one = start(crew, "one")
    send(crew, range(2))
    one.kill_reader()
    two = start(crew, "two")  # partitions of journal and stream move
    send(crew, range(2, 4))
    two.kill_reader()
    send(crew, range(4, 5))
    one.until_ready()
    two.until_ready()
    wanted = {key: sorted(f"p-{key}-{number}" for number in range(5)) for key in KEYS}
    two.until(lambda: seen(rows(two)) == wanted, "rows of both workers")
    one.until(lambda: seen(rows(one)) == wanted, "the same of the other worker")
    one.kill()
    send(crew, range(5, EACH))

    wanted = {key: sorted(f"p-{key}-{number}" for number in range(EACH)) for key in KEYS}
    two.until(lambda: seen(rows(two)) == wanted, "all rows of one worker, which had a part of them")

    def whole() -> dict[str, Any]:
        answer = rows(two)
        return answer if answer and not answer["stale"] and not answer["missing"] else {}

    answer = two.until(whole, "nothing is left to copy or to fold")
    assert {place: len(offsets) for place, offsets in answer["positions"].items()} == {"rekeyed.by_cause": 3}
    assert len(crew.records("rekeyed.by_cause")) == EACH * len(KEYS)
    none_invalid = f"annals_projection_records_invalid_total{READ} 0.0"
    two.until(lambda: none_invalid in two.metrics(), "no record was invalid")
    two.until(lambda: "turned to a version of a projection" in log_of(one, two), "all have turned to its version")
    api = two.logged("worker started")[0]["api"]
    found = json.loads(crew.said("projections", "verify", "by_cause", "--json", "--api", api))["result"]
    assert (found["differences"], found["unanswered"], found["rows"]) == ([], [], len(KEYS))
    first = answer["rows"][0]["seen"][0]
    assert len(two.asked("GET", f"/v1/projections/by_cause/rows?first={first}")[1]["rows"]) == 1

    send(crew, range(EACH, EACH + 1))
    for key in KEYS:
        own = f"p-{key}-{EACH}"
        status, body = two.asked("GET", f"/v1/projections/by_cause/rows?expect=person/{own}@1&wait=60")
        assert (status, own in seen(body)[key]) == (200, True)
    assert two.end() == 0


def test_a_stream_that_is_made_anew_stops_its_projection_which_says_so(crew: Group) -> None:
    one = start(crew, "one")
    send(crew, range(2))
    wanted = {key: sorted(f"p-{key}-{number}" for number in range(2)) for key in KEYS}
    one.until(lambda: seen(rows(one)) == wanted, "its rows")
    topic = f"{crew.settings.topic_prefix}rekeyed.by_cause"
    settings = {"retention.ms": "-1", "max.message.bytes": str(REKEYED_TOPIC_BYTES)}

    async def make_anew() -> None:
        admin = AIOKafkaAdminClient(**client_options(crew.settings))
        await admin.start()
        try:
            await admin.delete_topics([topic])
            while topic in await admin.list_topics():  # noqa: ASYNC110 - brokers tell nobody
                await asyncio.sleep(0.1)
            await admin.create_topics([NewTopic(topic, 3, 1, topic_configs=settings)])
        finally:
            await admin.close()

    asyncio.run(make_anew())
    reason = one.until_told("the topic was deleted and made anew")
    assert "rekeyed.by_cause" in reason
    assert "give the projection another name, under which it begins anew" in reason
    one.until(lambda: rows(one).get("stale"), "its rows are said to be old")
    assert seen(rows(one)) == wanted
    assert one.end() == 0
