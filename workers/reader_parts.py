"""What rests on the reading shards of a process: projections, re-keyed streams, publishers, reactors and jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.projections.metrics import ProjectionMetrics
from annals.workers.projections.wiring import ProjectionWiring
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.publishing.wiring import Publishing
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reacting.wiring import Reacting
from annals.workers.reading.head_starts import HeadStarts
from annals.workers.reading.telemetry import ReadingShardMetrics
from annals.workers.registry import reactions
from annals.workers.rekeying.telemetry import RekeyingProjectionMetrics
from annals.workers.rekeying.wiring import RekeyedProjections
from annals.workers.settings import foreign_deployments
from annals.workers.stores.rocks import StoreBudget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.reading.ahead.ports import BesideStores
    from annals.agents.reading.following.shard import Shard
    from annals.agents.reading.ports import Follower
    from annals.workers.jobs.wiring import JobWiring
    from annals.workers.partitions import Actor
    from annals.workers.reading.members import GroupMembers
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings

GLOBAL_CACHE_BYTES: Final = 8 << 20  # of the store of global projections


class ReaderParts:
    """What rests on the shards, while there are any; jobs are set by who makes them, as they ask the shards."""

    def __init__(
        self, settings: Settings, options: Mapping[str, Any], members: GroupMembers, metrics: ReadingMetrics
    ) -> None:
        """Take what the parts are made from; there are none before `make`."""
        self.projections: ProjectionWiring | None = None
        self.jobs: JobWiring | None = None
        self.publishing: Publishing | None = None
        self.reacting: Reacting | None = None
        self.head_starts: HeadStarts | None = None
        self.rekeying: RekeyedProjections | None = None
        self._settings = settings
        self._options = options
        self._members = members
        self._metrics = metrics
        self._names = TopicNames(settings.topic_prefix)
        self._foreign = foreign_deployments(settings)
        self._projection_metrics = ProjectionMetrics(metrics.registry)
        self._publish_metrics = PublishMetrics(metrics.registry)
        self._reaction_metrics = ReactionMetrics(metrics.registry)
        self._rekeying_metrics = RekeyingProjectionMetrics(metrics.registry)

    def make(
        self, client: AIOKafkaClient, known: Mapping[str, Decider[Any]], counts: Mapping[str, int]
    ) -> tuple[ProjectionWiring, RekeyedProjections]:
        """Make the parts, all but the jobs; return what folds projections, and those that are re-keyed."""
        settings, options, metrics, clock = self._settings, self._options, self._metrics, SystemClock()
        budget = StoreBudget(GLOBAL_CACHE_BYTES, GLOBAL_CACHE_BYTES)
        damages = ReadingShardMetrics(metrics, "location")
        self.projections = ProjectionWiring(
            settings, client, known, self._members, clock, budget, damages, self._projection_metrics
        )
        self.rekeying = RekeyedProjections(
            settings,
            client,
            options,
            known,
            counts,
            self.projections.models,
            self.projections.add_stream,
            partial(ReadingShardMetrics, metrics),
            clock,
            self._rekeying_metrics,
            metrics.invalid_records,
        )
        if settings.publish:
            self.publishing = Publishing(
                settings, options, known, counts, clock, self._publish_metrics, metrics.invalid_records
            )
            self.head_starts = HeadStarts(settings, client, options, counts, clock, metrics)
            self.reacting = Reacting(
                settings,
                options,
                known,
                reactions(),
                counts,
                clock,
                self._reaction_metrics,
                metrics.invalid_records,
                self._foreign,
            )
        return self.projections, self.rekeying

    def followers(self, kind: str) -> Sequence[Follower]:
        """Return what follows the journals of a kind beside the event index and the states."""
        return () if self.projections is None else self.projections.models.followers(kind)

    def beside(self, client: AIOKafkaClient, shard: Shard, stores: BesideStores) -> Sequence[Actor]:
        """Return what works beside a reading shard, on its partition: its publisher and reactors, from a head start."""
        publishing, reacting, head_starts, rekeying = self.publishing, self.reacting, self.head_starts, self.rekeying
        journal = KafkaJournalPartition(client, self._names.events(shard.kind), shard.partition)
        if publishing is None or reacting is None or head_starts is None:
            return () if rekeying is None else rekeying.beside(shard, journal)
        source = head_starts.before(shard, stores)
        copied = () if rekeying is None else rekeying.beside(source, journal)
        return (source, publishing.publisher(source, journal), *reacting.reactors(source, journal), *copied)

    def problems(self) -> list[str]:
        """Return why not all of it works."""
        behind = [] if self.projections is None else self.projections.models.problems()
        kept = [each.topic.problem for each in (self.projections, self.jobs) if each is not None]
        behind += [problem for problem in kept if problem is not None]
        running = [
            each for each in (self.publishing, self.reacting, self.head_starts, self.rekeying) if each is not None
        ]
        return [*behind, *(problem for each in running for problem in each.problems())]
