"""What reactors count (the `ReactionTelemetry` port)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from annals.agents.reacting.foreign import COUNTED, FOREIGN, GAP, VOID

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

REACTION: Final = ("reaction",)
PARTITION: Final = (*REACTION, "kind", "partition")
DEPLOYMENT: Final = (*REACTION, "deployment")
STATUSES: Final = (COUNTED, VOID, FOREIGN, GAP)


class ReactionMetrics:
    """The metrics of reactions of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.commands = Counter(
            "annals_reaction_commands_total", "commands that reactions sent", REACTION, registry=registry
        )
        self.fired = Counter("annals_reaction_timers_fired_total", "timers that fired", REACTION, registry=registry)
        self.foreign = Counter(
            "annals_reaction_foreign_records_total",
            "records of another deployment's journal behind what was reacted to, by the rule of every reader: counted, "
            "void, foreign, gap",
            (*DEPLOYMENT, "status"),
            registry=registry,
        )
        self.rekeyed = Counter(
            "annals_reaction_rekeyed_total",
            "events that were copied to the stream of a reaction that is re-keyed",
            REACTION,
            registry=registry,
        )
        self.come_round = Counter(
            "annals_reaction_foreign_loops_total",
            "events of another deployment that were passed over: they came through this one, or through eight",
            DEPLOYMENT,
            registry=registry,
        )
        self.lag = Gauge(
            "annals_reaction_lag",
            "offsets of a journal partition that are not reacted to, or not copied to the stream of a reaction that is "
            "re-keyed; with the kind `rekeyed`, of a partition of that stream",
            PARTITION,
            registry=registry,
        )
        self.timers = Gauge("annals_reaction_timers", "timers that are set", PARTITION, registry=registry)
        self.up = Gauge(
            "annals_reaction_up",
            "1 while a reaction that was resumed runs in the partition, 0 while it cannot",
            PARTITION,
            registry=registry,
        )


class ReactorMetrics:
    """The metrics of one reaction in one journal partition; the gauges are there while it is to run."""

    def __init__(
        self, metrics: ReactionMetrics, reaction: str, kind: str, partition: int, deployment: str | None = None
    ) -> None:
        """Take which reaction and partition it is, and of which other deployment."""
        self._deployment = deployment
        if deployment is not None:  # what happens once is seen
            for status in STATUSES:
                metrics.foreign.labels(reaction, deployment, status)
            metrics.come_round.labels(reaction, deployment)
        self._metrics = metrics
        self._reaction = reaction
        self._labels = (reaction, kind, str(partition))

    def reacted(self, commands: int, fired: int) -> None:
        """Count commands that were sent and timers that have fired."""
        self._metrics.commands.labels(self._reaction).inc(commands)
        self._metrics.fired.labels(self._reaction).inc(fired)

    def judged(self, status: str, records: int) -> None:
        """Count records of another deployment's journal by what they are."""
        if self._deployment is not None:
            self._metrics.foreign.labels(self._reaction, self._deployment, status).inc(records)

    def come_round(self, events: int) -> None:
        """Count events of another deployment that were passed over, since they have come through this one."""
        if self._deployment is not None:
            self._metrics.come_round.labels(self._reaction, self._deployment).inc(events)

    def standing(self, lag: int, timers: int) -> None:
        """Say how many offsets it is behind, and how many timers are set."""
        self._metrics.lag.labels(*self._labels).set(lag)
        self._metrics.timers.labels(*self._labels).set(timers)

    def running(self, *, is_so: bool | None) -> None:
        """Say whether the reaction runs in the partition; None: it is not to."""
        if is_so is None:
            self.closed()
        else:
            self._metrics.up.labels(*self._labels).set(is_so)

    def closed(self) -> None:
        """Forget the gauges of the partition: it may be somebody else's now."""
        for gauge in (self._metrics.lag, self._metrics.timers, self._metrics.up):
            with suppress(KeyError):  # it was never set
                gauge.remove(*self._labels)


class RekeyingMetrics(ReactorMetrics):
    """Those of what copies a journal partition to a stream: it sends no commands, and has no timers."""

    def reacted(self, commands: int, fired: int) -> None:
        """Count the events that were copied."""
        del fired
        self._metrics.rekeyed.labels(self._reaction).inc(commands)
