"""How much each part measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PARTS: Final = (
    "drain",
    "backlog",
    "latency",
    "takeover",
    "standby",
    "fold",
    "restore",
    "verify",
    "append",
    "memory",
    "sizes",
    "scaling",
    "pause",
    "subscribe",
    "deliver",
    "domain",
    "size",
    "read",
)
"""The names of the measurements, in the order of RESULTS.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of one run of the benchmarks. The defaults are those of RESULTS.md."""

    runs: int = 3
    drain_commands: int = 200_000
    drain_aggregates: int = 2_000
    faust_events: int = 60_000
    """Stock Faust counts this many of them: at its rate, all would take a minute, to the same figure."""
    backlog_commands: int = 1_000_000
    rates: tuple[int, ...] = (100, 1_000)
    latency_s: float = 20.0
    warm_up_s: float = 10.0
    broker_warm_up_s: float = 90.0
    """For the latencies: until Java has compiled what the broker does; from there on they stay as they are."""
    pause_rate: int = 200
    chain_events: int = 100_000
    append_commands: int = 20_000
    restore_aggregates: int = 10_000
    store_aggregates: int = 1_000_000
    size_commands: int = 50_000
    codecs: tuple[str, ...] = ("none", "lz4", "zstd")
    scaling_commands: int = 200_000
    workers: tuple[int, ...] = (1, 2, 4)
    subscriber_events: int = 100_000
    """In each journal that is published from its beginning: each takes a worker to decide it first."""
    subscriber_topics: int = 10
    idle_subscriptions: int = 100
    unsettled_rows: int = 100_000
    delivered_events: int = 20_000
    """Of as many an acknowledged subscription and a webhook are measured, each."""
    domain_rounds: int = 2_000
    seen_commands: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    """What a partition has seen, by which the cost of one more is measured."""
    seen_aggregates: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    seen_sample: int = 2_000
    seen_rounds: int = 7
    read_events: int = 1_000_000
    """In the partition that is asked by type and time."""
    read_chain: int = 1_000
    read_members: int = 2_000
    """As many as an organization may have: the largest state."""
    read_fold_events: int = 200_000
    read_samples: int = 1_000
    read_rows: int = 100_000
    read_served_s: float = 10.0


FULL: Final = Plan()
QUICK: Final = Plan(
    runs=1,
    drain_commands=2_000,
    drain_aggregates=50,
    faust_events=500,
    backlog_commands=4_000,
    rates=(100,),
    latency_s=1.5,
    warm_up_s=0.5,
    broker_warm_up_s=0.5,
    chain_events=1_000,
    append_commands=500,
    restore_aggregates=50,
    store_aggregates=2_000,
    size_commands=1_000,
    codecs=("none", "zstd"),
    scaling_commands=1_000,
    workers=(1, 2),
    subscriber_events=2_000,
    subscriber_topics=2,
    idle_subscriptions=2,
    unsettled_rows=2_500,
    delivered_events=500,
    domain_rounds=5,
    seen_commands=(500, 2_000),
    seen_aggregates=(500, 2_000),
    seen_sample=100,
    seen_rounds=2,
    read_events=3_000,
    read_chain=50,
    read_members=50,
    read_fold_events=700,
    read_samples=20,
    read_rows=500,
    read_served_s=1.0,
)
"""Enough to run through every line of the benchmarks in seconds; its figures say nothing."""
