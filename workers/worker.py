"""A worker from its first look at the brokers to its exit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.agents.waiting import ended
from annals.agents.writing.shards.command_handler import command_handler
from annals.topics.names import TopicNames
from annals.workers.app import create_app
from annals.workers.clock import SystemClock
from annals.workers.data_folder import DataFolder
from annals.workers.kafka.admin.findings import missing_topics
from annals.workers.kafka.admin.provisioning import NotPermittedError, check, create, require_settled
from annals.workers.kafka.diagnosis import lacking_right
from annals.workers.kafka.group.assignor import BalancedAssignor
from annals.workers.kafka.group.membership import Membership
from annals.workers.kafka.group.sources import Sources
from annals.workers.last_assignment import LastAssignment
from annals.workers.process import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    REQUEST_TIMEOUT_MS,
    STEADY_S,
    STOP_SIGNALS,
    CannotStartError,
    Stop,
    listening,
    stopped,
    tune,
    why_unreachable,
)
from annals.workers.reader_process import ReaderProcess
from annals.workers.reader_settings import check_reading
from annals.workers.registry import deciders
from annals.workers.schema_publisher import SchemaPublisher
from annals.workers.settings import READ, client_options, warnings
from annals.workers.telemetry import Metrics
from annals.workers.topic_watch import TopicWatch
from annals.workers.watch import KindTopics, Watch
from annals.workers.web.server import WebServer
from annals.workers.withdrawal import Withdrawal
from annals.workers.writing.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Collection

    from annals.workers.app import AnnalsApp
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)


class Worker:
    """The process that decides: its web server, its view of the brokers, the app with its shards, a child to read."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is opened before `run`."""
        self._settings = settings
        self._options: dict[str, Any] = {**client_options(settings), "request_timeout_ms": REQUEST_TIMEOUT_MS}
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._stop = Stop()
        self._starting = "the worker is starting"
        names = TopicNames(settings.topic_prefix)
        self._schemas_topic = names.schemas  # commands need every topic but this one
        self._group = names.group(settings.app_id)
        self._withdrawal = Withdrawal(self._options, self._group, settings.instance_id)
        self._publishes = True
        self._restorable: list[str] = []
        self._shards: Shards | None = None
        self._watch: Watch | None = None
        self._found: Report | None = None
        self._topic_watch = TopicWatch(self._look_again, self._counted)
        self._membership: Membership | None = None
        self._metrics.group_member.set_function(self._is_member)
        self._reader: ReaderProcess | None = None
        if settings.has(READ):
            self._reader = ReaderProcess(settings, self._stop, self._metrics.reader_restarts)
        self._web = WebServer(settings.web_host, settings.web_port, self._metrics, self._not_ready, beside=self._reader)

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP; what is read is served by a child process (`ReaderProcess`).

        Raises:
            CannotStartError: a setting is wrong, topics are missing or would break a promise, the data folder or the
                web address cannot be used, or the group refuses this worker for good.
        """
        if self._settings.has(READ):
            check_reading(self._settings)  # what its child would refuse only when this one has taken partitions
        for warning in warnings(self._settings):
            log.warning(warning)
        folder = DataFolder(self._settings.data_dir)
        self._stop.hear(*STOP_SIGNALS)
        try:
            if await self._stop.claims(folder):
                await self._run()
        finally:
            folder.release()
            self._stop.over()
        log.info("worker stopped")

    async def _run(self) -> None:
        address = await listening(self._web, self._settings)
        tune()
        reading = asyncio.create_task(self._read(address), name="reading")
        try:
            await self._until_stopped()
        finally:
            self._stop.ask()
            try:
                await reading
            finally:
                await self._web.stop()

    async def _read(self, address: str) -> None:
        """Have what is read be served by a process of its own, as long as this one is not to stop."""
        if self._reader is None:
            log.info("worker started", web=address)
            return
        serving = asyncio.create_task(self._reader.run(), name="reading process")
        knowing = asyncio.create_task(self._reader.is_known.wait())
        try:
            await self._stop.first_of(knowing, serving)
            if not serving.done():
                log.info("worker started", web=address, api=self._reader.url)
            await serving
        finally:
            self._stop.ask()
            await ended(knowing)

    async def _until_stopped(self) -> None:
        retry = FIRST_RETRY_S
        while not self._stop.is_asked():
            prepared = await self._prepared(retry)
            if prepared is not None:
                began = self._clock.monotonic()
                await self._serve(*prepared)
                self._starting = self._withdrawal.reason or self._starting
                await self._withdrawal.stay_outside(self._stop.first_of)
                if self._clock.monotonic() - began > STEADY_S:
                    retry = FIRST_RETRY_S
                await self._stop.wait(retry)
            retry = min(2 * retry, LAST_RETRY_S)

    async def _prepared(self, retry: float) -> tuple[dict[str, int], int] | None:
        """Check the topics; return their numbers of partitions, or None after having waited for the brokers."""
        looking = asyncio.create_task(self._look())
        try:
            if not await self._stop.first_of(looking):
                return None
            report = await looking
        except NotPermittedError as error:
            raise CannotStartError(str(error)) from error
        except (ConnectionError, KafkaError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            servers = self._settings.bootstrap_servers
            self._starting = why_unreachable(error, servers)
            log.warning("waiting for the brokers", servers=servers, retry_s=retry, error=str(error))
            await self._stop.wait(retry)
            return None
        finally:
            await ended(looking)
        self._take(report)
        return report.partitions, report.dead_letter_partitions

    def _take(self, report: Report) -> None:
        """Take what the look at the topics found.

        Raises:
            CannotStartError: topics are missing, or are not set up as they must be.
        """
        absent = {*report.missing, *report.hidden}
        self._publishes = self._schemas_topic not in absent
        if not self._publishes:
            log.warning(
                "no topic for schemas: none are published. Create it with 'annals topics create', or let the user see "
                "it"
            )
        names = TopicNames(self._settings.topic_prefix)
        self._restorable = [kind for kind in deciders() if names.restore(kind) not in absent]
        if without := [kind for kind in deciders() if kind not in self._restorable]:
            log.warning(
                "no topic for restore points: none are made. Create it with 'annals topics create', or let the user "
                "see it",
                kinds=without,
            )
        if report.needed:
            raise CannotStartError(
                f"{missing_topics(report.needed, self._settings.topic_prefix)}. Create them with 'annals topics "
                "create', or let the worker do it with ANNALS_CREATE_TOPICS=1."
            )
        if report.refusals:
            raise CannotStartError("\n".join(str(refusal) for refusal in report.refusals))
        for warning in report.warnings:
            log.warning(str(warning))
        self._found = report

    async def _look(self) -> Report:
        """Compare the topics with the catalogue; create those that are missing where the settings say so."""
        report = await check(self._settings)
        if (report.missing or report.hidden) and self._settings.create_topics:
            made = await create(self._settings)
            log.info("topics created", topics=made)
            report = await check(self._settings)
        return require_settled(report)

    async def _look_again(self) -> Report:
        return await check(self._settings, first_offsets=False, since=self._found)

    def _counted(self) -> Collection[str]:
        return () if self._watch is None else self._watch.added

    async def _serve(self, partitions: dict[str, int], dead_partitions: int) -> None:
        """Run the app until the worker is told to stop, or the app cannot go on.

        Raises:
            CannotStartError: the group refuses this worker, as it or the brokers are set up, for good.
        """
        sources = Sources()
        known = deciders()
        publisher = SchemaPublisher(self._settings, self._options, known)
        self._shards = shards = Shards(
            self._settings,
            self._options,
            known,
            partitions,
            dead_partitions,
            sources,
            self._metrics,
            self._clock,
            publisher.releases,
            self._restorable,
        )
        names = TopicNames(self._settings.topic_prefix)
        self._membership = membership = Membership(self._group, self._settings.instance_id)
        handler = command_handler(shards.partitions.of)
        handlers = {names.commands(kind): (f"command_handler.{kind}", handler) for kind in known}
        last = LastAssignment(Path(self._settings.data_dir) / self._group)
        assignor = BalancedAssignor.of_one_consumer(self._settings.standby_replicas, last.read())
        app = create_app(
            self._settings, self._options, membership, sources, shards.partitions, handlers, assignor, last
        )
        topics = {names.commands(kind): KindTopics.of(kind, names) for kind in known}
        self._watch = Watch(self._options, topics, partitions, shards, self._metrics, self._clock)
        await self._run_app(app, shards, publisher)

    async def _run_app(self, app: AnnalsApp, shards: Shards, publisher: SchemaPublisher) -> None:
        """Run the app and what is beside it until the stop, or until the app ends; then end all of it."""
        watches = [each for each in (self._watch, self._topic_watch) if each is not None]
        beside = [asyncio.create_task(each.run(), name="watch") for each in watches]
        if self._publishes:
            beside.append(asyncio.create_task(publisher.run(), name="schemas"))
        # it is over only with the first assignment, which may never come
        starting = asyncio.create_task(app.start(), name="app")
        try:
            withdrawn = asyncio.create_task(self._withdrawal.until_due(shards.all), name="withdrawal")
            await self._stop.until_end_of(app, starting, withdrawn)
        except (Exception, asyncio.CancelledError) as error:
            if is_task_cancelled() or isinstance(error, CannotStartError):
                raise
            log.exception("the app ended")
        finally:
            await ended(*beside)
            await shards.partitions.suspend()
            await ended(starting)
            await stopped(app)
            await shards.close()
            # what it may not read would else be named for no longer than a shard takes to open
            self._starting = lacking_right(app.crash_reason, "Read") or "the worker is starting again"
            self._shards = None

    def _is_member(self) -> bool:
        return self._shards is not None and self._membership is not None and self._membership.is_member

    def _not_ready(self) -> list[str]:
        if self._shards is None or self._watch is None or self._membership is None:
            return [self._starting]
        problems = [problem for problem in (self._watch.problem, self._membership.problem) if problem]
        problems += [
            *self._watch.gone,
            *self._watch.unfetched,
            *self._watch.blocked,
            *self._watch.added.values(),
            *self._topic_watch.problems,
        ]
        return [*problems, *self._shards.partitions.not_ready()]
