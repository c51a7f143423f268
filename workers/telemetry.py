"""What a worker tells about itself: metrics under constant names with labels, served at `/metrics`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from annals.schemas.outcome import ACCEPTED, DUPLICATE, REJECTED
from annals.schemas.wire.dead_letter import REASONS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from annals.agents.ports import Clock, CommandRecord
    from annals.agents.writing.batches.batch import Batch
    from annals.agents.writing.shard_id import ShardId
    from annals.workers.decision_log import DecisionLog

LATENCIES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCHES: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000, 3_000)
MOST_OBSERVED: Final = (
    16  # latencies observed of a batch, evenly spread: a million commands cost no million observations
)

STATUSES: Final = (ACCEPTED, REJECTED, DUPLICATE)
COMMANDS: Final = "annals_commands_total"
EVENTS: Final = "annals_events_total"


class Metrics:
    """The metrics of a process that decides, in a registry of its own. Those of reading: `ReadingMetrics`, and more."""

    def __init__(self) -> None:
        """Declare them all: this process has no others."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        kind, shard = ("kind",), ("kind", "partition")

        def counter(name: str, help_: str, labels: Sequence[str] = kind) -> Counter:
            return Counter(name, help_, labels, registry=registry)

        def gauge(name: str, help_: str, labels: Sequence[str] = shard) -> Gauge:
            return Gauge(name, help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name, help_, kind, buckets=buckets, registry=registry)

        self.commands = counter(COMMANDS, "commands answered: accepted, rejected or duplicate", ("kind", "status"))
        self.events = counter(EVENTS, "events recorded")
        self.forwarded = counter("annals_commands_forwarded_total", "misplaced commands copied to their partition")
        self.void = counter("annals_void_events_total", "void events met in the journal: the losers of two writers")
        self.foreign = counter("annals_foreign_records_total", "records met in the journal that are no events of it")
        self.dead_letters = counter(
            "annals_dead_letters_total",
            "records that cannot be read as a command, or failed by a defect (internal_error)",
            ("kind", "reason"),
        )
        self.oversized = counter(
            "annals_snapshots_too_large_total", "snapshots left out since they are larger than their topic takes"
        )
        self.restore_points = counter("annals_restore_points_total", "restore points made")
        self.restores = counter(
            "annals_restores_total", "shards opened from a restore point whose journal is folded in full by now"
        )
        self.aborts = counter("annals_transactions_uncertain_total", "transactions whose end was not known")
        self.fences = counter("annals_fenced_total", "times that another writer took a journal over")
        self.damages = counter("annals_stores_damaged_total", "stores that were damaged, and are folded anew")
        self.batch_size = histogram("annals_batch_commands", "commands decided in one transaction", BATCHES)
        self.decide_seconds = histogram("annals_decide_seconds", "time to decide and seal a batch", LATENCIES_S)
        self.commit_seconds = histogram(
            "annals_commit_seconds", "time from a decided batch to its known commit", LATENCIES_S
        )
        self.end_to_end_seconds = histogram(
            "annals_command_seconds",
            "time from a command's arrival at the broker to its committed answer (sampled)",
            LATENCIES_S,
        )
        self.lag = gauge("annals_lag", "commands (offsets) in a partition that are not decided")
        self.blocked = gauge(
            "annals_commands_blocked_seconds", "seconds for which a producer's open transaction has held a partition up"
        )
        self.restored = gauge("annals_restore_offset", "journal offset that the store is folded up to")
        self.restore_end = gauge("annals_restore_end_offset", "journal offset at which restoring ends")
        self.open = gauge("annals_shard_open", "1 while the shard takes commands")
        self.store_bytes = gauge("annals_store_bytes", "bytes of the shard's files")
        self.standby_open = gauge("annals_standby_open", "1 while this standby of the partition follows its journal")
        self.standby_lag = gauge("annals_standby_lag", "offsets of the journal that this standby has not folded yet")
        self.left: set[tuple[str, str]] = set()  # kind and partition of shards that are not here any more
        self.hits = counter("annals_state_cache_hits_total", "aggregates found in memory")
        self.misses = counter("annals_state_cache_misses_total", "aggregates read from the store")
        self.hot_bytes = gauge("annals_state_cache_bytes", "estimated bytes of hot aggregates in memory", ())
        self.ready = gauge("annals_ready", "1 while /health/ready answers 200", ())
        self.broker_up = gauge("annals_broker_up", "1 while the brokers answer", ())
        self.group_member = gauge("annals_group_member", "1 while the worker is a member of its consumer group", ())
        self.connections = gauge("annals_shard_connections", "transactional producers that are open", ())
        self.turns = gauge(
            "annals_turns", "shards that may be in a transaction at once; +Inf while there is no bound", ()
        )

        self.reader_restarts = Counter(
            "annals_reader_restarts_total",
            "times that the process that reads ended, and was started again",
            registry=registry,
        )

    def sweep(self, kept: Collection[str]) -> None:
        """Forget the gauges of the shards that have left, except of these kinds: nobody else can report them."""
        for labels in [labels for labels in self.left if labels[0] not in kept]:
            self.left.discard(labels)
            for gauge in (self.lag, self.blocked, self.restored, self.restore_end, self.open, self.store_bytes):
                try:
                    gauge.remove(*labels)
                except KeyError:  # it was never set
                    continue

    def forget_standby(self, kind: str, partition: str) -> None:
        """Forget the gauges of a standby that is not here any more."""
        for gauge in (self.standby_open, self.standby_lag):
            with suppress(KeyError):  # it was never set
                gauge.remove(kind, partition)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class ShardMetrics:
    """The metrics of one shard (the `ShardTelemetry` port)."""

    def __init__(self, metrics: Metrics, place: ShardId, clock: Clock, decisions: DecisionLog) -> None:
        """Look every labelled metric up once."""
        self._decisions = decisions
        kind, partition = place.kind, str(place.partition)
        self._metrics = metrics
        self._clock = clock
        self._labels = (kind, partition)
        metrics.left.discard(self._labels)
        self._events = metrics.events.labels(kind)
        self._forwarded = metrics.forwarded.labels(kind)
        self._void = metrics.void.labels(kind)
        self._foreign = metrics.foreign.labels(kind)
        self._oversized = metrics.oversized.labels(kind)
        self._restore_points = metrics.restore_points.labels(kind)
        self._restores = metrics.restores.labels(kind)
        self._aborts = metrics.aborts.labels(kind)
        self._fences = metrics.fences.labels(kind)
        self._damages = metrics.damages.labels(kind)
        self._batch_size = metrics.batch_size.labels(kind)
        self._decide = metrics.decide_seconds.labels(kind)
        self._commit = metrics.commit_seconds.labels(kind)
        self._end_to_end = metrics.end_to_end_seconds.labels(kind)
        self._restored = metrics.restored.labels(kind, partition)
        self._restore_end = metrics.restore_end.labels(kind, partition)
        self._hits = metrics.hits.labels(kind)
        self._misses = metrics.misses.labels(kind)
        # A series that begins with its first count has no increase yet, and no alert sees that one.
        self._answered = {status: metrics.commands.labels(kind, status) for status in STATUSES}
        self._buried = {reason: metrics.dead_letters.labels(kind, reason) for reason in REASONS}

    def committed(self, batch: Batch, records: Sequence[CommandRecord], decided_s: float, committed_s: float) -> None:
        """Count a batch that was committed."""
        tally = batch.tally
        for status, count in tally.statuses.items():
            self._answered[status].inc(count)
        for reason, count in tally.dead_letters.items():
            self._buried[reason].inc(count)
        self._events.inc(tally.events)
        if tally.forwarded:
            self._forwarded.inc(tally.forwarded)
        if tally.oversized:
            self._oversized.inc(len(tally.oversized))
        self._batch_size.observe(len(records))
        self._decide.observe(decided_s)
        self._commit.observe(committed_s)
        now_ms = self._clock.now().timestamp() * 1000
        for record in records[:: len(records) // MOST_OBSERVED + 1]:
            self._end_to_end.observe(max(0.0, (now_ms - record.timestamp) / 1000))
        self._decisions.committed(tally, records)

    def folded(self, counts: Mapping[str, int], position: int, end: int) -> None:
        """Count what a fold met, and how far it is."""
        if counts.get("void"):
            self._void.inc(counts["void"])
        if counts.get("foreign"):
            self._foreign.inc(counts["foreign"])
        self._restored.set(position)
        self._restore_end.set(end)
        self._decisions.folded(counts, position)

    def aborted(self) -> None:
        """Count a transaction whose end is not known."""
        self._aborts.inc()

    def fenced(self) -> None:
        """Count a fence by another writer."""
        self._fences.inc()

    def restore_point(self, oversized: Sequence[str]) -> None:
        """Count a restore point, and the snapshots that it lacks since they are too large."""
        self._restore_points.inc()
        self._oversized.inc(len(oversized))

    def restored(self) -> None:
        """Count a shard that was opened from a restore point, and is folded in full."""
        self._restores.inc()

    def damaged(self) -> None:
        """Count a damaged store."""
        self._damages.inc()

    def cached(self, hits: int, misses: int, hot_bytes: int) -> None:
        """Count what was found in memory."""
        self._hits.inc(hits)
        self._misses.inc(misses)
        self._metrics.hot_bytes.set(hot_bytes)

    def close(self) -> None:
        """Leave the gauges of a shard that is not here any more to `Metrics.sweep`, which knows whether it can be."""
        self._metrics.open.labels(*self._labels).set(0)
        self._metrics.left.add(self._labels)


class StandbyMetrics:
    """The metrics of one standby (the `StandbyTelemetry` port)."""

    def __init__(self, metrics: Metrics, kind: str, decisions: DecisionLog) -> None:
        """Look every labelled metric up once."""
        self._decisions = decisions
        self._void = metrics.void.labels(kind)
        self._foreign = metrics.foreign.labels(kind)
        self._damages = metrics.damages.labels(kind)

    def folded(self, counts: Mapping[str, int], position: int) -> None:
        """Count what does not count: whoever takes the store over does not meet it again."""
        if counts.get("void"):
            self._void.inc(counts["void"])
        if counts.get("foreign"):
            self._foreign.inc(counts["foreign"])
        self._decisions.folded(counts, position)

    def damaged(self) -> None:
        """Count a damaged store."""
        self._damages.inc()
