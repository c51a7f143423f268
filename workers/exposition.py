"""Metric families as plain data: those of a child process join the parent's in one text, each family once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import CollectorRegistry

ROLE: Final = "role"


class Family(msgspec.Struct, array_like=True):
    """A metric with its samples: name, labels and value of each."""

    name: str
    documentation: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


def families_of(registry: CollectorRegistry, role: str | None = None) -> list[Family]:
    """Return what a registry has now; role: the label that all samples get, None: none."""
    extra = {} if role is None else {ROLE: role}
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, {**sample.labels, **extra}, sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def as_text(*sources: Sequence[Family]) -> bytes:
    """Return families in Prometheus' text format; those of one name are one."""
    return generate_latest(_Collected(family for source in sources for family in source))


class _Collected:
    """Merged families, as a registry gives them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._metrics: dict[str, Metric] = {}
        for family in families:
            metric = self._metrics.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics.values()
