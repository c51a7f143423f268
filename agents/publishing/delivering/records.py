"""The records of deliveries: as of any subscriber, and what says that it comes again or was parked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from annals.schemas.values.moments import recorded_at
from annals.topics.headers import clipped

if TYPE_CHECKING:
    from annals.agents.publishing.records import Outgoing
    from annals.schemas.delivery import Row

REDELIVERY: Final = "ce_redelivery"


def delivered(row: Row, outgoing: Outgoing) -> Outgoing:
    """Return the record of an attempt; from the second on it says which one it is."""
    if row.attempt <= 1:
        return outgoing
    return outgoing._replace(headers=[*outgoing.headers, (REDELIVERY, b"%d" % row.attempt)])


def parked(row: Row, outgoing: Outgoing) -> Outgoing:
    """Return the record of what is parked: as it was delivered last, and why it is here."""
    last = delivered(row, outgoing)
    ours = [
        ("reason", clipped(row.reason or "")),
        ("attempts", b"%d" % row.attempt),
        ("parked-at", recorded_at(moment_at(row.at)).encode()),
    ]
    return last._replace(headers=[*last.headers, *ours])


def moment_at(milliseconds: int) -> datetime:
    """Return the time of a row."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
