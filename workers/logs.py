"""Logs: JSON lines when piped, readable on a terminal, on standard error; never `data`, never a secret."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

from annals.workers.log_handler import LogHandler
from annals.workers.repeats import WINDOW_S, Repeats

if TYPE_CHECKING:
    from annals.workers.settings import Settings

# structlog shows the local variables of each frame by default: commands, blocks and settings are among them
WITHOUT_LOCALS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
CLIENT: Final = "aiokafka"
# aiokafka logs each request at DEBUG, which costs 15 % of a busy worker even when nobody reads it (measured)
# annals.workers.app and annals.workers.kafka.group.transport: Faust names its loggers after the modules of the classes
# that extend its own
QUIET: Final = (
    "aiokafka",
    "faust",
    "mode",
    "asyncio",
    "aiohttp",
    "annals.workers.app",
    "annals.workers.kafka.group.transport",
)
# What aiokafka warns of although it is how groups work, or is named better elsewhere (before its values are put in)
HARMLESS: Final = (
    "Heartbeat failed for group %s because it is rebalancing",  # another worker came or went
    "Heartbeat failed: local member_id was not recognized; resetting and re-joining group",  # after a pause: it rejoins
    "Heartbeat failed: %r",  # `annals.workers.kafka.group.membership` says why, and what to do
    "Unexpected error in join group '%s' response: %s",
    "Unexpected error from SyncGroup: %s",
    "Attempt to join group failed due to fatal error: %s",
    "Topic %s not found in cluster metadata",  # whoever needs it says so; whoever makes it asked whether it is there
)
# What is an alarm only when it goes on: the offsets' topic of a new cluster is being made, or a broker starts again
PASSING: Final = ("Group Coordinator Request failed: %s", "Marking the coordinator dead (node %s)for group %s.")
PASSING_S: Final = 5.0


class Unremarkable(logging.Filter):
    """Leaves out what aiokafka says of a healthy group, and what is soon over."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        super().__init__()
        self._passing: dict[str, tuple[float, float]] = {}  # since when, and when last

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if not record.name.startswith(CLIENT):
            return True
        return record.msg not in HARMLESS and not (record.msg in PASSING and self._is_passing(record))

    def _is_passing(self, record: logging.LogRecord) -> bool:
        since, last = self._passing.get(str(record.msg), (record.created, record.created))
        if record.created - last > WINDOW_S:
            since = record.created
        self._passing[str(record.msg)] = since, record.created
        return record.created - since < PASSING_S


def configure_logs(settings: Settings) -> None:
    """Send the logs of the worker, and warnings of the libraries, to standard error in one format."""
    is_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor
    if is_json:
        shared.append(structlog.processors.ExceptionRenderer(WITHOUT_LOCALS))
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = LogHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Unremarkable())
    handler.addFilter(Repeats())
    root = logging.getLogger()
    for each in root.handlers:
        if isinstance(each, LogHandler):
            each.close()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
