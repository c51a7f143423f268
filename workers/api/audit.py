"""The record of administrative calls, as the API keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from annals.schemas.audit import AuditEntry


class AuditLog(Protocol):
    """Keeps entries durably."""

    async def write(self, entry: AuditEntry) -> None:
        """Return when the entry is kept.

        Raises:
            NotReadyError: it cannot be kept now.
        """
