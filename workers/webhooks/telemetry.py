"""What webhooks count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class WebhookMetrics:
    """The metrics of webhooks of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.posts = Counter(
            "annals_webhook_posts_total",
            "requests to webhooks, by what came of them: ack, http_<status>, or why there was no answer",
            ("subscription", "result"),
            registry=registry,
        )
        self.seconds = Histogram(
            "annals_webhook_seconds",
            "from the beginning of a request to a webhook to the end of its answer",
            ("subscription",),
            registry=registry,
        )
        self.circuits = Gauge(
            "annals_webhook_circuit_open",
            "1 while a webhook's endpoint is left alone after failures in a row",
            ("subscription",),
            registry=registry,
        )

    def posted(self, name: str, result: str, seconds: float) -> None:
        """Count a request."""
        self.posts.labels(name, result).inc()
        self.seconds.labels(name).observe(seconds)

    def circuit(self, name: str, *, is_open: bool) -> None:
        """Say whether the circuit is open."""
        self.circuits.labels(name).set(is_open)
