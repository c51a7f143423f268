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
from annals.workers.data_folder import DataFolder, UnusableFolderError
from annals.workers.kafka.admin.findings import missing_topics
from annals.workers.kafka.admin.provisioning import BrokersUnreachableError, NotPermittedError, check, create
from annals.workers.kafka.group.membership import Membership
from annals.workers.kafka.group.sources import Sources
from annals.workers.registry import deciders
from annals.workers.schema_publisher import SchemaPublisher
from annals.workers.settings import client_options, warnings
from annals.workers.telemetry import Metrics
from annals.workers.watch import KindTopics, Watch
from annals.workers.web.server import WebServer
from annals.workers.withdrawal import Withdrawal
from annals.workers.writing.shards import Shards

if TYPE_CHECKING:
    from annals.workers.app import AnnalsApp
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
STEADY_S: Final = 60.0  # an app that ran for so long may start again at once: each start is a rebalance for the others
LOCK_WITHIN_S: Final = 10.0  # a worker that ends needs about as long at the most
LOCK_LOOK_S: Final = 0.2
GC_THRESHOLDS: Final = (100_000, 20, 20)  # a batch makes tens of thousands of objects that live as long as it does
STOP_WITHIN_S: Final = 15.0  # in which Faust stops its agents and the consumer leaves the group
REQUEST_TIMEOUT_MS: Final = 15_000  # longer than a transaction may last, so that an answer that comes is not missed


STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
        names = TopicNames(settings.topic_prefix)
        self._schemas_topic = names.schemas  # commands need every topic but this one
        self._group = names.group(settings.app_id)
        self._withdrawal = Withdrawal(self._options, self._group, settings.instance_id)
        self._publishes = True
        self._restorable: list[str] = []
        self._shards: Shards | None = None
        self._watch: Watch | None = None
        self._membership: Membership | None = None
        self._metrics.group_member.set_function(self._is_member)
        self._web = WebServer(settings.web_host, settings.web_port, self._metrics, self._not_ready)

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP.

        Raises:
            CannotStartError: topics are missing or would break a promise, the data folder or the web address cannot be
                used, or the group refuses this worker for good.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP under nohup
                loop.add_signal_handler(number, self._stop.set)
        for warning in warnings(self._settings):
            log.warning(warning)
        folder = DataFolder(self._settings.data_dir)
        try:
            if await self._claims(folder):
                await self._run()
        except UnusableFolderError as error:
            raise CannotStartError(str(error)) from error
        finally:
            folder.release()
        log.info("worker stopped")

    async def _claims(self, folder: DataFolder) -> bool:
        """Lock the data folder, waiting a moment for a worker that ends; False: this one is to stop before."""
        deadline = self._clock.monotonic() + LOCK_WITHIN_S
        while not self._stop.is_set():
            if folder.claim():
                return True
            if self._clock.monotonic() > deadline:
                raise CannotStartError(folder.in_use())
            await self._wait(LOCK_LOOK_S)
        return False

    async def _run(self) -> None:
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

    async def _until_stopped(self) -> None:
        retry = FIRST_RETRY_S
        while not self._stop.is_set():
            prepared = await self._prepared(retry)
            if prepared is not None:
                began = self._clock.monotonic()
                await self._serve(*prepared)
                self._starting = "the worker is starting again"
                if self._withdrawal.reason is not None:
                    self._starting = self._withdrawal.reason
                    await self._stay_outside()
                if self._clock.monotonic() - began > STEADY_S:
                    retry = FIRST_RETRY_S
                await self._wait(retry)
            retry = min(2 * retry, LAST_RETRY_S)

    async def _stay_outside(self) -> None:
        returning = asyncio.create_task(self._withdrawal.until_over(), name="outside of the group")
        try:
            await self._first_of(returning)
        finally:
            await _end(returning)

    async def _prepared(self, retry: float) -> tuple[dict[str, int], int] | None:
        """Check the topics; return their numbers of partitions, or None after having waited for the brokers."""
        servers = self._settings.bootstrap_servers
        looking = asyncio.create_task(self._look())
        try:
            if not await self._first_of(looking):
                return None
            report = await looking
        except NotPermittedError as error:
            raise CannotStartError(str(error)) from error
        except (ConnectionError, KafkaError, asyncio.CancelledError) as error:
            if is_task_cancelled():
                raise
            is_explained = isinstance(error, BrokersUnreachableError)
            self._starting = str(error) if is_explained else f"no answer from the Kafka brokers at {servers}"
            log.warning("waiting for the brokers", servers=servers, retry_s=retry, error=str(error))
            await self._wait(retry)
            return None
        finally:
            await _end(looking)
        self._publishes = self._schemas_topic not in report.missing
        if not self._publishes:
            log.warning("no topic for schemas: none are published. Create it with 'annals topics create'")
        names = TopicNames(self._settings.topic_prefix)
        self._restorable = [kind for kind in deciders() if names.restore(kind) not in report.missing]
        if without := [kind for kind in deciders() if kind not in self._restorable]:
            log.warning(
                "no topic for restore points: none are made. Create it with 'annals topics create'", kinds=without
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
        return report.partitions, report.dead_letter_partitions

    async def _look(self) -> Report:
        """Compare the topics with the catalogue; create those that are missing where the settings say so."""
        report = await check(self._settings, for_worker=True)
        if report.missing and self._settings.create_topics:
            made = await create(self._settings)
            log.info("topics created", topics=made)
            report = await check(self._settings, for_worker=True)
        return report

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
        app = create_app(self._settings, self._options, known, membership, sources, shards)
        topics = {
            names.commands(kind): KindTopics(
                kind,
                names.commands(kind),
                names.events(kind),
                names.outcomes(kind),
                names.snapshots(kind),
                names.dead_letters,
            )
            for kind in known
        }
        counts = {names.commands(kind): partitions[kind] for kind in known}
        self._watch = Watch(self._options, topics, counts, shards, self._metrics, self._clock)
        beside = [asyncio.create_task(self._watch.run(), name="watch")]
        if self._publishes:
            beside.append(asyncio.create_task(publisher.run(), name="schemas"))
        # it is over only with the first assignment, which may never come
        starting = asyncio.create_task(app.start(), name="app")
        try:
            await self._until_end_of(app, starting, membership, shards)
        except (Exception, asyncio.CancelledError) as error:
            if is_task_cancelled() or isinstance(error, CannotStartError):
                raise
            log.exception("the app ended")
        finally:
            await _end(*beside)
            await shards.suspend()
            await _end(starting)
            await _stopped(app)
            await shards.close()
            self._shards = None

    async def _until_end_of(
        self, app: AnnalsApp, starting: asyncio.Task[None], membership: Membership, shards: Shards
    ) -> None:
        crashed = asyncio.create_task(app._crashed.wait())  # noqa: SLF001 - mode offers no other way to wait for it
        refused = asyncio.create_task(membership.is_hopeless.wait())
        withdrawn = asyncio.create_task(self._withdrawal.until_due(shards), name="withdrawal")
        try:
            ended = await self._first_of(starting, crashed, refused, withdrawn)
            if starting in ended:
                await starting
                ended = await self._first_of(crashed, refused, withdrawn)
            if refused in ended:
                raise CannotStartError(membership.problem or "")
            if crashed in ended:
                log.error("the app crashed; starting it again", reason=str(app.crash_reason))
        finally:
            await _end(crashed, refused, withdrawn)

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> set[asyncio.Task[Any]]:
        """Wait until one of these tasks ends or the worker is to stop; return those that have ended by themselves."""
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(stopping)
        return {task for task in tasks if task.done()}

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def _is_member(self) -> bool:
        return self._shards is not None and self._membership is not None and self._membership.is_member

    def _not_ready(self) -> list[str]:
        if self._shards is None or self._watch is None or self._membership is None:
            return [self._starting]
        problems = [problem for problem in (self._watch.problem, self._membership.problem) if problem]
        return [*problems, *self._watch.gone, *self._watch.added, *self._shards.not_ready()]


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended, however that is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _stopped(app: AnnalsApp) -> None:
    """Stop the app; one that does not end must not keep the process."""
    try:
        await asyncio.wait_for(app.stop(), STOP_WITHIN_S)
    except TimeoutError:
        log.error("the app did not stop in time", seconds=STOP_WITHIN_S)  # noqa: TRY400 - no trace says more
