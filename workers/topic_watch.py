"""Looks every minute whether the topics are still as this process needs them.

What it would refuse at its start, somebody may change while it runs: a journal that is to be compacted, or that keeps
its events for a day. The brokers act on that within minutes; what it costs can be prevented before, or never.

That partitions were added does not wait for a minute: producers send there as soon as they see them. Of the topics of
shards, `annals.workers.watch` says so within a second, and what to do with each; here these are left out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError

from annals.agents.cancellation import is_task_cancelled
from annals.workers.kafka.admin.provisioning import NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from annals.workers.kafka.admin.provisioning import Report

log = structlog.get_logger(__name__)

PARTITIONS: Final = "partitions"
LOOK_S: Final = 60.0  # a broker looks for what it may delete every five minutes (log.retention.check.interval.ms)


class TopicWatch:
    """Names what a start would be refused for, as long as it is so."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Report]],
        counted: Callable[[], Collection[str]] = tuple,
        *,
        tells_warnings: bool = False,
    ) -> None:
        """Take what compares the topics with the catalogue and the start.

        counted: returns the topics of which `annals.workers.watch` says that partitions were added. tells_warnings:
        whether numbers that are only warned of are logged, where no start does that.
        """
        self._look = look
        self._counted = counted
        self._tells_warnings = tells_warnings
        self._said: set[str] = set()
        self.problems: list[str] = []
        """What is not as it was at the start, a sentence each."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                report = await self._look()
            except NotPermittedError as error:
                self._note([str(error)])
            except (ConnectionError, KafkaError, OSError, TimeoutError, asyncio.CancelledError):
                if is_task_cancelled():
                    raise  # else what asks the brokers every second says that they do not answer
            else:
                counted = self._counted()
                if self._tells_warnings:
                    self._say(str(each) for each in report.warnings if each.setting == PARTITIONS)
                self._note(
                    [str(each) for each in report.refusals if each.setting != PARTITIONS or each.topic not in counted]
                )

    def _say(self, warnings: Iterable[str]) -> None:
        """Log once what is no reason not to be ready."""
        for warning in warnings:
            if warning not in self._said:
                log.warning("a topic was changed", what=warning)
                self._said.add(warning)

    def _note(self, problems: list[str]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.error("a topic was changed", reason=problem)
        if self.problems and not problems:
            log.info("the topics are as they should be again")
        self.problems = problems
