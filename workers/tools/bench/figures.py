"""Figures with their spread, and the statistics that they need."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Figure(msgspec.Struct, kw_only=True):
    """One thing that was measured, once per run.

    Attributes:
        name: what it is, as a reader says it.
        unit: of the values; empty for a ratio.
        values: one per run, in the order of the runs.
        most: the target is at most this; least: at least this. The median is held to it.
    """

    name: str
    unit: str
    values: list[float]
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the target; None where there is none."""
        if self.most is not None:
            return self.median <= self.most
        if self.least is not None:
            return self.median >= self.least
        return None

    def as_json(self) -> dict[str, Any]:
        """The figure with its spread."""
        spread = {"min": min(self.values), "median": self.median, "max": max(self.values)}
        return {**msgspec.to_builtins(self), **spread, "met": self.is_met}


class Part(msgspec.Struct, kw_only=True):
    """What one measurement found.

    Attributes:
        name: of the part, as `annals bench` takes it.
        method: how it was measured, for those who want to doubt it.
        notes: what else was seen.
        measured: when, and how busy the machine was before.
    """

    name: str
    title: str
    method: str
    figures: list[Figure]
    notes: list[str] = []
    measured: str = ""

    def as_json(self) -> dict[str, Any]:
        """The part with the spread of each figure."""
        return {
            "name": self.name,
            "title": self.title,
            "method": self.method,
            "figures": [figure.as_json() for figure in self.figures],
            "notes": self.notes,
            "measured": self.measured,
        }


class Runs:
    """The values of all runs, by figure."""

    def __init__(self) -> None:
        """Begin without any."""
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, **values: float) -> None:
        """Add what one run found."""
        for name, value in values.items():
            self.values[name].append(value)


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no quantile")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def bucket_quantile(buckets: Sequence[tuple[float, float]], fraction: float) -> float:
    """Return a quantile of a histogram as Prometheus' `histogram_quantile` does: linear within its bucket.

    buckets: upper bound and cumulative count, the last bound infinite. Above the last finite bound it is that bound.

    Raises:
        ValueError: nothing was counted.
    """
    total = buckets[-1][1] if buckets else 0
    if not total:
        raise ValueError("an empty histogram has no quantile")
    rank, low, below = fraction * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        if not math.isinf(bound):
            low, below = bound, count
    return low
