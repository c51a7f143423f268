"""Headers that are no part of a block and yet go with an event: its trace, and which deployments it came through.

They are carried from the command to the journal, and from there to subscribers, one of each and only if valid.
"""

from typing import Final

from annals.schemas.wire.trace_context import trace_context
from annals.schemas.wire.via import is_via
from annals.topics.headers import EVENT_VIA, TRACEPARENT, TRACESTATE, Header, ReadHeaders

CARRIED: Final = frozenset({TRACEPARENT, TRACESTATE, EVENT_VIA})


def carried_headers(headers: ReadHeaders) -> list[Header]:
    """Return the headers of an event's record that go on to subscribers."""
    found = [header for header in headers if header[0] in CARRIED]
    if not found:
        return []
    traceparent, tracestate = trace_context(found)
    via = dict(found).get(EVENT_VIA)
    values = {
        TRACEPARENT: traceparent,
        TRACESTATE: tracestate,
        EVENT_VIA: via if is_via(via) else None,
    }
    return [(name, value) for name, value in values.items() if value is not None]
