"""What publishers count (the `PublishTelemetry` port)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

SUBSCRIPTION: Final = ("subscription",)


class PublishMetrics:
    """The metrics of publishing of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.published = Counter(
            "annals_published_total", "events published to subscribers", SUBSCRIPTION, registry=registry
        )
        self.failures = Counter(
            "annals_filter_failures_total",
            "events on which an expression of a subscription failed, so that it did not match",
            SUBSCRIPTION,
            registry=registry,
        )
        self.lag = Gauge(
            "annals_publish_lag",
            "offsets of a journal partition that are not published to a subscription",
            (*SUBSCRIPTION, "kind", "partition"),
            registry=registry,
        )
        self.up = Gauge(
            "annals_publisher_up",
            "1 while the partition is published to subscribers",
            ("kind", "partition"),
            registry=registry,
        )
        self.uncertain = Counter(
            "annals_publish_uncertain_total", "times that a publisher began again", ("kind",), registry=registry
        )
        self.fences = Counter(
            "annals_publish_fenced_total",
            "times that another publisher took a partition over",
            ("kind",),
            registry=registry,
        )


class PartitionMetrics:
    """The metrics of one journal partition's publisher."""

    def __init__(self, metrics: PublishMetrics, kind: str, partition: int) -> None:
        """Take which partition it is."""
        self._metrics = metrics
        self._labels = (kind, str(partition))
        self._uncertain = metrics.uncertain.labels(kind)
        self._fences = metrics.fences.labels(kind)
        self._subscriptions: set[str] = set()

    def published(self, name: str, events: int) -> None:
        """Count events that were committed for a subscription."""
        self._metrics.published.labels(name).inc(events)

    def failed(self, name: str, expressions: int) -> None:
        """Count events on which an expression failed."""
        if expressions:
            self._metrics.failures.labels(name).inc(expressions)

    def lag(self, name: str, events: int) -> None:
        """Say how many offsets a subscription is behind."""
        self._subscriptions.add(name)
        self._metrics.lag.labels(name, *self._labels).set(events)

    def publishing(self, *, is_so: bool) -> None:
        """Say whether the partition is published."""
        self._metrics.up.labels(*self._labels).set(is_so)

    def uncertain(self) -> None:
        """Count a transaction whose end is not known."""
        self._uncertain.inc()

    def fenced(self) -> None:
        """Count a fence by another publisher."""
        self._fences.inc()

    def closed(self) -> None:
        """Forget the gauges of the partition: it may be somebody else's now."""
        with suppress(KeyError):  # it was never set
            self._metrics.up.remove(*self._labels)
        for name in self._subscriptions:
            self._metrics.lag.remove(name, *self._labels)
