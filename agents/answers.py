"""What a command is told: the outcome's value and headers, for every way in which a command can end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas import outcome
from topics.headers import origin_of, outcome_headers
from topics.wire import encode_headers, encoded_outcome_headers

if TYPE_CHECKING:
    from agents.chunk import Ask
    from agents.ports import CommandEvents


def told(ask: Ask, kind: str) -> tuple[str, bytes]:
    """Return status and value of a command's outcome: a duplicate, rejected, or accepted with as many events as it has.

    Nearly all are accepted with one event: `accepted_once` says that for less.
    """
    command, before, first = ask.command, ask.before, ask.told
    named = command.id, kind, command.aggregate_id
    if first is not None:
        listed = _listed(first if isinstance(first, tuple) else first.caused)
        version, _, head = listed[-1]
        return outcome.DUPLICATE, outcome.duplicate(*named, version, head, listed)
    if ask.rejection is not None:
        return outcome.REJECTED, outcome.rejected(*named, before.version, before.head, *ask.rejection)
    if not ask.events:
        return outcome.ACCEPTED, outcome.accepted(*named, before.version, before.head, [])
    listed = _listed(ask.caused)
    version, _, head = listed[-1]
    return outcome.ACCEPTED, outcome.accepted(*named, version, head, listed)


def accepted_once(ask: Ask, kind: bytes) -> bytes:
    """Return the value of the outcome of a command that caused one event; kind in UTF-8."""
    version, ((_, name),) = ask.caused
    command = ask.command
    return outcome.accepted_event(command.id, kind, command.aggregate_id, version, name.encode(), ask.head)


def told_headers(ask: Ask, journal_end: int) -> bytes:
    """Return the headers of a command's outcome; journal_end: where the journal will end with the events so far."""
    command, record = ask.command, ask.record
    origin = origin_of(record.headers) if record.headers else None
    if origin is None and command.traceparent is None and command.tracestate is None:
        return encoded_outcome_headers(ask.command_id, record.offset, journal_end)
    return encode_headers(
        outcome_headers(command.id, record.offset, journal_end, origin, command.traceparent, command.tracestate)
    )


def _listed(events: CommandEvents) -> list[tuple[int, str, bytes]]:
    first_version, each = events
    return [(version, name, cid) for version, (cid, name) in enumerate(each, first_version)]
