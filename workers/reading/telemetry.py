"""What a reading process tells about itself: metrics under constant names, which get the label `role` where served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from annals.agents.reading.found import READING
from annals.workers.kafka.read.invalid_records import InvalidRecords

if TYPE_CHECKING:
    from collections.abc import Collection

    from annals.agents.reading.following.shard import Shard

SHARD: Final = ("kind", "partition")


class ReadingMetrics:
    """The metrics of reading itself, and the registry that those of publishing, reactions and the API join."""

    def __init__(self) -> None:
        """Declare them."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def gauge(name: str, help_: str, labels: Collection[str] = SHARD) -> Gauge:
            return Gauge(name, help_, labels, registry=registry)

        self.open = gauge("annals_reading_shard_open", "1 while a reading shard follows its journal")
        self.position = gauge("annals_reading_offset", "journal offset below which a reading shard has read everything")
        self.end = gauge("annals_reading_end_offset", "journal offset at which the journal ended when last asked")
        self.lag = gauge("annals_reading_lag_seconds", "age of the oldest event that a reading shard has not read")
        self.failed = gauge(
            "annals_reading_failed_followers", "states and projections that stand at an event on which they failed"
        )
        self.store_bytes = gauge("annals_reading_store_bytes", "bytes of a reading shard's files")
        self.standby_open = gauge(
            "annals_read_standby_open", "1 while a standby of another worker's partition follows its journal"
        )
        self.standby_lag = gauge(
            "annals_read_standby_lag", "journal offsets that a standby of another worker's partition has not read"
        )
        self.blocked = gauge(
            "annals_reading_blocked_seconds",
            "seconds for which a transaction has held up a partition that is read; none where it is for less than 30",
            ("topic", "partition"),
        )
        self.breaks = Counter(
            "annals_reading_chain_breaks_total",
            "times that what a reading store has was not what the journal had",
            ("kind",),
            registry=registry,
        )
        self.oversized = Counter(
            "annals_reading_snapshots_too_large_total",
            "snapshots of reading stores that were due, and left out since they are too large",
            ("kind",),
            registry=registry,
        )
        self.damages = Counter(
            "annals_reading_stores_damaged_total",
            "reading stores that were damaged, set aside and are built anew",
            ("kind",),
            registry=registry,
        )
        self.head_starts = Counter(
            "annals_reading_head_starts_total",
            "times that a partition was published from a restore point, before its journal was read",
            ("kind",),
            registry=registry,
        )
        self.head_start_differences = Counter(
            "annals_reading_head_start_differences_total",
            "times that the journal had other events than a restore point led to",
            ("kind",),
            registry=registry,
        )
        self.jobs_running = gauge("annals_jobs_running", "jobs that this process runs", ())
        self.job_records_invalid = Counter(
            "annals_job_records_invalid_total",
            "records of the topic of jobs that were passed over",
            registry=registry,
        )
        self.invalid_records = InvalidRecords(registry)
        self.ready = gauge("annals_ready", "1 while /health/ready answers 200", ())
        self.broker_up = gauge("annals_broker_up", "1 while the brokers answer", ())
        self.group_member = gauge("annals_group_member", "1 while the worker is a member of its consumer group", ())

    def measure(self, shard: Shard) -> None:
        """Set the gauges of a shard."""
        status = shard.status()
        labels = shard.kind, str(shard.partition)
        self.open.labels(*labels).set(status.phase == READING)
        self.position.labels(*labels).set(status.offset)
        self.end.labels(*labels).set(status.end)
        self.lag.labels(*labels).set(status.lag_s)
        self.failed.labels(*labels).set(shard.failed_followers)
        self.store_bytes.labels(*labels).set(shard.store_bytes)

    def measure_standby(self, shard: Shard) -> None:
        """Set the gauges of a standby."""
        status = shard.status()
        labels = shard.kind, str(shard.partition)
        self.standby_open.labels(*labels).set(status.phase == READING)
        self.standby_lag.labels(*labels).set(status.end - status.offset)

    def forget(self, kind: str, partition: int) -> None:
        """Remove the gauges of a shard that is somebody else's now."""
        gauges = (self.open, self.position, self.end, self.lag, self.failed, self.store_bytes)
        self._remove(gauges, kind, partition)

    def forget_standby(self, kind: str, partition: int) -> None:
        """Remove the gauges of a standby that is none any more."""
        self._remove((self.standby_open, self.standby_lag), kind, partition)

    def _remove(self, gauges: Collection[Gauge], kind: str, partition: int) -> None:
        for each in gauges:
            try:
                each.remove(kind, str(partition))
            except KeyError:  # it was never set
                continue


class ReadingShardMetrics:
    """What befalls one reading shard (the `ReadingTelemetry` port)."""

    def __init__(self, metrics: ReadingMetrics, kind: str) -> None:
        """Look every labelled metric up once: a series that begins with its first count has no increase yet."""
        self._breaks = metrics.breaks.labels(kind)
        self._damages = metrics.damages.labels(kind)
        self._oversized = metrics.oversized.labels(kind)

    def damaged(self) -> None:
        """Count a damaged store."""
        self._damages.inc()

    def snapshot_left_out(self) -> None:
        """Count a snapshot that is too large."""
        self._oversized.inc()

    def chain_broken(self) -> None:
        """Count a broken chain."""
        self._breaks.inc()


class HeadStartMetrics:
    """What is counted of head starts (the `HeadStartTelemetry` port)."""

    def __init__(self, metrics: ReadingMetrics, kind: str) -> None:
        """Look every labelled metric up once."""
        self._begun = metrics.head_starts.labels(kind)
        self._differed = metrics.head_start_differences.labels(kind)

    def begun(self) -> None:
        """Count one that answers."""
        self._begun.inc()

    def differed(self) -> None:
        """Count one that did not have the same events as the journal."""
        self._differed.inc()
