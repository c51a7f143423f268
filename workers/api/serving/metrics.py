"""What the API tells about itself, in the registry of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LATENCIES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ApiMetrics:
    """Requests by route: a route is its path as it is declared, so that ids make no series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them in a registry."""
        self.requests = Counter(
            "annals_api_requests_total",
            "requests that the API answered",
            ("route", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "annals_api_seconds",
            "time until the API has answered a request, or begun to stream the answer",
            ("route",),
            buckets=LATENCIES_S,
            registry=registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. Its series are looked up here: by their labels that takes longer than to count."""
        series = route, method, status
        counter = self._counters.get(series)
        if counter is None:
            counter = self._counters[series] = self.requests.labels(route, method, str(status))
        timer = self._timers.get(route)
        if timer is None:
            timer = self._timers[route] = self.seconds.labels(route)
        counter.inc()
        timer.observe(seconds)
