"""W3C trace context in Kafka headers: what is valid is carried on, one of each; what is not is left behind.

Source: https://www.w3.org/TR/trace-context/ (3.2 traceparent, 3.3 tracestate).
"""

import re
from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[str, bytes | None]]

MOST_MEMBERS: Final = 32

_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# Version 00 ends there, a later one may go on after a dash, ff is none.
_TRACEPARENT: Final = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[\x21-\x7e]*)?")
_KEY: Final = rb"[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE: Final = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(rb"(" + _KEY + rb")=(?:" + _VALUE + rb")")


def trace_context(headers: Headers) -> tuple[bytes | None, bytes | None]:
    """Return the last valid `traceparent` and, if there is one, the last valid `tracestate` of a record's headers."""
    traceparent = tracestate = None
    for name, value in headers:
        if name == "traceparent":
            if value is not None and _TRACEPARENT.fullmatch(value):
                traceparent = value
        elif name == "tracestate" and value is not None and is_tracestate(value):
            tracestate = value
    # Without its traceparent a tracestate says nothing (3.3: it must then not even be parsed).
    return traceparent, tracestate if traceparent is not None else None


def is_tracestate(value: bytes) -> bool:
    """Whether the bytes are a list of 1 to 32 members `key=value` with distinct keys; empty members are passed over."""
    members = [member for part in value.split(b",") if (member := part.strip(b" \t"))]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    return 1 <= len(members) <= MOST_MEMBERS and len(keys) == len(members)
