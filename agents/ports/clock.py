"""The time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Clock(Protocol):
    """The time, UTC."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
