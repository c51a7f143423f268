"""Outcomes: value and headers, for every way in which a command can end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.schemas import outcome
from annals.topics.headers import origin_of, outcome_headers
from annals.topics.wire import encode_headers, encoded_outcome_headers

if TYPE_CHECKING:
    from annals.agents.ports import CommandEvents
    from annals.agents.writing.batches.decision_plan import PlannedCommand


def value_of_outcome(planned: PlannedCommand, kind: str) -> tuple[str, bytes]:
    """Return status and value of a command's outcome: a duplicate, rejected, or accepted with as many events as it has.

    Nearly all are accepted with one event: for those `accepted_once` is faster.
    """
    command, aggregate, first = planned.command, planned.aggregate, planned.earlier_events
    named = command.id, kind, command.aggregate_id
    if first is not None:
        listed = _listed(first if isinstance(first, tuple) else first.sealed_events)
        version, _, head = listed[-1]
        return outcome.DUPLICATE, outcome.duplicate(*named, version, head, listed)
    if planned.rejection is not None:
        return outcome.REJECTED, outcome.rejected(*named, aggregate.version, aggregate.head, *planned.rejection)
    if not planned.events:
        return outcome.ACCEPTED, outcome.accepted(*named, aggregate.version, aggregate.head, [])
    listed = _listed(planned.sealed_events)
    version, _, head = listed[-1]
    return outcome.ACCEPTED, outcome.accepted(*named, version, head, listed)


def accepted_once(planned: PlannedCommand, kind: bytes) -> bytes:
    """Return the value of the outcome of a command that caused one event; kind in UTF-8."""
    version, ((_, name),) = planned.sealed_events
    command = planned.command
    return outcome.accepted_event(command.id, kind, command.aggregate_id, version, name.encode(), planned.head)


def headers_of_outcome(planned: PlannedCommand, journal_end: int) -> bytes:
    """Return the headers of a command's outcome; journal_end: where the journal will end with the events so far."""
    command, record = planned.command, planned.record
    origin = origin_of(record.headers) if record.headers else None
    if origin is None and command.traceparent is None and command.tracestate is None:
        return encoded_outcome_headers(planned.command_id, record.offset, journal_end)
    return encode_headers(
        outcome_headers(command.id, record.offset, journal_end, origin, command.traceparent, command.tracestate)
    )


def _listed(events: CommandEvents) -> list[tuple[int, str, bytes]]:
    first_version, each = events
    return [(version, name, cid) for version, (cid, name) in enumerate(each, first_version)]
