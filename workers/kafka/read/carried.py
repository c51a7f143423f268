"""The carried headers of a journal's record, out of its header section as the brokers give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.topics.carried import carried_headers
from annals.topics.headers import EVENT_VIA, TRACEPARENT
from annals.workers.kafka.protocol.record_batches import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.topics.headers import Header

# Without its traceparent a tracestate is not carried, and to look for a name takes as long as reading a record's key.
_NAMES: Final = (TRACEPARENT.encode(), EVENT_VIA.encode())


def carried_of(raw: bytes) -> Sequence[Header]:
    """Return the headers that are carried to subscribers; most records have none, and are not taken apart.

    raw: the header section. What cannot be read is a stranger's, and carries nothing.
    """
    for name in _NAMES:  # a generator for `any` takes longer than all it looks for
        if name in raw:
            break
    else:
        return ()
    try:
        return carried_headers(headers_of(raw))
    except ValueError:
        return ()
