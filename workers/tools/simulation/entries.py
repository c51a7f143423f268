"""What faults ask of a partition's log: where it can be cut, up to where it expires, what was in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.workers.memory.partition import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.workers.memory.partition import Entry, PartitionLog

NO_BLOCK: Final = b"no block "


def older_than(until_ms: int, log: PartitionLog) -> int:
    """Return the end of what is older, with the markers behind it."""
    before = log.start
    for entry in log.entries:
        if not entry.is_marker and entry.timestamp >= until_ms:
            break
        before = entry.end
    return before


def whole_ends(entries: Sequence[Entry]) -> list[int]:
    """Return the ends of markers behind which no transaction is open that has ended since."""
    begun: dict[int, int] = {}  # of each producer, the first batch that its next marker is for
    spans = []
    for entry in entries:
        if entry.is_marker:
            spans.append((begun.pop(entry.producer_id, entry.base), entry.end))
        elif entry.producer_id >= 0:
            begun.setdefault(entry.producer_id, entry.base)
    ends = [end for _, end in spans]
    return [at for at in ends if not any(first < at < end for first, end in spans)]


def is_open(entry: Entry) -> bool:
    """Whether a batch is of a transaction that has not ended."""
    return not entry.is_marker and entry.status is Status.OPEN


def has_events(entry: Entry) -> bool:
    """Whether a batch of a journal has events: a record that is none is missed by nobody."""
    is_committed = not entry.is_marker and entry.status is Status.COMMITTED
    return is_committed and not all((record.value or b"").startswith(NO_BLOCK) for record in entry.records())
