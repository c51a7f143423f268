"""The only clock, and the only source of random ids."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's clock (the `Clock` port)."""

    def now(self) -> datetime:
        """Return the time, UTC, aware."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        """Return seconds that never step back, from some start."""
        return time.monotonic()


def new_id() -> str:
    """Return a UUID of version 7 (RFC 9562): ids in the order of their time."""
    milliseconds = time.time_ns() // 1_000_000  # noqa: TID251 - this is the clock
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    digits = f"{value:032x}"  # as `uuid.UUID` writes it, in a third of the time
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
