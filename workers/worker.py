"""A worker from its first look at the brokers to its exit."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.writing.cancellation import is_task_cancelled
from annals.topics.names import TopicNames
from annals.workers.app import create_app
from annals.workers.clock import SystemClock
from annals.workers.kafka.admin.findings import missing_topics
from annals.workers.kafka.admin.provisioning import NotPermittedError, check, create
from annals.workers.kafka.group.sources import Sources
from annals.workers.registry import deciders
from annals.workers.schema_publisher import SchemaPublisher
from annals.workers.settings import client_options, warnings
from annals.workers.telemetry import Metrics
from annals.workers.watch import Watch
from annals.workers.web.server import WebServer
from annals.workers.writing.shards import Shards

if TYPE_CHECKING:
    from annals.workers.app import AnnalsApp
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
GC_THRESHOLDS: Final = (100_000, 20, 20)  # a batch makes tens of thousands of objects that live as long as it does
REQUEST_TIMEOUT_MS: Final = 15_000  # longer than a transaction may last, so that an answer that comes is not missed


class CannotStartError(Exception):
    """The worker cannot start as it is set up; the message says what to do."""


class Worker:
    """One process: its web server, its view of the brokers, and the app with its shards."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is opened before `run`."""
        self._settings = settings
        self._options: dict[str, Any] = {**client_options(settings), "request_timeout_ms": REQUEST_TIMEOUT_MS}
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._starting = "the worker is starting"
        self._schemas_topic = TopicNames(settings.topic_prefix).schemas  # commands need every topic but this one
        self._publishes = True
        self._shards: Shards | None = None
        self._watch: Watch | None = None
        self._web = WebServer(settings.web_host, settings.web_port, self._metrics, self._not_ready)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            CannotStartError: topics are missing or would break a promise, or the web address is taken.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        for warning in warnings(self._settings):
            log.warning(warning)
        try:
            port = await self._web.start()
        except OSError as error:
            raise CannotStartError(
                f"cannot listen on {self._settings.web_host}:{self._settings.web_port}: {error.strerror}. Choose "
                f"another port with --web-port or ANNALS_WEB_PORT (0: a free one)."
            ) from error
        gc.freeze()  # what the imports left is for ever; the collector need not look at it again
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("worker started", web=f"http://{self._settings.web_host}:{port}")
        try:
            await self._until_stopped()
        finally:
            await self._web.stop()
        log.info("worker stopped")

    async def _until_stopped(self) -> None:
        retry = FIRST_RETRY_S
        while not self._stop.is_set():
            prepared = await self._prepared(retry)
            if prepared is not None:
                retry = FIRST_RETRY_S
                await self._serve(*prepared)
                self._starting = "the worker is starting again"
            retry = min(2 * retry, LAST_RETRY_S)

    async def _prepared(self, retry: float) -> tuple[dict[str, int], int] | None:
        """Check the topics; return their numbers of partitions, or None after having waited for the brokers."""
        servers = self._settings.bootstrap_servers
        checking = asyncio.create_task(check(self._settings))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({checking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not checking.done():
                return None
            report = await checking
            if report.missing and self._settings.create_topics:
                made = await create(self._settings)
                log.info("topics created", topics=made)
                report = await check(self._settings)
        except NotPermittedError as error:
            raise CannotStartError(str(error)) from error
        except (ConnectionError, KafkaError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            self._starting = f"no answer from the Kafka brokers at {servers}"
            log.warning("waiting for the brokers", servers=servers, retry_s=retry, error=str(error))
            await self._wait(retry)
            return None
        finally:
            for task in (checking, stopping):
                task.cancel()
            await asyncio.gather(checking, stopping, return_exceptions=True)
        self._publishes = self._schemas_topic not in report.missing
        if not self._publishes:
            log.warning("no topic for schemas: none are published. Create it with 'annals topics create'")
        if missing := [name for name in report.missing if name != self._schemas_topic]:
            raise CannotStartError(
                f"{missing_topics(missing, self._settings.topic_prefix)}. Create them with 'annals topics create', or "
                f"let the worker do it with ANNALS_CREATE_TOPICS=1."
            )
        if report.refusals:
            raise CannotStartError("\n".join(str(refusal) for refusal in report.refusals))
        for warning in report.warnings:
            log.warning(str(warning))
        return report.partitions, report.dead_letter_partitions

    async def _serve(self, partitions: dict[str, int], dead_partitions: int) -> None:
        """Run the app until the worker is told to stop, or the app cannot go on."""
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
        )
        app = create_app(self._settings, self._options, known, sources, shards)
        names = TopicNames(self._settings.topic_prefix)
        journals = {names.commands(kind): names.events(kind) for kind in known}
        counts = {names.commands(kind): partitions[kind] for kind in known}
        self._watch = Watch(self._options, journals, counts, shards, self._metrics, self._clock)
        beside = [asyncio.create_task(self._watch.run(), name="watch")]
        if self._publishes:
            beside.append(asyncio.create_task(publisher.run(), name="schemas"))
        try:
            await app.start()
            await self._until_end_of(app)
        except (Exception, asyncio.CancelledError):
            if is_task_cancelled():
                raise
            log.exception("the app ended")
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await shards.suspend()
            await app.stop()
            await shards.close()
            self._shards = None

    async def _until_end_of(self, app: AnnalsApp) -> None:
        crashed = asyncio.create_task(app._crashed.wait())  # noqa: SLF001 - mode offers no other way to wait for it
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if crashed.done():
            log.error("the app crashed; starting it again", reason=str(app.crash_reason))
            await self._wait(FIRST_RETRY_S)
        crashed.cancel()
        stopped.cancel()

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def _not_ready(self) -> list[str]:
        if self._shards is None or self._watch is None:
            return [self._starting]
        problem = [self._watch.problem] if self._watch.problem else []
        return [*problem, *self._watch.added, *self._shards.not_ready()]
