"""From a decided command to what is written of it: its sealed events as records, and the snapshot that is due.

All of it is made before anything is taken into a batch: what raises here has no effect.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from annals.agents.ports import Aggregate
from annals.agents.writing.batches.evaluation import full, oversize
from annals.schemas.chain import seal
from annals.schemas.cid import cid_text
from annals.schemas.snapshot import Snapshot, encode_snapshot
from annals.schemas.values.moments import unix_ms
from annals.topics.wire import encoded_event_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.ports import Record
    from annals.agents.writing.batches.decision_plan import PlannedCommand, Setting

    Moment = tuple[str, bytes, int]  # as `recorded_at`, the same in UTF-8, and in milliseconds

RECORD_BYTES: Final = 100  # a record batch of one record, beside its key, value and headers: an upper bound


def sealed_events(setting: Setting, now: Moment, planned: PlannedCommand) -> Sequence[Record]:
    """Return the events of a command, each sealed on the head before it; none: they do not fit, and it is rejected."""
    decider, _, _, limits, _ = setting
    kind, versions, event_data = decider.kind, decider.versions, decider.event_data
    command, key, aggregate, command_id = planned.command, planned.key, planned.aggregate, planned.command_id
    version, head = aggregate.version, aggregate.head
    moment, time, ms = now
    if aggregate.recorded_at > moment:  # the clock may step back, a chain's times never do
        moment, time, ms = moment_of(aggregate.recorded_at)
    aggregate_id, correlation_id, causation_id, actor = (
        command.aggregate_id,
        command.correlation_id,
        command.causation_id,
        command.actor,
    )
    correlation = command_id if correlation_id == command.id else correlation_id.encode()
    records: list[Record] = []
    sealed_events: list[tuple[bytes, str]] = []
    needed = RECORD_BYTES
    for event in planned.events:
        version += 1
        type_ = type(event)
        name, schema_version = type_.__name__, versions[type_]
        block, head = seal(
            kind=kind,
            aggregate_id=aggregate_id,
            version=version,
            previous=head,
            type=name,
            schema_version=schema_version,
            recorded_at=moment,
            command_id=command.id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            actor=actor,
            data=event_data(event),
        )
        text = cid_text(head).encode()
        headers = encoded_event_headers(
            kind=kind,
            key=key,
            version=version,
            type_name=name,
            schema_version=schema_version,
            recorded_at=time,
            cid=text,
            command_id=command_id,
            correlation_id=correlation,
            causation_id=causation_id,
            actor=actor,
            traceparent=command.traceparent,
            tracestate=command.tracestate,
            via=command.via,
        )
        records.append((key, block, ms, headers))
        sealed_events.append((head, name))
        needed += len(key) + len(block) + len(headers) + RECORD_BYTES
    if needed > limits.event_batch_bytes:
        planned.rejection = oversize(needed, limits.event_batch_bytes)
        return ()
    if 0 < limits.events_per_aggregate < version:
        planned.rejection = full(version, limits.events_per_aggregate)
        return ()
    planned.after = Aggregate(version, head, moment, planned.state)
    planned.sealed_events, planned.head = (aggregate.version + 1, sealed_events), text
    return records


def due_snapshot(setting: Setting, planned: PlannedCommand, offset: int) -> bytes | None:
    """Return a snapshot of where a command leads, None where none is due."""
    decider, _, _, limits, _ = setting
    every, after = limits.snapshot_every, planned.after
    if not every or planned.aggregate.version // every == after.version // every:
        return None
    snapshot = Snapshot(
        decider.kind,
        planned.command.aggregate_id,
        after.version,
        after.head or b"",
        decider.state_version,
        decider.encode_state(after.state),
        after.recorded_at,
        offset,
    )
    return encode_snapshot(snapshot)


def moment_of(text: str) -> Moment:
    """Return a time as a block has it, in the three forms that an event's record needs."""
    return text, text.encode(), unix_ms(datetime.fromisoformat(text))
