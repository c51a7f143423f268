"""The composition root of the role `read`: the app of the group that reads, its shards, and what rests on them.

Run as a program it is the child of a worker that decides (`annals.workers.reader_process`).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.reading.event_handler import event_handler
from annals.agents.writing.cancellation import is_task_cancelled
from annals.topics.names import TopicNames
from annals.workers import channel
from annals.workers.app import create_app
from annals.workers.clock import SystemClock
from annals.workers.data_folder import READ_LOCK, DataFolder
from annals.workers.exposition import families_of
from annals.workers.kafka.admin.findings import missing_topics
from annals.workers.kafka.admin.provisioning import (
    BrokersUnreachableError,
    NotPermittedError,
    check_for_reading,
    create,
)
from annals.workers.kafka.connections import connect
from annals.workers.kafka.group.membership import READING_SESSION_TIMEOUT_MS, Membership
from annals.workers.kafka.group.sources import Sources
from annals.workers.logs import configure_logs
from annals.workers.process import (
    FIRST_RETRY_S,
    LAST_RETRY_S,
    REQUEST_TIMEOUT_MS,
    STEADY_S,
    STOP_SIGNALS,
    CannotStartError,
    Stop,
    end,
    listening,
    stopped,
)
from annals.workers.reading.members import GroupMembers, ReadingAssignor, Told
from annals.workers.reading.shards import CurrentShards, ReadingShards
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.reading.watch import ReadingWatch
from annals.workers.registry import deciders
from annals.workers.settings import READ, client_options, warnings
from annals.workers.settings.connection import is_any_address
from annals.workers.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.ports import Follower
    from annals.agents.reading.shard import Shard
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.partitions import Actor
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

NICENESS: Final = 10  # a drain may leave reading behind, and is never slowed by it
GC_THRESHOLDS: Final = (100_000, 20, 20)


class Reader:
    """The role `read` in one process."""

    def __init__(self, settings: Settings, stop: Stop, *, is_child: bool) -> None:
        """Take the settings and the process' end.

        is_child: of a worker that decides, which makes the topics and warns of settings.
        """
        self._settings = settings
        self._options: dict[str, Any] = {**client_options(settings), "request_timeout_ms": REQUEST_TIMEOUT_MS}
        self._stop = stop
        self._is_child = is_child
        self._names = TopicNames(settings.topic_prefix)
        self._group = self._names.reading_group(settings.app_id)
        self._starting = "the worker is starting"
        self._membership: Membership | None = None
        self._watch: ReadingWatch | None = None
        self.metrics = ReadingMetrics()
        self.metrics.group_member.set_function(self._is_member)
        self.shards = CurrentShards()
        self.members = GroupMembers()
        self.url: str | None = None

    # What rests on the shards is put together in these four.

    async def _start_api(self) -> int:
        """Begin to serve the API; return its port."""
        return self._settings.api_port

    async def _stop_api(self) -> None:
        """End what `_start_api` began."""

    def _followers(self, kind: str) -> Sequence[Follower]:
        """Return what follows the journals of a kind beside the event index and the states."""
        del kind
        return ()

    def _beside(self, shard: Shard) -> Sequence[Actor]:
        """Return what works beside a reading shard, on its partition."""
        del shard
        return ()

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
            self.url = _url(self._settings, await self._start_api())
            started.set()
            try:
                await self._until_stopped()
            finally:
                await self._stop_api()
        finally:
            folder.release()

    def reasons(self) -> list[str]:
        """Return why this role is not ready; empty when it is."""
        shards = self.shards.current
        if shards is None or self._watch is None or self._membership is None:
            return [self._starting]
        problems = [problem for problem in (self._watch.problem, self._membership.problem) if problem]
        return [*problems, *self.members.differing(), *shards.partitions_here.not_ready()]

    async def _until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        retry = FIRST_RETRY_S
        while not self._stop.is_asked():
            began = loop.time()
            try:
                counts = await self._partitions()
                if counts is not None:
                    await self._serve(counts)
                    self._starting = "the worker is starting again"
            except NotPermittedError as error:
                self._cannot(str(error))
            except (ConnectionError, KafkaError, asyncio.CancelledError) as error:
                if is_task_cancelled():
                    raise
                servers = self._settings.bootstrap_servers
                is_explained = isinstance(error, BrokersUnreachableError)
                self._starting = str(error) if is_explained else f"no answer from the Kafka brokers at {servers}"
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
            await end(looking)
        if report.needed:
            missing = missing_topics(report.needed, self._settings.topic_prefix)
            self._cannot(f"{missing}. Create them with 'annals topics create'")
            return None
        if report.refusals:
            self._cannot("\n".join(str(refusal) for refusal in report.refusals))
            return None
        return report.partitions

    async def _look(self) -> Report:
        report = await check_for_reading(self._settings)
        if report.missing and self._settings.create_topics and not self._is_child:
            log.info("topics created", topics=await create(self._settings))
            report = await check_for_reading(self._settings)
        return report

    def _cannot(self, reason: str) -> None:
        """Say what keeps this role from reading: alone it ends the process, beside `write` it is waited for."""
        if not self._is_child:
            raise CannotStartError(reason)
        if reason != self._starting:
            log.warning("waiting for what reading needs", reason=reason)
        self._starting = reason

    async def _serve(self, counts: dict[str, int]) -> None:
        """Run the app until the stop, or until it cannot go on."""
        known, sources = deciders(), Sources()
        client = await connect(self._options, [self._names.events(kind) for kind in known])
        shards = ReadingShards(
            self._settings,
            client,
            known,
            counts,
            sources,
            self.metrics,
            SystemClock(),
            followers=self._followers,
            ask_rows=None,
            beside=self._beside,
        )
        told = Told(url=self.url, publishes=self._settings.publish)
        self._membership = Membership(self._group, self._settings.instance_id, READING_SESSION_TIMEOUT_MS)
        handler = event_handler(shards.partitions_here.of)
        app = create_app(
            self._settings,
            self._options,
            self._membership,
            sources,
            shards.partitions_here,
            {self._names.events(kind): (f"event_handler.{kind}", handler) for kind in known},
            ReadingAssignor.of_one_reader(told, self.members),
        )
        self._watch = ReadingWatch(self._settings.bootstrap_servers, client, shards, sources, self.metrics)
        self.shards.current = shards
        watching = asyncio.create_task(self._watch.run(), name="watch")
        starting = asyncio.create_task(app.start(), name="app")
        try:
            await self._stop.until_end_of(app, starting)
        except CannotStartError as error:
            self._cannot(str(error))
        except (Exception, asyncio.CancelledError):
            if is_task_cancelled():
                raise
            log.exception("the app ended")
        finally:
            await end(watching)
            await shards.partitions_here.suspend()
            await end(starting)
            await stopped(app)
            self.shards.current = None
            await shards.partitions_here.close()
            await client.close()

    def _is_member(self) -> bool:
        return self.shards.current is not None and self._membership is not None and self._membership.is_member


def _url(settings: Settings, port: int) -> str | None:
    """Return where others reach the API; None where they cannot."""
    if settings.api_advertised_url is not None:
        return settings.api_advertised_url
    if is_any_address(settings.api_host):
        return None
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    return f"http://{host}:{port}"


async def run_alone(settings: Settings) -> None:
    """Be a worker that reads and does not decide, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CannotStartError: as `Reader.run`.
    """
    stop = Stop()
    stop.hear(*STOP_SIGNALS)
    for warning in warnings(settings):
        log.warning(warning)
    reader = Reader(settings, stop, is_child=False)
    web = WebServer(settings.web_host, settings.web_port, reader.metrics, reader.reasons, role=READ)
    address = await listening(web, settings)
    started = asyncio.Event()
    _tune()
    running = asyncio.create_task(reader.run(started))
    try:
        await stop.first_of(asyncio.create_task(started.wait()), running)
        if started.is_set():
            log.info("worker started", web=address, api=reader.url)
        await running
    finally:
        await web.stop()
    log.info("worker stopped")


def _tune() -> None:
    gc.freeze()  # what the imports left is for ever; the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)


async def _run_as_child(settings: Settings, own: socket.socket) -> None:
    """Read, and answer the parent, until it says so or is gone."""
    stop = Stop()
    stop.hear(signal.SIGTERM)
    reader = Reader(settings, stop, is_child=True)
    stream, writer = await asyncio.open_unix_connection(sock=own)
    started = asyncio.Event()
    _tune()
    running = asyncio.create_task(reader.run(started))
    hearing = asyncio.create_task(_hear(reader, stop, stream, writer))
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({starting, running}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            channel.send(writer, channel.Started(reader.url))
        await running
    except CannotStartError as error:
        channel.send(writer, channel.Refused(str(error)))
        await writer.drain()
    finally:
        await end(starting, hearing)


async def _hear(reader: Reader, stop: Stop, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            message = await channel.receive(stream, channel.ToChild)
        except (EOFError, OSError):
            # Where the kernel does not end a child with its parent: at once, as a kill would. The stores stand that.
            os._exit(1)
        if isinstance(message, channel.Stop):
            stop.ask()
        else:
            reasons = reader.reasons()
            reader.metrics.ready.set(not reasons)
            channel.send(writer, channel.Answer(reasons, families_of(reader.metrics.registry, READ)))


def main(arguments: Sequence[str]) -> None:
    """Be the child of a worker: the argument is the number of the socket that it inherits."""
    own = socket.socket(fileno=int(arguments[0]))
    own.set_inheritable(False)
    os.nice(NICENESS)
    try:
        settings = channel.receive_settings(own)
    except EOFError:
        return
    configure_logs(settings)
    structlog.contextvars.bind_contextvars(role=READ)
    asyncio.run(_run_as_child(settings, own))


if __name__ == "__main__":
    main(sys.argv[1:])
