"""What webhooks count."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry


class WebhookMetrics:
    """The metrics of webhooks of a process; declared once, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self._posting: Tally[str] = Tally()  # how many post for a subscription: each partition has one who does
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

    def began(self, name: str, is_open: Callable[[], bool]) -> None:
        """Have the circuit told of from now on, as it is when it is asked for."""
        self._posting[name] += 1
        self.circuits.labels(name).set_function(is_open)

    def ended(self, name: str) -> None:
        """Tell of the circuit no longer where this was the last who posts: nobody would hear that it closes."""
        self._posting[name] -= 1
        if not self._posting[name]:
            del self._posting[name]
            self.circuits.remove(name)
