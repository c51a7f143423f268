"""For those who write aggregates: given/when/then, a worker in memory, and the laws that every decider is held to.

- `given`, `given_events` and `given_reaction`: an aggregate's decisions, a projection's rows, a reaction's commands;
- `MemoryAnnals`: commands through the command handler and shards of a worker, over Kafka's log in memory;
- `MemoryCluster`, `MemoryClock`, `MemoryCommandSource`, `MemoryReadingStore`, `MemoryStore`, `MemoryStores` and
  `MemoryTelemetry`: what it stands on, the ports of `annals.agents.ports` in memory;
- `histories`, `laws`, `laws_of`, `strategies` and `workbench`: these need hypothesis (the extra `testing`).

Names other than the first three are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals._lazy import getter
from annals.agents.testing.projections import given_events
from annals.agents.testing.reactions import given_reaction
from annals.agents.testing.specification import given

if TYPE_CHECKING:
    from annals.agents.testing import histories, laws, strategies, workbench
    from annals.agents.testing.projection_suite import projection_laws_of
    from annals.agents.testing.reaction_suite import reaction_laws_of
    from annals.agents.testing.suite import laws_of
    from annals.workers.memory.cluster import MemoryCluster
    from annals.workers.stores.memory import MemoryStore
    from annals.workers.stores.reading_memory import MemoryReadingStore
    from annals.workers.testing.clock import MemoryClock
    from annals.workers.testing.deployment import MemoryAnnals, ShardStoppedError
    from annals.workers.testing.source import MemoryCommandSource
    from annals.workers.testing.stores import MemoryStores
    from annals.workers.testing.telemetry import MemoryTelemetry

__all__ = [
    "MemoryAnnals",
    "MemoryClock",
    "MemoryCluster",
    "MemoryCommandSource",
    "MemoryReadingStore",
    "MemoryStore",
    "MemoryStores",
    "MemoryTelemetry",
    "ShardStoppedError",
    "given",
    "given_events",
    "given_reaction",
    "histories",
    "laws",
    "laws_of",
    "projection_laws_of",
    "reaction_laws_of",
    "strategies",
    "workbench",
]

_HOMES: Final = {
    "MemoryAnnals": "annals.workers.testing.deployment",
    "MemoryClock": "annals.workers.testing.clock",
    "MemoryCluster": "annals.workers.memory.cluster",
    "MemoryCommandSource": "annals.workers.testing.source",
    "MemoryReadingStore": "annals.workers.stores.reading_memory",
    "MemoryStore": "annals.workers.stores.memory",
    "MemoryStores": "annals.workers.testing.stores",
    "MemoryTelemetry": "annals.workers.testing.telemetry",
    "ShardStoppedError": "annals.workers.testing.deployment",
    "histories": "annals.agents.testing",
    "laws": "annals.agents.testing",
    "laws_of": "annals.agents.testing.suite",
    "projection_laws_of": "annals.agents.testing.projection_suite",
    "reaction_laws_of": "annals.agents.testing.reaction_suite",
    "strategies": "annals.agents.testing",
    "workbench": "annals.agents.testing",
}

__getattr__ = getter(__name__, _HOMES, globals())
