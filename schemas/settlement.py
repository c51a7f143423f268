"""The record that some dead letters are settled: sent again or discarded, by whom and why."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from annals.schemas.audit import AuditEntry
from annals.schemas.depth import decoded
from annals.schemas.values.numbers import From0  # noqa: TC001 - msgspec reads annotations

REPLAY: Final = "replay"
DISCARD: Final = "discard"
SETTLEMENT_KEY: Final = b"dead-letters"
"""The key of settlements in the topic `audit`, whose other records have a request's id."""

Action = Literal["replay", "discard"]


class Settlement(AuditEntry, frozen=True):
    """What one transaction settled.

    spans: of the partition, first and last offset; every dead letter in them is settled. count: how many that are.
    """

    action: Action
    partition: From0
    spans: list[tuple[From0, From0]]
    count: From0
    reason: str | None = None


_decode: Final = msgspec.json.Decoder(Settlement).decode


def parse_settlement(key: bytes | None, value: bytes | None) -> Settlement | None:
    """Return what a record of `audit` settles; None: nothing. ValueError if it should be a settlement and is none."""
    if key != SETTLEMENT_KEY or value is None:
        return None
    found = decoded(_decode, value)
    if any(last < first for first, last in found.spans):
        raise ValueError("a span ends before it begins")
    return found
