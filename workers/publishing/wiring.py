"""The publishers of a process, wired to Kafka: one for each reading shard, all over the same subscriptions."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from aiokafka.errors import KafkaError

from annals.agents.backoff import Backoff
from annals.agents.publishing.administration import Refused, kinds_of, posts_to
from annals.agents.publishing.delivering.making import DeliveryShards
from annals.agents.publishing.publisher import CLOSED, Publisher
from annals.agents.publishing.share import Share
from annals.agents.waiting import ended
from annals.topics.names import TopicNames
from annals.workers.clock import SteadyClock
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.topic_ids import LOST_IT
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.reached import ReachedWatch
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.subscriber_topics import check_subscribers
from annals.workers.publishing.subscriptions_topic import FollowedSubscriptions
from annals.workers.publishing.telemetry import PartitionMetrics
from annals.workers.webhooks.wiring import Webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.ports import DeliverySource
    from annals.agents.publishing.ports import Kept
    from annals.agents.reading.ports import JournalPartition
    from annals.schemas.subscription import Definition
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.publishing.reached import PartitionLostEndError
    from annals.workers.publishing.telemetry import PublishMetrics
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
QUIET_S: Final = 1.0  # no other partition has found the same for so long: it is said of all of them


class _Found(NamedTuple):
    """Why a subscription cannot go on, as the first partition found it, and which have found it. offset: its record."""

    offset: int
    reason: str
    partitions: set[str]

    def has(self, kept: Kept, reason: str) -> bool:
        """Whether it is the same once more."""
        return kept.offset == self.offset or (reason == self.reason and not kept.record.is_active)


class PausingSubscriptions(FollowedSubscriptions):
    """The subscriptions as publishers see them (the `Subscriptions` port)."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        service: SubscriptionService,
        invalid: InvalidRecords = PASSED_OVER,
    ) -> None:
        """Take also who pauses one that cannot go on."""
        super().__init__(options, names, invalid)
        self._service = service
        self._pausing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._found: dict[str, _Found] = {}

    async def pause(self, name: str, reason: str, partition: str | None = None, offset: int | None = None) -> None:
        """Have a subscription paused that cannot go on, and say why; tried until it is so.

        All partitions of this process may find out at once: one of them pauses it, and the others see that it is so.
        Another subscription does not wait for that: the service makes changes one after another.

        partition: which one found it out. What is found of one record, or again of one that is paused, is logged once:
        with the first reason, and in how many partitions it was found. offset: of the record that cannot go on; None:
        whichever there is. One that was changed meanwhile is left as it is: that may have mended it.
        """
        kept = self.all().get(name)
        if kept is None or partition is None:
            await self._pause(name, reason, offset=offset)
            return
        if offset not in {None, kept.offset}:
            return
        known = self._found.get(name)
        if known is not None and known.has(kept, reason):
            known.partitions.add(partition)
            await self._pause(name, reason, offset=offset)
            return
        found = self._found[name] = _Found(kept.offset, reason, {partition})
        await asyncio.gather(self._pause(name, reason, offset=offset), _say(name, found))

    async def pause_endpoint(self, name: str, reason: str, url: str) -> None:
        """Have a subscription paused whose endpoint is gone, unless it has another by now; tried until it is so."""
        await self._pause(name, reason, url=url)

    async def _pause(self, name: str, reason: str, url: str | None = None, offset: int | None = None) -> None:
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        async with self._pausing[name]:
            while (kept := self.all().get(name)) is not None and kept.record.is_active:
                if (url is not None and not posts_to(kept.record, url)) or offset not in {None, kept.offset}:
                    return
                try:
                    await self._service.pause(name, reason, url, offset)
                except (Refused, KafkaError, OSError, TimeoutError) as error:
                    log.warning("subscription could not be paused", subscription=name, reason=str(error))
                    await backoff.wait()
                else:
                    await self._until_other(name, kept)

    async def _until_other(self, name: str, kept: Kept) -> None:
        """Wait until what is written is read."""
        while (known := self.all()).get(name) == kept:
            await self.until_changed(known)


async def _say(name: str, found: _Found) -> None:
    """Log once why a subscription cannot go on: when no other partition has found it for a while, or at the end."""
    count = 0
    try:
        while count < len(found.partitions):
            count = len(found.partitions)
            await asyncio.sleep(QUIET_S)
    finally:
        what = {"subscription": name, "reason": found.reason, "partitions": len(found.partitions)}
        log.error("subscription cannot go on and is paused", **what)


