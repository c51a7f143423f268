"""A worker that reads and does not decide: the role `read` without a parent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from annals.agents.waiting import ended
from annals.workers.kafka.admin.provisioning import check_for_reading
from annals.workers.process import STOP_SIGNALS, Stop, listening, tune
from annals.workers.reader import Reader
from annals.workers.settings import READ, warnings
from annals.workers.topic_watch import TopicWatch
from annals.workers.web.server import WebServer

if TYPE_CHECKING:
    from annals.workers.kafka.admin.provisioning import Report
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)


async def run_alone(settings: Settings) -> None:
    """Be a worker that reads and does not decide, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        CannotStartError: as `Reader.run`.
    """
    stop = Stop()
    for warning in warnings(settings):
        log.warning(warning)
    stop.hear(*STOP_SIGNALS)
    try:
        await _run(settings, stop)
    finally:
        stop.over()
    log.info("worker stopped")


async def _run(settings: Settings, stop: Stop) -> None:
    reader = Reader(settings, stop, is_child=False)

    async def look() -> Report:
        return await check_for_reading(settings, first_offsets=False, since=reader.found)

    topics = TopicWatch(look)

    def reasons() -> list[str]:
        return [*reader.reasons(), *topics.problems]

    web = WebServer(settings.web_host, settings.web_port, reader.metrics, reasons, role=READ)
    address = await listening(web, settings)
    started = asyncio.Event()
    tune()
    running = asyncio.create_task(reader.run(started))
    watching = asyncio.create_task(topics.run(), name="watch")
    try:
        await stop.first_of(asyncio.create_task(started.wait()), running)
        if started.is_set():
            log.info("worker started", web=address, api=reader.url)
        await running
    finally:
        await ended(watching)
        await web.stop()
