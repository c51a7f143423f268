"""Why reading is no `faust.Table` (docs/adr/0029): after a kill a stock table counts what it had counted once more."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from processes import own_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker

EVENTS = 30
# A stock app: a table that counts the events of a topic, with Faust's defaults but for the session. It ends behind the
# last event, by a kill or in order; what it flushes before would be on its way by itself a moment later.
PROGRAM = """
import asyncio, json, logging, os, signal, sys
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
    seen = 0
    async for _ in stream:
        counts["events"] += 1
        seen += 1
        if seen == plan["total"]:
            await app.producer.flush()
            if plan["is_killed"]:
                os.kill(os.getpid(), signal.SIGKILL)
            print(counts["events"], flush=True)
            os._exit(0)


async def main():
    await app.start()
    await asyncio.sleep(3600)


asyncio.run(main())
"""


async def prepare(bootstrap: str, group: str, events: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        changelog = NewTopic(f"{group}-counts-changelog", 1, 1, topic_configs={"cleanup.policy": "compact"})
        await admin.create_topics([NewTopic(events, 1, 1), changelog])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(EVENTS):
            await producer.send_and_wait(events, str(number).encode(), key=b"p-1")


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
    plan = {"bootstrap": bootstrap, "group": group, "events": events, "total": EVENTS, "folder": str(tmp_path)}

    def run(*, is_killed: bool) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps({**plan, "is_killed": is_killed})],
            env=own_environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    killed = run(is_killed=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    asyncio.run(until_empty(bootstrap, group))
    # The changelog has all of the counts, the group none of the offsets: the table and its position are two writes.
    again = run(is_killed=False)
    assert again.returncode == 0, again.stderr[-2000:]
    # Faust hands the last count to its producer in a task of its own: the kill may come before that.
    assert 2 * EVENTS - 1 <= int(again.stdout) <= 2 * EVENTS
