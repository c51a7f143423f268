"""What is told of projections at `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge

from annals.agents.reading.projecting.rows import title_of, version_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from annals.agents.reading.ports import Key
    from annals.agents.reading.read_models.global_reader import GlobalReader
    from annals.agents.reading.read_models.read_models import FollowingShard

FAILED: Final = "failed on"


class ProjectionMetrics:
    """Metrics of projections, in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        labels = ("projection", "version", "kind", "partition")
        self._failed = Gauge(
            "annals_projection_failed",
            "1 for a projection that stopped at an event that it cannot fold, and serves what it has",
            labels,
            registry=registry,
        )
        self._invalid = Counter(
            "annals_projection_records_invalid_total",
            "records of the topic of projections that were passed over",
            registry=registry,
        )
        self._counted = 0

    def note(self, shards: Sequence[FollowingShard], global_reader: GlobalReader | None, invalid: int) -> None:
        """Take where all stand."""
        self._failed.clear()
        for shard in shards:
            self._note_one((shard.kind, shard.partition), shard.status().stale)
        for where, stale in () if global_reader is None else global_reader.stale().items():
            self._note_one(where, stale)
        self._invalid.inc(invalid - self._counted)
        self._counted = invalid

    def _note_one(self, where: Key, stale: Mapping[str, str]) -> None:
        for follower, reason in stale.items():
            known = version_in(follower)
            if known is not None and reason.startswith(f"{title_of(follower)} {FAILED} "):
                self._failed.labels(*known, *where).set(1)
