"""Headers that are no part of a block and yet go with an event: its trace, and which deployments it came through.

They are carried from the command to the journal, and from there to subscribers, one of each and only if valid.
"""

import re
from typing import Final

from annals.schemas.wire.trace_context import trace_context
from annals.topics.headers import TRACEPARENT, TRACESTATE, Header, ReadHeaders

ANNALS_VIA: Final = "ce_annalsvia"
CARRIED: Final = frozenset({TRACEPARENT, TRACESTATE, ANNALS_VIA})
_VIA: Final = re.compile(rb"[a-z0-9-]{1,64}(?:,[a-z0-9-]{1,64}){0,7}")


def carried_headers(headers: ReadHeaders) -> list[Header]:
    """Return the headers of an event's record that go on to subscribers."""
    found = [header for header in headers if header[0] in CARRIED]
    if not found:
        return []
    traceparent, tracestate = trace_context(found)
    via = dict(found).get(ANNALS_VIA)
    values = {
        TRACEPARENT: traceparent,
        TRACESTATE: tracestate,
        ANNALS_VIA: via if via is not None and _VIA.fullmatch(via) else None,
    }
    return [(name, value) for name, value in values.items() if value is not None]
