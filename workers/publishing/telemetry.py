"""What publishers count (the `PublishTelemetry` port)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from annals.workers.webhooks.telemetry import WebhookMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    from annals.agents.publishing.delivering.machine import Numbers

SUBSCRIPTION: Final = ("subscription",)
STATES: Final = ("in_flight", "parked", "waiting")


class PublishMetrics:
    """The metrics of publishing of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.webhooks = WebhookMetrics(registry)
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
        self.answers = Counter(
            "annals_delivery_answers_total",
            "answers of subscribers, by what became of them: taken, other_attempt, not_outstanding, bad",
            (*SUBSCRIPTION, "result"),
            registry=registry,
        )
        self.redelivered = Counter(
            "annals_redelivered_total",
            "deliveries that were not the first of their event",
            SUBSCRIPTION,
            registry=registry,
        )
        self.parked = Counter(
            "annals_parked_total", "events that were parked after their last attempt", SUBSCRIPTION, registry=registry
        )
        self.unsettled = Gauge(
            "annals_unsettled",
            "events delivered to a subscriber that are not settled, by state: in_flight, parked, waiting",
            (*SUBSCRIPTION, "kind", "partition", "state"),
            registry=registry,
        )
        self.parked_oldest = Gauge(
            "annals_parked_oldest_timestamp_seconds",
            "when the oldest event that is parked was parked, in seconds since 1970; 0: nothing is parked",
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
        self._delivered: set[str] = set()

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

    def answers(self, name: str, results: Mapping[str, int]) -> None:
        """Count answers by what became of them."""
        for result, number in results.items():
            self._metrics.answers.labels(name, result).inc(number)

    def redelivered(self, name: str, deliveries: int) -> None:
        """Count deliveries that were not the first of their event."""
        if deliveries:
            self._metrics.redelivered.labels(name).inc(deliveries)

    def parked(self, name: str, events: int) -> None:
        """Count events that were parked; none at first, so that the first of them is an increase."""
        self._metrics.parked.labels(name).inc(events)

    def unsettled(self, name: str, numbers: Numbers) -> None:
        """Say how many rows there are."""
        self._delivered.add(name)
        waiting = numbers.unsettled - numbers.in_flight - numbers.parked
        for state, number in zip(STATES, (numbers.in_flight, numbers.parked, waiting), strict=True):
            self._metrics.unsettled.labels(name, *self._labels, state).set(number)

    def parked_since(self, name: str, milliseconds: int | None) -> None:
        """Say since when the oldest is parked."""
        self._delivered.add(name)
        self._metrics.parked_oldest.labels(name, *self._labels).set((milliseconds or 0) / 1000)

    def publishing(self, *, is_so: bool) -> None:
        """Say whether the partition is published."""
        self._metrics.up.labels(*self._labels).set(is_so)

    def uncertain(self) -> None:
        """Count a transaction whose end is not known."""
        self._uncertain.inc()

    def defect(self, error: Exception) -> None:
        """Count a transaction that may not have come about; the log says what was met."""
        del error
        self._uncertain.inc()

    def fenced(self) -> None:
        """Count a fence by another publisher."""
        self._fences.inc()

    def deleted(self, name: str) -> None:
        """Forget the gauges of a subscription: at what they were, they would raise alarms for ever."""
        if name in self._subscriptions:
            self._metrics.lag.remove(name, *self._labels)
        if name in self._delivered:
            with suppress(KeyError):  # it was never set
                self._metrics.parked_oldest.remove(name, *self._labels)
            for state in STATES:
                with suppress(KeyError):
                    self._metrics.unsettled.remove(name, *self._labels, state)
        self._subscriptions.discard(name)
        self._delivered.discard(name)

    def closed(self) -> None:
        """Forget the gauges of the partition: it may be somebody else's now."""
        with suppress(KeyError):  # it was never set
            self._metrics.up.remove(*self._labels)
        for name in self._subscriptions | self._delivered:
            self.deleted(name)
