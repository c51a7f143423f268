"""The reactors of a process, wired to Kafka: one for each reaction of a reading shard's kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiokafka.structs import TopicPartition

from annals.agents.reacting.foreign import ForeignJournal
from annals.agents.reacting.reactor import CLOSED, Reactor
from annals.agents.reading.streams.rekeyed import RekeyedStream
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
    from annals.agents.event_keys import Rekeyed
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
        here = [each for each in wanted if each.deployment is None and not each.rekeyed]
        made = [self._reactor(reaction, source, journal) for reaction in here]
        others = [
            self._to_another(reaction, reaction.deployment, source.partition)
            for reaction in wanted
            if reaction.deployment is not None
        ]
        streams = [(reaction, reaction.stream) for reaction in wanted if reaction.stream is not None]
        made += [self._copier(stream, source, journal) for _, stream in streams]
        others += [self._to_stream(reaction, stream, source.partition) for reaction, stream in streams]
        self._reactors = [*(each for each in self._reactors if each.phase != CLOSED), *made]
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
        """Return what runs a reaction beside a reading shard."""
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
        return Reactor(
            reaction,
            self._deciders[kind],
            source,
            journal,
            partial(KafkaReactionLog, *place),
            self._controls,
            self._clock,
            ReactorMetrics(self._metrics, reaction.name, kind, number),
        )

    def _copier(self, stream: Rekeyed, source: JournalSource, journal: JournalPartition) -> Reactor:
        """Return what copies the events of a reading shard to a stream."""
        settings, number = self._settings, source.partition
        place = self._options, self._names, stream, number, self._partitions[stream.kind], settings.app_id
        return Reactor(
            stream,
            self._deciders[stream.kind],
            source,
            journal,
            partial(KafkaRekeyingLog, *place, self._invalid, codec=settings.compression),
            self._controls,
            self._clock,
            RekeyingMetrics(self._metrics, stream.name, stream.kind, number),
        )

    def _to_stream(self, reaction: Reaction[Any], stream: Rekeyed, partition: int) -> TopicReactors:
        """Return what runs a re-keyed reaction in the partitions of its stream that go with one of the journal's."""
        topic = self._names.rekeyed(stream.name)
        self._invalid.expect(topic)
        return TopicReactors(
            reaction,
            partition,
            self._partitions[reaction.kind],
            topic,
            self._options,
            str,
            partial(self._stream_reactor, reaction, stream, topic),
            self._controls,
            ReactorMetrics(self._metrics, reaction.name, REKEYED, partition),
            "the re-keyed stream",
        )

    def _stream_reactor(
        self, reaction: Reaction[Any], stream: Rekeyed, topic: str, client: AIOKafkaClient, partition: int, count: int
    ) -> Reactor:
        kind, where = reaction.kind, TopicPartition(topic, partition)
        app_id, names = self._settings.app_id, self._names
        journal = KafkaRangedJournal(client, topic, partition, carried_in_stream, "the re-keyed stream")
        journals = [TopicPartition(names.events(kind), each) for each in range(self._partitions[kind])]
        place = self._options, names, reaction.name, kind, partition, count, app_id, self._invalid
        return Reactor(
            reaction,
            self._deciders[kind],
            RekeyedStream(stream, topic, partition, count, journal, self._clock, partial(self._invalid.note, where)),
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
