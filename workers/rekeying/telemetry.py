"""What is told of re-keyed projections at `/metrics`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PROJECTION: Final = ("projection",)
PARTITION: Final = (*PROJECTION, "kind", "partition")
STREAM: Final = (*PROJECTION, "partition")


class RekeyingProjectionMetrics:
    """The metrics of all re-keyed projections of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.copied = Counter(
            "annals_projection_rekeyed_total",
            "events that were copied to the stream of a projection that is re-keyed",
            PROJECTION,
            registry=registry,
        )
        self.up = Gauge(
            "annals_projection_rekeying_up",
            "1 while the events of a journal partition are copied to a projection's stream, 0 while they cannot be",
            PARTITION,
            registry=registry,
        )
        self.lag = Gauge(
            "annals_projection_rekeying_lag",
            "offsets of a journal partition that are not copied to a projection's stream",
            PARTITION,
            registry=registry,
        )
        self.stream_lag = Gauge(
            "annals_projection_stream_lag",
            "offsets of a partition of a projection's stream that are not folded",
            STREAM,
            registry=registry,
        )


class CopierMetrics:
    """Those of what copies one journal partition to a stream (the `ReactionTelemetry` port)."""

    def __init__(self, metrics: RekeyingProjectionMetrics, projection: str, kind: str, partition: int) -> None:
        """Take which projection and partition it is."""
        self._copied = metrics.copied.labels(projection)
        self._metrics = metrics
        self._labels = (projection, kind, str(partition))

    def reacted(self, commands: int, fired: int) -> None:
        """Count the events that were copied."""
        del fired
        self._copied.inc(commands)

    def come_round(self, events: int) -> None:
        """Count nothing: they are this deployment's own events."""

    def standing(self, lag: int, timers: int) -> None:
        """Say how many offsets it is behind."""
        del timers
        self._metrics.lag.labels(*self._labels).set(lag)

    def running(self, *, is_so: bool | None) -> None:
        """Say whether it copies; None: it is not to."""
        if is_so is None:
            self.closed()
        else:
            self._metrics.up.labels(*self._labels).set(is_so)

    def closed(self) -> None:
        """Forget the gauges of the partition: it may be somebody else's now."""
        for gauge in (self._metrics.lag, self._metrics.up):
            with suppress(KeyError):  # it was never set
                gauge.remove(*self._labels)


class StreamMetrics:
    """Those of the shard of one partition of a stream (the `StreamTelemetry` port)."""

    def __init__(self, metrics: RekeyingProjectionMetrics, projection: str, partition: int) -> None:
        """Take which projection and partition it is."""
        self._lag = metrics.stream_lag
        self._labels = (projection, str(partition))

    def standing(self, lag: int) -> None:
        """Say how many offsets the rows are behind."""
        self._lag.labels(*self._labels).set(lag)

    def closed(self) -> None:
        """Forget what was said of the partition: it may be somebody else's now."""
        with suppress(KeyError):  # it was never set
            self._lag.remove(*self._labels)
