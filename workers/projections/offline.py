"""Projections folded from Kafka by whoever asks, with no worker at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.agents.projections.asked_columns import with_asked_columns
from annals.agents.reading.refold import Refold
from annals.schemas.values.moments import recorded_at
from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import connect
from annals.workers.projections.journals import KafkaJournals
from annals.workers.registry import deciders
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.projections.projection import Projection
    from annals.workers.settings import Settings


async def fold_from_kafka(
    settings: Settings, projections: Sequence[Projection[Any]], recorded_until: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of projections, each folded from the whole journal up to where it ends now.

    recorded_until: events that were recorded later are left out, and steps are overdue as of then.

    Raises:
        MissingTopicError: a kind has no journal.
        GapError: events are missing.
        KafkaError: Kafka does not give what it has.
    """
    client = await connect(client_options(settings), [])
    try:
        kinds = sorted({kind for projection in projections for kind in projection.wanted})
        journals = KafkaJournals(client, TopicNames(settings.topic_prefix), kinds)
        now = recorded_at(SystemClock().now()) if recorded_until is None else recorded_until
        found = {}
        for projection in projections:
            refold = Refold(projection, deciders(), journals.partitions)
            await refold.read_all(journals, recorded_until)
            rows = [row for _, row in refold.rows.listed()]
            found[projection.name] = with_asked_columns(projection, rows, now)
        return found
    finally:
        await client.close()
