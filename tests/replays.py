"""What tests of replays share: a distribution whose handlers fail on purpose, and the topic that a replay fills."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from distributions import installed

if TYPE_CHECKING:
    from pathlib import Path

HANDLER = """
import os
from pathlib import Path

SEEN = Path(os.environ["SEEN"])


def once(event):
    '''Fails on each event the first time that it is asked.'''
    line = f"{event['cid']}\\n"
    tried = SEEN.with_suffix(".tried")
    with tried.open("a+") as file:
        file.seek(0)
        if line not in file.read():
            file.write(line)
            raise ConnectionError("away")
    with SEEN.open("a") as file:
        file.write(line)


class Never:
    def handle(self, event):
        raise ValueError("never")
"""


def registered(folder: Path) -> str:
    """A distribution in a folder that registers two handlers; what PYTHONPATH is to be."""
    entry_points = "[annals.replay_handlers]\nonce = replayhandlers:once\nnever = replayhandlers:Never\n"
    return installed(folder, "replayhandlers", entry_points, replayhandlers=HANDLER)


def copied(bootstrap: str, topic: str, count: int) -> list[Any]:
    """What is in a topic, partition by partition."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, partition) for partition in range(3)])
            found: list[Any] = []
            async with asyncio.timeout(60):
                while len(found) < count:
                    found += [each for part in (await consumer.getmany(timeout_ms=500)).values() for each in part]
            return found
        finally:
            await consumer.stop()

    return asyncio.run(read())
