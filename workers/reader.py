"""The composition root of the role `read`: the app of the group that reads, its shards, and what rests on them.

It runs alone, or as the child of a worker that decides (`annals.workers.reader_child`).
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.agents.reading.following.event_handler import event_handler
from annals.agents.waiting import ended
from annals.topics.names import TopicNames
from annals.workers.app import create_app
from annals.workers.clock import SystemClock
from annals.workers.data_folder import READ_LOCK, DataFolder
from annals.workers.jobs.wiring import JobWiring
from annals.workers.kafka.admin.findings import Report, missing_topics
from annals.workers.kafka.admin.provisioning import NotPermittedError, check_for_reading, create, require_settled
from annals.workers.kafka.connections import MissingTopicError, connect
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.group.instances import leave_for
from annals.workers.kafka.group.membership import READING_SESSION_TIMEOUT_MS, Membership
from annals.workers.kafka.group.sources import Sources
from annals.workers.last_assignment import LastAssignment
from annals.workers.process import (
    CLAIM_LOOK_S,
    CLAIM_WITHIN_S,
    FIRST_RETRY_S,
    LAST_RETRY_S,
    REQUEST_TIMEOUT_MS,
    STEADY_S,
    CannotStartError,
    Stop,
    cannot_listen,
    stopped,
    why_unreachable,
)
from annals.workers.reader_api import ReaderApi
from annals.workers.reader_parts import ReaderParts
from annals.workers.reading.blocked import BlockedReading, ReadingTopics
from annals.workers.reading.members import GroupMembers, ReadingAssignor, Told, lasting_instance
from annals.workers.reading.shards import CurrentShards, FollowedHere, ReadingShards
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.reading.watch import ReadingWatch
from annals.workers.registry import deciders
from annals.workers.settings import client_options
from annals.workers.stores.reading import FOLDER
from annals.workers.topic_watch import TopicWatch
from annals.workers.withdrawal import Withdrawal

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from annals.workers.app import AnnalsApp
    from annals.workers.projections.worker import ProjectionWork
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)


class Reader:
    """The role `read` in one process."""

    def __init__(self, settings: Settings, stop: Stop, *, is_child: bool, former_member: str | None = None) -> None:
        """Take the settings and the process' end.

        is_child: of a worker that decides, which makes the topics and warns of settings; former_member: the id in the
        group of a child before, which ended by itself.
        """
        self._settings = settings
        self._options: dict[str, Any] = {**client_options(settings), "request_timeout_ms": REQUEST_TIMEOUT_MS}
        self._stop = stop
        self._is_child = is_child
        self._former_member = former_member
        self._names = TopicNames(settings.topic_prefix)
        self._group = self._names.reading_group(settings.app_id)
        self._withdrawal = Withdrawal(self._options, self._group, lasting_instance(settings))
        self._starting = "the worker is starting"
        self.found: Report | None = None
        """What was found of the topics at the last start."""
        self._membership: Membership | None = None
        self._watch: ReadingWatch | None = None
        self._blocked: BlockedReading | None = None
        self.metrics = ReadingMetrics()
        self.metrics.group_member.set_function(self._is_member)
        self.shards = CurrentShards()
        self.members = GroupMembers()
        self.url: str | None = None
        self._parts = ReaderParts(settings, self._options, self.members, self.metrics)
        self._topics_of_subscribers = TopicWatch(self._look_at_subscribers, tells_warnings=True)
        self._api = ReaderApi(settings, self._options, self.shards, self.members, self.metrics, self._parts)

    async def run(self, started: asyncio.Event) -> None:
        """Run until the stop; set `started` when the folder and the address are this process'.

        Raises:
            CannotStartError: the data folder or the address cannot be used, topics are missing, or the group refuses
                this worker for good.
        """
        folder = DataFolder(self._settings.data_dir, READ_LOCK)
        try:
            if not await self._stop.claims(folder):
                return
            if not await self._listen():
                return
            started.set()
            try:
                await self._until_stopped()
            finally:
                await self._api.stop()
        finally:
            folder.release()

    async def _listen(self) -> bool:
        """Start the API, waiting a moment for a worker that ends; False: this one is to stop before.

        Raises:
            CannotStartError: the address is taken, or not this machine's.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CLAIM_WITHIN_S
        while not self._stop.is_asked():
            try:
                self.url = await self._api.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or loop.time() > deadline:
                    why = cannot_listen(error, self._settings.api_host, self._settings.api_port, "api")
                    raise CannotStartError(f"the API cannot listen on {why}") from error
            else:
                return True
            await self._stop.wait(CLAIM_LOOK_S)
        return False

    def reasons(self) -> list[str]:
        """Return why this role is not ready; empty when it is."""
        shards = self.shards.current
        if shards is None or self._watch is None or self._membership is None or self._blocked is None:
            return [self._starting]
        problems = [problem for problem in (self._watch.problem, self._membership.problem) if problem]
        problems += [*self._watch.gone, *self._watch.unfetched, *self._blocked.problems, *self.members.differing()]
        problems += self._topics_of_subscribers.problems
        return [*problems, *self._parts.problems(), *shards.partitions_here.not_ready()]

    async def _until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        retry = FIRST_RETRY_S
        while not self._stop.is_asked():
            began = loop.time()
            try:
                counts = await self._partitions()
                if counts is not None:
                    await self._serve(counts)
                    await self._withdrawal.stay_outside(self._stop.first_of)
            except (NotPermittedError, MissingTopicError) as error:
                self._cannot(str(error))
            except (ConnectionError, KafkaError, asyncio.CancelledError) as error:
                if is_task_cancelled():
                    raise
                servers = self._settings.bootstrap_servers
                self._starting = why_unreachable(error, servers)
                log.warning("waiting for the brokers", servers=servers, retry_s=retry, error=str(error))
            if loop.time() - began > STEADY_S:
                retry = FIRST_RETRY_S
            await self._stop.wait(retry)
            retry = min(2 * retry, LAST_RETRY_S)

    async def _partitions(self) -> dict[str, int] | None:
        """Check the journals; return each kind's number of partitions, or None while that is not known."""
        looking = asyncio.create_task(self._look())
        try:
            if not await self._stop.first_of(looking):
                return None
            report = await looking
        finally:
            await ended(looking)
        if report.needed:
            missing = missing_topics(report.needed, self._settings.topic_prefix)
            self._cannot(f"{missing}. Create them with 'annals topics create'")
            return None
        if report.refusals:
            self._cannot("\n".join(str(refusal) for refusal in report.refusals))
            return None
        self.found = report
        return report.partitions

    async def _look(self) -> Report:
        report = await check_for_reading(self._settings)
        if report.missing and self._settings.create_topics and not self._is_child:
            log.info("topics created", topics=await create(self._settings))
            report = await check_for_reading(self._settings)
        return require_settled(report)

    async def _look_at_subscribers(self) -> Report:
        publishing = self._parts.publishing
        return Report() if publishing is None else await publishing.check_topics()

    def _cannot(self, reason: str) -> None:
        """Say what keeps this role from reading: alone it ends the process, beside `write` it is waited for."""
        if not self._is_child:
            raise CannotStartError(reason)
        if reason != self._starting:
            log.warning("waiting for what reading needs", reason=reason)
        self._starting = reason

    async def _serve(self, counts: dict[str, int]) -> None:
        """Run the app until the stop, or until it cannot go on."""
        client = await connect(self._options, [self._names.events(kind) for kind in deciders()])
        try:
            await self._serve_by(client, counts)
        finally:
            await client.close()

    async def _serve_by(self, client: AIOKafkaClient, counts: dict[str, int]) -> None:
        """Make all that reads, and run it."""
        known, sources = deciders(), Sources(of_journals=True)
        self._membership = await self._join(client)
        wiring, rekeying = self._parts.make(client, known, counts)
        self.shards.streams = rekeying
        shards = ReadingShards(
            self._settings,
            client,
            self._options,
            known,
            counts,
            sources,
            self.metrics,
            SystemClock(),
            followers=self._parts.followers,
            ask_rows=wiring.models.ask_rows,
            beside=partial(self._parts.beside, client),
        )
        last = LastAssignment(Path(self._settings.data_dir) / self._names.group(self._settings.app_id) / FOLDER)
        told = Told(
            url=self.url,
            projections=wiring.models.known(),
            publishes=self._settings.publish,
            standby=last.read(),
            standby_replicas=self._settings.standby_replicas,
        )
        handler = event_handler(shards.partitions_here.of)
        app = create_app(
            self._settings,
            self._options,
            self._membership,
            sources,
            shards.partitions_here,
            {self._names.events(kind): (f"event_handler.{kind}", handler) for kind in known},
            ReadingAssignor.of_one_reader(told, self.members),
            last,
        )
        self._watch = ReadingWatch(self._options, client, shards, sources, self.metrics)
        self._blocked = BlockedReading(
            self._options,
            ReadingTopics(self._names, counts),
            lambda: {(shard.kind, shard.partition) for shard in shards.all()},
            self.metrics.blocked,
            SystemClock(),
        )
        self.shards.current = shards
        everywhere = cast("Any", self._api.shards or shards)
        work = wiring.work(FollowedHere(shards, rekeying), everywhere, self._api.peers)
        self._parts.jobs = JobWiring(self._settings, self.members, wiring.service(everywhere), self.metrics)
        await self._run(app, shards, work, self._parts.jobs)

    async def _join(self, client: AIOKafkaClient) -> Membership:
        """Return the membership in the group; what is left of a child before, which would hold partitions, leaves."""
        instance_id = lasting_instance(self._settings)
        if self._former_member is not None and instance_id is None:
            with suppress(KafkaError):  # then it leaves with its session
                await leave_for(client, self._group, self._former_member)
            self._former_member = None
        return Membership(self._group, instance_id, READING_SESSION_TIMEOUT_MS)

    async def _run(self, app: AnnalsApp, shards: ReadingShards, work: ProjectionWork, jobs: JobWiring) -> None:
        """Run what is made until the stop, or until the app ends; then end it, what rests on something before that.

        So whoever asks shards ends before they are suspended, the group is left before they close their stores, and the
        subscriptions that their publishers ask are followed until these have closed.
        """
        parts = self._parts
        watches = (self._watch, self._blocked, self._topics_of_subscribers)
        watching = [asyncio.create_task(each.run(), name="watch") for each in watches if each is not None]
        projecting = asyncio.create_task(work.run(), name="projections")
        working = asyncio.create_task(jobs.run(), name="jobs")
        followed = [each for each in (parts.publishing, parts.reacting, parts.rekeying) if each is not None]
        following = [asyncio.create_task(each.run(), name="subscriptions and reactions") for each in followed]
        starting = asyncio.create_task(app.start(), name="app")
        try:
            await self._until_end_of(app, starting, shards)
        finally:
            await ended(*watching)
            await ended(working)
            parts.jobs = None
            await ended(projecting)
            parts.projections = None
            await shards.partitions_here.suspend()
            await ended(starting)
            await stopped(app)
            self.shards.current = None
            await shards.partitions_here.close()
            await ended(*following)
            parts.publishing = parts.reacting = parts.head_starts = None
            self.shards.streams = parts.rekeying = None

    async def _until_end_of(self, app: AnnalsApp, starting: asyncio.Task[None], shards: ReadingShards) -> None:
        """Wait for the stop, or until the app cannot go on or has to leave what it has to others, and keep why."""
        self._starting = "the worker is starting again"
        try:
            await self._stop.until_end_of(app, starting, asyncio.create_task(self._withdrawal.until_due(shards.all)))
            self._starting = lacking_right(app.crash_reason, "Read") or self._withdrawal.reason or self._starting
        except CannotStartError as error:
            self._cannot(str(error))
        except (Exception, asyncio.CancelledError):
            if is_task_cancelled():
                raise
            log.exception("the app ended")

    def _is_member(self) -> bool:
        return self.shards.current is not None and self._membership is not None and self._membership.is_member
