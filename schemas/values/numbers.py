"""Numbers in records that a stranger may have written: none is more than Kafka, the stores and the clock can take.

JSON has integers of any length. One beyond these would be a valid row that nobody can look up, show or wait for.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

MOST: Final = 2**63 - 1
LATEST_MS: Final = 253_402_300_799_999  # the last moment of the year 9999

From0 = Annotated[int, Meta(ge=0, le=MOST)]
"""An offset, or what counts."""
From1 = Annotated[int, Meta(ge=1, le=MOST)]
"""A version, or what else begins at 1."""
Milliseconds = Annotated[int, Meta(ge=0, le=LATEST_MS)]
"""A time, since 1970."""
