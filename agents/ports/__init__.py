"""The ports of the shells: what they ask of the outside, in a few verbs each.

`workers` implements them on Kafka, RocksDB and the clock; the in-memory ones (`annals.workers.testing`, `memory` and
`stores`) pass the same suites, in tests/conformance. Split by who needs them:

- `reader`: whoever folds a journal; `recovery`: whoever finds out what is decided already; `writer`: the shard;
- `commands`: where commands come from; `store`: the fold on disk; `telemetry`, `clock`;
- `errors`: what goes wrong, and what the shard does about it.
"""

from annals.agents.ports.clock import (
    Clock,
)
from annals.agents.ports.commands import CommandRecord, CommandSource, Delivery, Headers
from annals.agents.ports.errors import (
    DamagedBatchError,
    FencedError,
    JournalError,
    LostEndError,
    NotPermittedError,
    OutlastedError,
    RefusedSizeError,
    StaleStateError,
    StoppedError,
    StoreDamagedError,
    StoreError,
    StoreUnavailableError,
    UncertainError,
    UncertainNotPermittedError,
    UnreachableError,
    UnreachableNotPermittedError,
)
from annals.agents.ports.reader import (
    Ends,
    JournalRecord,
    LogReader,
    LogState,
)
from annals.agents.ports.recovery import (
    CopyRecord,
    DeadLetterRecord,
    KeyAndValue,
    LogRecovery,
    OutcomeRecord,
    StandbyLog,
)
from annals.agents.ports.store import (
    LENGTH,
    VOID_BYTES,
    VOIDS_BYTES,
    Aggregate,
    Changes,
    CommandEvents,
    Position,
    ShardStore,
    Stored,
    StoreFactory,
    command_key,
)
from annals.agents.ports.telemetry import (
    ShardTelemetry,
    StandbyTelemetry,
)
from annals.agents.ports.writer import (
    LogWriter,
    Record,
    ShardLog,
    Writes,
)

__all__ = [
    "LENGTH",
    "VOIDS_BYTES",
    "VOID_BYTES",
    "Aggregate",
    "Changes",
    "Clock",
    "CommandEvents",
    "CommandRecord",
    "CommandSource",
    "CopyRecord",
    "DamagedBatchError",
    "DeadLetterRecord",
    "Delivery",
    "Ends",
    "FencedError",
    "Headers",
    "JournalError",
    "JournalRecord",
    "KeyAndValue",
    "LogReader",
    "LogRecovery",
    "LogState",
    "LogWriter",
    "LostEndError",
    "NotPermittedError",
    "OutcomeRecord",
    "OutlastedError",
    "Position",
    "Record",
    "RefusedSizeError",
    "ShardLog",
    "ShardStore",
    "ShardTelemetry",
    "StaleStateError",
    "StandbyLog",
    "StandbyTelemetry",
    "StoppedError",
    "StoreDamagedError",
    "StoreError",
    "StoreFactory",
    "StoreUnavailableError",
    "Stored",
    "UncertainError",
    "UncertainNotPermittedError",
    "UnreachableError",
    "UnreachableNotPermittedError",
    "Writes",
    "command_key",
]
