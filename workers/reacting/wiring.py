"""The reactors of a process, wired to Kafka: one for each reaction of a reading shard's kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reacting.reactor import CLOSED, Reactor
from annals.agents.reacting.rekeyed import RekeyedStream
from annals.topics.names import TopicNames
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.reacting.controls_topic import FollowedControls
from annals.workers.reacting.foreign import foreign_problem
from annals.workers.reacting.log import JournalOfAnother, KafkaReactionLog
from annals.workers.reacting.rekeyed import KafkaHorizon, KafkaRekeyingLog, carried_in_stream
from annals.workers.reacting.telemetry import ReactorMetrics, RekeyingMetrics
from annals.workers.reacting.topic_reactors import TopicReactors
from annals.workers.reading.restore_point import KafkaRangedJournal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.reactions.reaction import Reaction
    from annals.agents.reading.ports import JournalPartition, JournalSource
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.reacting.telemetry import ReactionMetrics
    from annals.workers.settings import ForeignDeployment, Settings


REKEYED: Final = "rekeyed"
"""What metrics say in the place of a kind where a stream is read."""
NO_OTHERS: Final[Mapping[str, ForeignDeployment]] = {}


class Reacting:
    """What the reactors of a process share. `run` follows which run; `reactors` makes those of a shard."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        deciders: Mapping[str, Decider[Any]],
        reactions: Mapping[str, Reaction[Any]],
        partitions: Mapping[str, int],
        clock: Clock,
        metrics: ReactionMetrics,
        invalid: InvalidRecords = PASSED_OVER,
        foreign: Mapping[str, ForeignDeployment] = NO_OTHERS,
    ) -> None:
        """Take the settings, aiokafka client options, what there is, each kind's number of partitions, and so on.

        foreign: the other deployments that are known, by id.
        """
        self._settings = settings
        self._options = options
        self._deciders = deciders
        self._reactions = reactions
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics
        self._invalid = invalid
        self._names = TopicNames(settings.topic_prefix)
        self._controls = FollowedControls(options, self._names, invalid)
        self._foreign = foreign
        self._reactors: list[Reactor] = []
        self._topic_reactors: list[TopicReactors] = []

    async def run(self) -> None:
        """Follow which reactions run until the task is cancelled."""
        await self._controls.run()

    def reactors(self, source: JournalSource, journal: JournalPartition) -> Sequence[Reactor | TopicReactors]:
        """Return the reactors beside a reading shard; their `run` is for the caller to start."""
        wanted = [reaction for reaction in self._reactions.values() if reaction.kind == source.kind]
        made = [self._reactor(reaction, source, journal) for reaction in wanted if reaction.deployment is None]
        self._reactors = [*(each for each in self._reactors if each.phase != CLOSED), *made]
        others = [
            self._to_another(reaction, reaction.deployment, source.partition)
            for reaction in wanted
            if reaction.deployment is not None
        ]
        others += [self._to_stream(reaction, source.partition) for reaction in wanted if reaction.rekeyed]
        self._topic_reactors = [*(each for each in self._topic_reactors if not each.is_closed), *others]
        return [*made, *others]

    def problems(self) -> list[str]:
        """Return why not all is reacted to that should be; a reaction that is paused or behind is no reason."""
        found = (
            self._controls.problem,
            *(each.problem for each in self._reactors),
            *(each.problem for each in self._topic_reactors),
        )
        return [problem for problem in found if problem is not None]

    def _reactor(self, reaction: Reaction[Any], source: JournalSource, journal: JournalPartition) -> Reactor:
        """Return what runs a reaction beside a reading shard; if it is re-keyed, what copies its events from there."""
        kind, number = source.kind, source.partition
        self._invalid.expect(self._names.timers(reaction.name))
        place = (
            self._options,
            self._names,
            reaction.name,
            kind,
            number,
            self._partitions[kind],
            self._settings.app_id,
            self._invalid,
        )
        made = ReactorMetrics if not reaction.rekeyed else RekeyingMetrics
        return Reactor(
            reaction,
            self._deciders[kind],
            source,
            journal,
            partial(KafkaRekeyingLog, *place, codec=self._settings.compression)
            if reaction.rekeyed
            else partial(KafkaReactionLog, *place),
            self._controls,
            self._clock,
            made(self._metrics, reaction.name, kind, number),
            rekeys=reaction.rekeyed,
        )

    def _to_stream(self, reaction: Reaction[Any], partition: int) -> TopicReactors:
        """Return what runs a re-keyed reaction in the partitions of its stream that go with one of the journal's."""
        topic = self._names.rekeyed(reaction.name)
        self._invalid.expect(topic)
        return TopicReactors(
            reaction,
            partition,
            self._partitions[reaction.kind],
            topic,
            self._options,
            str,
            partial(self._stream_reactor, reaction, topic),
            self._controls,
            ReactorMetrics(self._metrics, reaction.name, REKEYED, partition),
            "the re-keyed stream",
        )

    def _stream_reactor(
        self, reaction: Reaction[Any], topic: str, client: AIOKafkaClient, partition: int, count: int
    ) -> Reactor:
        kind, where = reaction.kind, (topic, partition)
        app_id, names = self._settings.app_id, self._names
        journal = KafkaRangedJournal(client, topic, partition, carried_in_stream, "the re-keyed stream")
        journals = [(names.events(kind), each) for each in range(self._partitions[kind])]
        place = self._options, names, reaction.name, kind, partition, count, app_id, self._invalid
        return Reactor(
            reaction,
            self._deciders[kind],
            RekeyedStream(reaction, topic, partition, count, journal, self._clock, partial(self._invalid.note, where)),
            journal,
            partial(KafkaReactionLog, *place, is_rekeyed=True),
            self._controls,
            self._clock,
            ReactorMetrics(self._metrics, reaction.name, REKEYED, partition),
            horizon=KafkaHorizon(client, names, app_id, reaction.name, journals, where, self._clock),
        )

    def _to_another(self, reaction: Reaction[Any], deployment: str, partition: int) -> TopicReactors:
        """Return what runs a reaction to another deployment's events beside a partition of ours."""
        self._invalid.expect(self._names.timers(reaction.name))
        other = self._foreign.get(deployment)
        topic = "" if other is None else TopicNames(other.topic_prefix).events(reaction.kind)
        return TopicReactors(
            reaction,
            partition,
            self._partitions[reaction.kind],
            topic,
            None if other is None else other.options(self._options),
            partial(foreign_problem, deployment, self._foreign, self._options),
            partial(self._foreign_reactor, reaction, JournalOfAnother(deployment, topic)),
            self._controls,
            ReactorMetrics(self._metrics, reaction.name, reaction.kind, partition, deployment),
        )

    def _foreign_reactor(
        self, reaction: Reaction[Any], other: JournalOfAnother, client: AIOKafkaClient, partition: int, count: int
    ) -> Reactor:
        kind = reaction.kind
        journal = KafkaRangedJournal(client, other.topic, partition)
        metrics = ReactorMetrics(self._metrics, reaction.name, kind, partition, other.deployment)
        log = partial(
            KafkaReactionLog,
            self._options,
            self._names,
            reaction.name,
            kind,
            partition,
            count,
            self._settings.app_id,
            self._invalid,
            other,
        )
        source = ForeignJournal(other.deployment, kind, partition, count, journal, self._clock, metrics)
        here = self._settings.deployment
        return Reactor(reaction, self._deciders[kind], source, journal, log, self._controls, self._clock, metrics, here)
