"""Projections folded from Kafka by whoever asks, with no worker at all: into files that are gone afterwards."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from annals.agents.projections.asked_columns import with_asked_columns
from annals.agents.reading.read_models.refold import Refold
from annals.schemas.values.moments import recorded_at
from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import connect
from annals.workers.projections.journals import KafkaJournals
from annals.workers.registry import deciders
from annals.workers.settings import client_options
from annals.workers.stores.reading import scratch_stores
from annals.workers.stores.rocks import StoreBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from annals.agents.projections.projection import Projection
    from annals.workers.settings import Settings

    RowBatches = Iterator[list[dict[str, Any]]]

BATCH_ROWS: Final = 500
MEMORY_BYTES: Final = 8 << 20  # of the fold's store: its cache, and as much again of what is not written yet


async def fold_from_kafka(
    settings: Settings,
    projections: Sequence[Projection[Any]],
    take: Callable[[Projection[Any], RowBatches], None],
    recorded_until: str | None = None,
) -> None:
    """Fold projections one after another, each from the whole journal up to where it ends now.

    take: is given the rows of each, some at a time and in the order of their keys; they are not there any more when it
    has returned. recorded_until: events that were recorded later are left out, and steps are overdue as of then.

    Raises:
        MissingTopicError: a kind has no journal.
        GapError: events are missing.
        FoldFailedError: a projection cannot fold an event.
        KafkaError: Kafka does not give what it has.
        StoreError: the rows cannot be kept in the folder for temporary files (TMPDIR).
    """
    client = await connect(client_options(settings), [])
    try:
        kinds = sorted({place for projection in projections for place in projection.places})
        journals = KafkaJournals(client, TopicNames(settings.topic_prefix), kinds)
        now = recorded_at(SystemClock().now()) if recorded_until is None else recorded_until
        with TemporaryDirectory(prefix="annals-rows-") as folder:
            stores = scratch_stores(Path(folder), StoreBudget(MEMORY_BYTES, MEMORY_BYTES), "lz4")
            for projection in projections:
                store = await stores.open_beside()
                try:
                    refold = Refold(projection, deciders(), journals.partitions, store, is_indexed=True)
                    await refold.read_all(journals, recorded_until)
                    take(projection, _batches(projection, refold, now))
                finally:
                    await stores.discard(store)
    finally:
        await client.close()


def _batches(projection: Projection[Any], refold: Refold, now: str) -> RowBatches:
    rows = (row for _, row in refold.listed())
    while some := list(islice(rows, BATCH_ROWS)):
        yield with_asked_columns(projection, some, now, refold.aggregates_under)
