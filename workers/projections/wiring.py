"""The projections of a reading process, put together: the composition root hands in the shards and takes the rest.

wiring = ProjectionWiring(...)
ReadingShards(..., followers=wiring.models.followers, ask_rows=wiring.models.ask_rows)
Told(..., projections=wiring.models.known())
wiring.work(here, all_shards, peers).run()             beside the shards
ProjectionRoutes(wiring.service(all_shards), ...)      in the API
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.read_models.global_reader import GlobalReader
from annals.agents.reading.read_models.read_models import GLOBAL, ReadModels
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.agents.reading.read_models.service import ProjectionService
from annals.topics.names import TopicNames
from annals.workers.projections.journals import KafkaJournals
from annals.workers.projections.topic import ProjectionTopic
from annals.workers.projections.worker import ProjectionWork
from annals.workers.registry import projections
from annals.workers.settings import client_options
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity, scratch_stores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.damage import DamageCounter
    from annals.agents.ports import Clock
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.gathering.rows import RowSource, Shards
    from annals.agents.reading.ports import Members
    from annals.agents.reading.read_models.other_members import Peers
    from annals.agents.reading.read_models.read_models import Here
    from annals.workers.projections.metrics import ProjectionMetrics
    from annals.workers.settings import Settings
    from annals.workers.stores.rocks import StoreBudget


class ProjectionWiring:
    """Everything of projections in one process."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        deciders: Mapping[str, Decider[Any]],
        members: Members,
        clock: Clock,
        budget: StoreBudget,
        damages: DamageCounter,
        metrics: ProjectionMetrics,
    ) -> None:
        """Take what the process has.

        Raises:
            MissingTopicError: a kind has no journal.
        """
        known = projections()
        names = TopicNames(settings.topic_prefix)
        self._deciders = deciders
        self._clock = clock
        self._timeout_s = settings.api_timeout_s
        self._journals = KafkaJournals(client, names, deciders)
        self.topic: Final = ProjectionTopic(client_options(settings), names.projections)
        self.global_reader: Final = self._global_reader(settings, client, names, known, budget, damages)
        self.models: Final = ReadModels(known, deciders, self.topic, members, clock, self.global_reader)
        self._metrics = metrics
        root = Path(settings.data_dir) / names.group(settings.app_id)
        self._scratch = scratch_stores(root, budget, settings.store_compression)

    def add_stream(self, place: str, partitions: int) -> None:
        """Take how many partitions a re-keyed stream has, once it is found."""
        self._journals.partitions[place] = partitions

    def sources(self, shards: Shards) -> dict[str, RowSource]:
        """Return where rows come from, by scope."""
        local: dict[str, RowSource] = {"local": LocalRows(shards, self._timeout_s)}
        return local if self.global_reader is None else {**local, GLOBAL: self.global_reader}

    def answers(self, shards: Shards) -> RowAnswers:
        """Return who answers with rows and to questions."""
        sources, version_of = self.sources(shards), self.models.version_of
        return RowAnswers(self.models.projections, sources, version_of, self._clock, self._timeout_s)

    def service(self, shards: Shards) -> ProjectionService:
        """Return who tells of projections and changes them."""
        sources, counts = self.sources(shards), self._journals.partitions
        return ProjectionService(
            self.models, self.topic, sources, self._deciders, self._journals, counts, self._clock, self._scratch
        )

    def work(self, here: Here, shards: Shards, peers: Peers | None) -> ProjectionWork:
        """Return what runs beside the shards of this process. peers: asks other workers; None: nobody can be asked."""
        sources = self.sources(shards)
        return ProjectionWork(self.models, self.topic, here, sources, peers, self.global_reader, self._metrics)

    def _global_reader(
        self,
        settings: Settings,
        client: AIOKafkaClient,
        names: TopicNames,
        known: Mapping[str, tuple[Projection[Any], ...]],
        budget: StoreBudget,
        damages: DamageCounter,
    ) -> GlobalReader | None:
        """Return what folds the global projections; None where there are none."""
        folded = {
            name: versions
            for name, versions in known.items()
            if versions[-1].scope == GLOBAL and all(each.wanted.keys() <= self._deciders.keys() for each in versions)
        }
        kinds = sorted({kind for versions in folded.values() for each in versions for kind in each.wanted})
        if not kinds:
            return None
        journals = KafkaJournals(client, names, kinds)
        counts = journals.partitions
        every = ",".join(f"{names.events(kind)}:{counts[kind]}" for kind in kinds)
        stores = ReadingStoreFolder(
            Path(settings.data_dir) / names.group(settings.app_id),
            reading_identity(GLOBAL, 0, sum(counts.values()), every),
            budget,
            settings.store_compression,
        )
        return GlobalReader(
            folded,
            counts,
            self._deciders,
            lambda: self.topic.records if self.topic.is_read else None,
            stores,
            journals,
            self._clock,
            damages,
        )