class Publishing:
    """What the publishers of a process share. `run` follows the subscriptions; `publisher` makes one for a shard."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        partitions: Mapping[str, int],
        clock: Clock,
        metrics: PublishMetrics,
        invalid: InvalidRecords = PASSED_OVER,
    ) -> None:
        """Take the settings, aiokafka client options, the deciders, each kind's number of partitions, and so on."""
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._partitions = partitions
        self._clock = clock
        self._steady = SteadyClock(clock)  # one: posters and delivery shards compare what is due by it
        self._names = TopicNames(settings.topic_prefix)
        self._share = Share(clock)
        self._metrics = metrics
        self._invalid = invalid
        invalid.expect(self._names.progress)
        self._publishers: list[tuple[Publisher, KafkaDeliveryLogs]] = []
        self._rows_of = f"{self._names.prefix}deliveries."
        looked_at = (self._names.progress, self._rows_of)
        self._watch = ReachedWatch(options, lambda topic: topic.startswith(looked_at), self._lost)
        self._pausing: set[asyncio.Task[None]] = set()
        self.service = SubscriptionService(settings, options, deciders)
        self.subscriptions = PausingSubscriptions(options, self._names, self.service, invalid)
        self._webhooks = Webhooks(settings, clock, self._steady, metrics.webhooks, self.subscriptions.pause_endpoint)

    async def run(self) -> None:
        """Follow the subscriptions until the task is cancelled."""
        watching = asyncio.create_task(self._watch.run(), name="how far topics reach")
        warning = asyncio.create_task(self._warn(), name="what subscriptions ask for in vain")
        try:
            await self.subscriptions.run()
        finally:
            await ended(watching, warning, *self._pausing)
            await self._webhooks.close()

    async def _warn(self) -> None:
        """Log what subscriptions ask for in vain, at the start and after each change: a release may rename members."""
        known: Mapping[str, Kept] = {}
        await self.subscriptions.until_read()
        while True:
            found = self.subscriptions.all()
            for name, kept in found.items():
                if kept.record.is_active and known.get(name) != kept:
                    self._warn_of(name, kept.record.definition)
                    await asyncio.sleep(0)  # a thousand of them are a second
            known = found
            await self.subscriptions.until_changed(known)

    def _warn_of(self, name: str, definition: Definition) -> None:
        try:
            for path, message in self.service.warnings(definition):
                log.warning("subscription asks in vain", subscription=name, member=path, reason=message)
        except Exception:
            log.exception("what works for a subscription failed", subscription=name)

    async def check_topics(self) -> Report:
        """Compare the topics of what is published with what they were made with; raises as `check_subscribers`."""
        active = (kept.record.definition for kept in self.subscriptions.all().values() if kept.record.is_active)
        # All journals of a subscription have the same number of partitions.
        wanted = [(each, self._partitions[kinds[0]]) for each in active if (kinds := kinds_of(each, self._deciders))]
        return await check_subscribers(self._settings, wanted)

    def _lost(self, error: PartitionLostEndError) -> None:
        """Stop what rests on a partition that lost its end: all publishing, or a subscription whose rows are gone."""
        topic, rows = error.where.topic, self._rows_of
        for publisher, logs in self._publishers:
            if error.where in logs.reached and not topic.startswith(rows):
                publisher.stop_for(error)
        if topic.startswith(rows):
            name = topic.removeprefix(rows)
            message = f"{error}: {LOST_IT}. Restore it, and resume the subscription"
            task = asyncio.create_task(self.subscriptions.pause(name, message), name=f"pause {name}")
            self._pausing.add(task)
            task.add_done_callback(self._pausing.discard)

    def publisher(self, source: DeliverySource, journal: JournalPartition) -> Publisher:
        """Return the publisher beside a reading shard; its `run` is for the caller to start."""
        kind, partition = source.kind, source.partition
        logs = KafkaDeliveryLogs(
            self._options,
            self._names,
            self._settings.app_id,
            kind,
            partition,
            self._partitions[kind],
            self._settings.compression,
            self._invalid,
        )
        metrics = PartitionMetrics(self._metrics, kind, partition)
        delivering = DeliveryShards(
            source,
            self._deciders[kind],
            logs.delivering,
            self._steady,
            self._clock,
            metrics,
            list(self._deciders),
            self._partitions[kind],
            self._share,
            random.random,
            self._webhooks.poster,
        )
        publisher = Publisher(
            source,
            journal,
            self._deciders[kind],
            logs,
            self.subscriptions,
            self._clock,
            self._share,
            metrics,
            delivering,
        )
        self._publishers = [*(each for each in self._publishers if each[0].phase != CLOSED), (publisher, logs)]
        self._watch.follow([logs.reached for _, logs in self._publishers])
        return publisher

    def problems(self) -> list[str]:
        """Return why not all is published that could be; a subscription that is paused or behind is no reason."""
        found = (self.subscriptions.problem, *(each.problem for each, _ in self._publishers))
        return [problem for problem in found if problem is not None]
