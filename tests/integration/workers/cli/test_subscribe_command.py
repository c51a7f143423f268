"""`annals subscribe` on the real broker: prints as it comes, and ends cleanly however it is told to."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from chained import chain, make_topics, write
from processes import ENTRY_POINT, own_environment
from publishing import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.broker

WITHIN_S = 300


class Subscribing:
    """`annals subscribe` in a process of its own."""

    def __init__(self, environment: Mapping[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [ENTRY_POINT, "subscribe", *words],
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ended(self) -> tuple[int, str]:
        """Its exit status, and what it said on standard error."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with self.process.stderr as errors:
            status, said = self.process.wait(timeout=WITHIN_S), errors.read()
        self.process.stdout.close()
        return status, said


@pytest.fixture
async def environment(bootstrap: str, topic_prefix: str) -> dict[str, str]:
    await make_topics(bootstrap, [f"{topic_prefix}subscribers.billing"])
    return own_environment(ANNALS_BOOTSTRAP_SERVERS=bootstrap, ANNALS_TOPIC_PREFIX=topic_prefix)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, None])
async def test_it_prints_as_it_comes_until_told_to_end(
    environment: dict[str, str], bootstrap: str, topic_prefix: str, ending: signal.Signals | None
) -> None:
    topic = f"{topic_prefix}subscribers.billing"
    events = [each.but(value=b'{"name":"Ada"}') for each in chain("p-1", 2)]
    await write(bootstrap, topic, events[:1])
    subscribing = Subscribing(environment, "billing")
    first = await asyncio.to_thread(subscribing.line)
    where, time, type_name, subject, version, data = first.split()
    assert (where, type_name, subject, version) == ("0:0", "annals.person.PersonRenamed.v1", "person/p-1", "1")
    assert (time, data) == ("2026-11-21T09:30:00.123456Z", '{"name":"Ada"}')
    await write(bootstrap, topic, events[1:])
    assert " person/p-1 2 " in await asyncio.to_thread(subscribing.line)
    if ending is not None:
        subscribing.process.send_signal(ending)
    else:
        assert subscribing.process.stdout is not None
        subscribing.process.stdout.close()
    assert await asyncio.to_thread(subscribing.ended) == (0, "")


async def test_it_ends_after_so_many_and_says_what_is_not_there(
    environment: dict[str, str], bootstrap: str, topic_prefix: str
) -> None:
    def ran(*words: str, **other: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ENTRY_POINT, "subscribe", *words],
            env=environment | other,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    events = chain("p-1", 3)
    jsons = [each.but(value=b'{"name":"Ada"}').with_header("content-type", b"application/json") for each in events[:2]]
    await write(bootstrap, f"{topic_prefix}subscribers.billing", [*jsons, events[2]])
    done = await asyncio.to_thread(ran, "billing", "--json", "--limit", "3")
    assert (done.returncode, done.stderr) == (0, "")
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in lines] == shown(events)
    assert {each["specversion"] for each in lines} == {"1.0"}
    assert (lines[0]["datacontenttype"], lines[0]["data"]) == ("application/json", {"name": "Ada"})
    assert ("data" in lines[2], "data_base64" in lines[2]) == (False, True)  # a block
    since = await asyncio.to_thread(ran, "billing", "--json", "--limit", "1", "--from", "2026-01-01T00:00:00Z")
    assert json.loads(since.stdout)["id"] == lines[0]["id"]
    before = await asyncio.to_thread(ran, "billing", "--json", "--limit", "1", "--from", "1969-12-31T23:59:59.999Z")
    assert (before.returncode, before.stderr) == (0, "")
    assert json.loads(before.stdout)["id"] == lines[0]["id"]

    nowhere = await asyncio.to_thread(ran, "nope")
    assert (nowhere.returncode, "there is no subscription 'nope'" in nowhere.stderr) == (1, True)
    for words in (("N!",), ("billing", "--from", "tomorrow"), ("billing", "--limit", "0")):
        assert (await asyncio.to_thread(ran, *words)).returncode == 2
    silent = await asyncio.to_thread(lambda: ran("billing", ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:1"))
    assert (silent.returncode, "no Kafka broker answers" in silent.stderr) == (2, True)
