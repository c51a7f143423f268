"""Logs: JSON lines when piped, readable on a terminal, on standard error; never `data`, never a secret."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

from annals.workers.repeats import Repeats

if TYPE_CHECKING:
    from annals.workers.settings import Settings

# structlog shows the local variables of each frame by default: commands, blocks and settings are among them
WITHOUT_LOCALS: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
# aiokafka logs each request at DEBUG, which costs 15 % of a busy worker even when nobody reads it (measured)
QUIET: Final = ("aiokafka", "faust", "mode", "asyncio", "aiohttp")


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
