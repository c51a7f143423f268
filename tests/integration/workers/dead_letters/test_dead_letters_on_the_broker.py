"""Dead letters on a real broker: listed page by page, sent again by two administrators at once, discarded."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from grouped import Group, group
from processes import until
from whole_topics import reader_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PARTITIONS = 2
WITHIN_S = 300
FORGED = [("origin-partition", b"0"), ("origin-offset", b"0")]
MANY = 1_200  # more than one transaction and one page take


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, partitions=PARTITIONS) as made:
        yield made


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return exit status and standard output of a command."""
    out, problems = process.communicate(timeout=600)
    assert process.returncode in {0, 1}, problems
    return process.returncode, out


def run(crew: Group, *arguments: str) -> tuple[int, Any]:
    """Run a command that prints one JSON document."""
    status, out = said(crew.annals("dead-letters", *arguments, "--json"))
    return status, json.loads(out)


def misrouted(number: int) -> tuple[bytes, bytes, int]:
    """Return a command and the partition that its key does not belong to."""
    key = f"p-{number}".encode()
    # Every other one renames somebody who does not exist: it is rejected, and nothing remembers a rejected command.
    kind, data = ("RegisterPerson", {"name": "Ada"}) if number % 2 else ("RenamePerson", {"name": "Ada"})
    command = {"id": f"c-{number}", "type": kind, "aggregate_id": key.decode(), "data": data}
    return key, json.dumps(command).encode(), 1 - partition_of(key, PARTITIONS)


async def produce(crew: Group, *, numbers: range) -> None:
    """Send commands that are dead letters as misrouted: copies that were forwarded to the wrong partition."""
    topic = TopicNames(crew.settings.topic_prefix).commands("person")
    async with AIOKafkaProducer(bootstrap_servers=crew.settings.bootstrap_servers) as producer:
        sent = [
            await producer.send(topic, value, key, partition=partition, headers=FORGED)
            for key, value, partition in map(misrouted, numbers)
        ]
        await asyncio.gather(*sent)


async def outcomes(crew: Group, count: int) -> Counter[str]:
    """How often each command was answered, once so many were, to the end of the topic."""
    names, answered = TopicNames(crew.settings.topic_prefix), Counter[str]()
    consumer = reader_of(crew.settings.bootstrap_servers)
    wheres = [TopicPartition(names.outcomes("person"), partition) for partition in range(PARTITIONS)]
    async with consumer, asyncio.timeout(WITHIN_S):
        consumer.assign(wheres)
        while answered.total() < count:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                answered.update(json.loads(record.value)["command_id"] for record in records)
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            answered.update(json.loads(record.value)["command_id"] for record in records)
    return answered


def open_letters(crew: Group, *filters: str) -> list[dict[str, Any]]:
    """All that are open, page by page."""
    found, cursor = [], "0-0"
    while cursor:
        status, page = run(crew, "list", "--limit", "1000", "--cursor", cursor, *filters)
        assert status == 0
        assert len(page["dead_letters"]) <= 1000
        found += page["dead_letters"]
        cursor = page["next"]
    return found


def test_dead_letters_are_settled_once(crew: Group) -> None:
    worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
    asyncio.run(produce(crew, numbers=range(MANY)))
    counted = f'annals_dead_letters_total{{kind="person",reason="misrouted"}} {float(MANY)}'
    until(lambda: counted in worker.metrics(), worker.process, worker.log, "all are dead letters")

    letters = open_letters(crew)
    assert len(letters) == MANY
    first, last = letters[0], letters[-1]
    told = f'annals_dead_letters_open{{role="read"}} {float(MANY)}'
    until(lambda: told in worker.metrics(), worker.process, worker.log, "they are counted")
    assert (first["reason"], first["kind"], first["source_topic"].endswith("commands.person")) == (
        "misrouted",
        "person",
        True,
    )
    assert first["command_id"].replace("c", "p") == first["aggregate_id"]
    assert len(open_letters(crew, "--type", "RegisterPerson", "--reason", "misrouted")) == MANY // 2
    assert [each["aggregate_id"] for each in open_letters(crew, "--aggregate", "person/p-7")] == ["p-7"]
    assert open_letters(crew, "--reason", "not_json") == []

    status, shown = run(crew, "show", str(first["offset"]))
    assert (status, json.loads(shown["value"])["id"], shown["settled"]) == (0, first["command_id"], None)
    assert worker.asked("GET", f"/v1/dead-letters/{first['offset']}") == (200, shown)
    assert worker.asked("GET", f"/v1/dead-letters/{last['offset'] + 1_000}")[0] == 404
    status, page = worker.asked("GET", "/v1/dead-letters?limit=2&reason=misrouted")
    assert (status, page["dead_letters"][0]) == (200, first)
    assert worker.asked("GET", page["next"])[1]["dead_letters"][0]["offset"] > page["dead_letters"][1]["offset"]
    assert worker.asked("POST", "/v1/dead-letters/discard", {"all": True})[0] == 400
    assert worker.asked("POST", "/v1/dead-letters/replay", {"all": True, "offsets": [1]})[0] == 400

    stop_at = str(last["offset"])
    discarding = {"offsets": [first["offset"]], "reason": "sent by mistake"}
    status, discarded = worker.asked("POST", "/v1/dead-letters/discard", discarding)
    assert (status, discarded["refused"]) == (202, 0)  # accepted: 1, or 0 where it was asked again
    assert worker.asked("POST", "/v1/dead-letters/discard", discarding) == (202, {"accepted": 0, "refused": 0})
    settled = worker.asked("GET", f"/v1/dead-letters/{first['offset']}")[1]["settled"]
    assert (settled["action"], settled["reason"]) == ("discard", "sent by mistake")

    both = [crew.annals("dead-letters", "replay", "--all", "--stop-at", stop_at, "--json") for _ in range(2)]
    accepted = [json.loads(said(each)[1])["accepted"] for each in both]
    assert sum(accepted) == MANY - 2
    assert [each["offset"] for each in open_letters(crew)] == [last["offset"]]

    answered = asyncio.run(outcomes(crew, MANY - 2))
    assert set(answered.values()) == {1}
    assert len(answered) == MANY - 2
    assert not {first["command_id"], last["command_id"]} & set(answered)

    exported = said(crew.annals("dead-letters", "export"))[1].splitlines()
    assert [json.loads(line)["offset"] for line in exported] == [last["offset"]]
    assert run(crew, "replay", str(last["offset"]))[0] == 0
    assert run(crew, "replay", str(last["offset"]))[0] == 1
    assert asyncio.run(outcomes(crew, MANY - 1))[last["command_id"]] == 1
