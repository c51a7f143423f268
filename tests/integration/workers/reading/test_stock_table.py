"""Why reading is no `faust.Table` (docs/adr/0029): after a kill a stock table counts what it had counted once more."""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from processes import own_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker

EVENTS = 30
WITHIN_S = 120
# A stock app: a table that counts the events of a topic, with Faust's defaults but for the session. Behind the last
# event it says its count; how many came before is not asked: while it recovers Faust now and then leaves one out.
PROGRAM = """
import asyncio, json, logging, sys
import faust

plan = json.loads(sys.argv[1])
logging.disable(logging.WARNING)
app = faust.App(
    plan["group"],
    broker="kafka://" + plan["bootstrap"],
    store="memory://",
    datadir=plan["folder"],
    consumer_auto_offset_reset="earliest",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    broker_session_timeout=6.0,  # the least that brokers allow: after the kill the test waits for so long
    broker_heartbeat_interval=1.0,
    broker_commit_interval=600.0,  # instead of 2.8 s: the kill comes before the next commit, also on a busy machine
)
counts = app.Table("counts", default=int, partitions=1)
events = app.topic(plan["events"], key_serializer="raw", value_serializer="raw", internal=False)


@app.agent(events)
async def count(stream):
    async for event in stream:
        counts["events"] += 1
        if event == plan["last"].encode():
            print(counts["events"], flush=True)


async def main():
    await app.start()
    await asyncio.sleep(3600)


asyncio.run(main())
"""


async def prepare(bootstrap: str, group: str, events: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        changelog = NewTopic(changelog_of(group), 1, 1, topic_configs={"cleanup.policy": "compact"})
        await admin.create_topics([NewTopic(events, 1, 1), changelog])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(EVENTS):
            await producer.send_and_wait(events, str(number).encode(), key=b"p-1")


def changelog_of(group: str) -> str:
    return f"{group}-counts-changelog"


async def until_kept(bootstrap: str, changelog: str, records: int) -> None:
    """Wait until a changelog has so many records: Faust hands each count to its producer in a task of its own."""
    where = TopicPartition(changelog, 0)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer, asyncio.timeout(60):
        while (await consumer.end_offsets([where]))[where] < records:  # noqa: ASYNC110 - brokers tell nobody
            await asyncio.sleep(0.1)


async def until_empty(bootstrap: str, group: str) -> None:
    """Wait until the broker has noticed that the group's only member is dead."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while True:
                (answer,) = await admin.describe_consumer_groups([group])
                ((_, _, _, _, _, members, *_),) = answer.groups
                if not members:
                    return
                await asyncio.sleep(0.5)
    finally:
        await admin.close()


def test_a_stock_table_counts_events_twice_after_a_kill(bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    group, events = f"{topic_prefix}stock", f"{topic_prefix}events"
    asyncio.run(prepare(bootstrap, group, events))
    last = str(EVENTS - 1)
    plan = {"bootstrap": bootstrap, "group": group, "events": events, "last": last, "folder": str(tmp_path)}

    def counted_until_killed(*, kept: int) -> int:
        """Run the app until it has said its count and the changelog has so many; kill it, and return what it said."""
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(plan)],
            env=own_environment(),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        ) as app:
            try:
                said = said_by(app)
                asyncio.run(until_kept(bootstrap, changelog_of(group), kept))
            finally:
                app.kill()
        return said

    assert counted_until_killed(kept=EVENTS) == EVENTS
    asyncio.run(until_empty(bootstrap, group))
    # The changelog has all of the counts, the group none of the offsets: the table and its position are two writes.
    assert 2 * EVENTS - 1 <= counted_until_killed(kept=EVENTS) <= 2 * EVENTS


def said_by(app: subprocess.Popen[str]) -> int:
    assert app.stdout is not None
    ready, _, _ = select.select([app.stdout], [], [], WITHIN_S)
    assert ready, f"the last event did not come within {WITHIN_S} s"
    return int(app.stdout.readline())
