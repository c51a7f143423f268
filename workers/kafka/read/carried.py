"""The carried headers of a journal's record, out of its header section as the brokers give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.topics.carried import CARRIED, carried_headers
from annals.workers.kafka.protocol.record_batches import headers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.topics.headers import Header

_NAMES: Final = tuple(name.encode() for name in sorted(CARRIED))


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
