"""Records of `audit`: administrative calls and decisions, who asked for what, when, and what came of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class AuditEntry(Struct, frozen=True):
    """One record. There are two of a call: before it is done, `status` null, and after it."""

    request_id: str
    principal: str
    method: str
    path: str
    at: str
    status: int | None
    code: str | None


class Decision(AuditEntry, frozen=True):
    """The record that somebody decides what becomes of parked events: written before it is done.

    chosen: which events are meant, as it was asked for.
    """

    action: str
    subscription: str
    chosen: dict[str, Any]
    reason: str | None
