"""Where it is measured: a broker, and topics of a measurement's own, which go with it."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.admin import NewTopic
from aiokafka.errors import for_code

from annals.topics.names import TopicNames
from annals.workers.kafka.admin.cluster import administration
from annals.workers.kafka.admin.provisioning import create
from annals.workers.settings import load_settings
from annals.workers.tools.bench.programs import undisturbed
from annals.workers.tools.broker import Broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from annals.workers.settings import Settings

KIND: Final = "person"
PARTITIONS: Final = 4
PREFIX: Final = "bench-"


@dataclass(frozen=True, slots=True)
class Site:
    """The topics of one measurement, and a folder for its stores and logs."""

    settings: Settings
    folder: Path

    @property
    def names(self) -> TopicNames:
        """The topics' names."""
        return TopicNames(self.settings.topic_prefix)

    @property
    def partitions(self) -> int:
        """How many partitions each kind has."""
        return self.settings.partitions


@dataclass(frozen=True, slots=True)
class Ground:
    """A broker to measure on, a folder to work in, and somebody to tell how far it is."""

    bootstrap: str
    folder: Path
    say: Callable[[str], None]
    broker_folder: Path | None = None
    """The log folder of the broker, where it is our own."""

    @asynccontextmanager
    async def site(self, partitions: int = PARTITIONS) -> AsyncIterator[Site]:
        """Make all topics of all kinds under a prefix of their own, and delete them afterwards."""
        prefix = f"{PREFIX}{secrets.token_hex(4)}."
        settings = self._settings(prefix, partitions)
        folder = self.folder / prefix.rstrip(".")
        folder.mkdir(parents=True)
        try:
            await create(settings)
            yield Site(settings, folder)
        finally:
            await undisturbed(delete_topics(settings, prefix))

    @asynccontextmanager
    async def of_long_standing(self) -> AsyncIterator[Ground]:
        """Give the same on a broker that Java compiles as one that runs for months; where brokers were named, on them.

        It is fast only when it has been used for a minute.
        """
        if self.broker_folder is None:
            yield self
            return
        folder = self.folder / "long-standing"
        async with Broker(folder, cache_dir=load_settings().cache_dir, is_for_long=True) as broker:
            yield Ground(broker.bootstrap, self.folder, self.say, folder / "kafka")

    def _settings(self, prefix: str, partitions: int) -> Settings:
        options = {"bootstrap_servers": self.bootstrap, "topic_prefix": prefix, "partitions": str(partitions)}
        return load_settings(options)


@asynccontextmanager
async def ground(bootstrap: str | None, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Ground]:
    """Give a ground on these brokers, or on one of its own below the folder, which ends with it."""
    if bootstrap is not None:
        yield Ground(bootstrap, folder, say)
        return
    say("starting a broker")
    async with Broker(folder / "broker", cache_dir=load_settings().cache_dir) as broker:
        yield Ground(broker.bootstrap, folder, say, folder / "broker" / "kafka")


@asynccontextmanager
async def nowhere(folder: Path, say: Callable[[str], None]) -> AsyncIterator[Ground]:
    """Give a ground without brokers, for what needs none."""
    yield Ground("", folder, say)


async def create_topic(site: Site, name: str) -> str:
    """Create a topic beside the site's, stamped by the broker, with as many partitions; return its whole name."""
    topic = f"{site.settings.topic_prefix}{name}"
    config = {"message.timestamp.type": "LogAppendTime"}
    async with administration(site.settings) as admin:
        answer = await admin.create_topics([NewTopic(topic, site.partitions, 1, topic_configs=config)])
    for _, code, message in answer.topic_errors:
        if code:
            raise for_code(code)(message)
    return topic


async def delete_topics(settings: Settings, prefix: str) -> None:
    """Delete every topic of a prefix."""
    async with administration(settings) as admin:
        topics = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if topics:
            await admin.delete_topics(topics)
