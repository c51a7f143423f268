"""Decisions about very many parked events as jobs: a request over HTTP is answered before they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.publishing.delivering.choosing import Choice, ParkedDecision
from annals.schemas.settlement import REPLAY
from annals.workers.publishing.parked import ParkedService
from annals.workers.registry import deciders
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.schemas.job_record import JobRecord
    from annals.workers.settings import Settings


class ParkedWork:
    """Does what such a job asks for (the `Work` port). Its progress and result say how many events it decided about."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings."""
        self._parked = ParkedService(settings, client_options(settings), deciders())

    async def __call__(self, record: JobRecord, report: Callable[[dict[str, Any]], None]) -> dict[str, int]:
        """Decide about what is left of it: what was decided before, by whomever, is parked no more.

        Raises:
            Refused: there is no such subscription any more.
            JournalError, KafkaError: it cannot be done now; what was done by then stays so.
        """
        asked = msgspec.convert(record.request, ParkedDecision)
        filters: dict[str, Any] = dict(asked.choice.items())
        before = record.progress.get("decided", 0)

        def told(count: int) -> None:
            report({**record.progress, "decided": before + count})

        which = asked.name, Choice(**filters, incarnation=asked.incarnation), asked.stop_at, asked.by
        if asked.action == REPLAY:
            count = await self._parked.replay(*which, told=told)
        else:
            count = await self._parked.discard(*which, asked.why or "", told)
        return {"decided": before + count}
