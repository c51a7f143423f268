"""The reactors of a process, wired to Kafka: one for each reaction of a reading shard's kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from annals.agents.reacting.reactor import CLOSED, Reactor
from annals.topics.names import TopicNames
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.reacting.controls_topic import FollowedControls
from annals.workers.reacting.log import KafkaReactionLog
from annals.workers.reacting.telemetry import ReactorMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.reactions.reaction import Reaction
    from annals.agents.reading.ports import JournalPartition, JournalSource
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.reacting.telemetry import ReactionMetrics
    from annals.workers.settings import Settings


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
    ) -> None:
        """Take the settings, aiokafka client options, what there is, each kind's number of partitions, and so on."""
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
        self._reactors: list[Reactor] = []

    async def run(self) -> None:
        """Follow which reactions run until the task is cancelled."""
        await self._controls.run()

    def reactors(self, source: JournalSource, journal: JournalPartition) -> Sequence[Reactor]:
        """Return the reactors beside a reading shard; their `run` is for the caller to start."""
        made = [
            self._reactor(reaction, source, journal)
            for reaction in self._reactions.values()
            if reaction.kind == source.kind
        ]
        self._reactors = [*(each for each in self._reactors if each.phase != CLOSED), *made]
        return made

    def problems(self) -> list[str]:
        """Return why not all is reacted to that should be; a reaction that is paused or behind is no reason."""
        found = (self._controls.problem, *(each.problem for each in self._reactors))
        return [problem for problem in found if problem is not None]

    def _reactor(self, reaction: Reaction[Any], source: JournalSource, journal: JournalPartition) -> Reactor:
        kind, number = source.kind, source.partition
        self._invalid.expect(self._names.timers(reaction.name))
        log = partial(
            KafkaReactionLog,
            self._options,
            self._names,
            reaction.name,
            kind,
            number,
            self._partitions[kind],
            self._settings.app_id,
            self._invalid,
        )
        metrics = ReactorMetrics(self._metrics, reaction.name, kind, number)
        return Reactor(reaction, self._deciders[kind], source, journal, log, self._controls, self._clock, metrics)
