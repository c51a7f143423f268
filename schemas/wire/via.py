"""Which deployments an event came through: the header `annals-via` of a command, `ce_annalsvia` of its events.

Ids of deployments, the oldest first, with commas between them. It is no part of a block, and carried as a trace is:
what is not valid is left behind.
"""

import re
from typing import Final

from annals.schemas.wire.trace_context import Headers

ANNALS_VIA: Final = "annals-via"
MOST_DEPLOYMENTS: Final = 8
_ID: Final = r"[a-z0-9-]{1,64}"
DEPLOYMENT: Final = re.compile(_ID, re.ASCII)
VIA: Final = rf"{_ID}(?:,{_ID}){{0,{MOST_DEPLOYMENTS - 1}}}"
_VIA: Final = re.compile(VIA.encode())


def is_via(value: bytes | None) -> bool:
    """Whether the bytes are a list of 1 to 8 ids of deployments."""
    return value is not None and _VIA.fullmatch(value) is not None


def via_of(headers: Headers) -> bytes | None:
    """Return the last valid `annals-via` of a command's headers; None if there is none."""
    via = None
    for name, value in headers:
        if name == ANNALS_VIA and is_via(value):
            via = value
    return via


def has_come_round(via: bytes | None, deployment: str) -> bool:
    """Whether a deployment takes no event that came through these: it is one of them, or they are as many as may be."""
    through = [] if via is None else via.split(b",")
    return len(through) >= MOST_DEPLOYMENTS or deployment.encode() in through


def via_with(via: bytes | None, deployment: str) -> bytes:
    """Return the list with one more deployment at its end."""
    return deployment.encode() if via is None else via + b"," + deployment.encode()
