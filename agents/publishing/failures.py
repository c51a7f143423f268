"""What one subscription meets that nobody foresaw: it is named and tried again, and the others go on meanwhile."""

from __future__ import annotations

import structlog

from annals.agents.defects import MOST_IN_A_ROW, is_no_defect, told
from annals.agents.publishing.selection import Halt

log = structlog.get_logger(__name__)


class Failures:
    """Failures in a row of what works for one subscription in one journal partition. last: the last one, in words."""

    def __init__(self, name: str) -> None:
        """Take the subscription's name."""
        self._name = name
        self._in_a_row = 0
        self.last = ""

    def reset(self) -> None:
        """Begin to count anew: something was committed."""
        self._in_a_row = 0

    def note(self, error: Exception, offset: int) -> Halt | None:
        """Log a failure; return where the subscription stops, if it does. offset: up to which it has come.

        It stops with the fifth in a row, unless memory, a store or the machine failed: that says nothing of it.
        """
        log.error("what works for a subscription failed", subscription=self._name, exc_info=error)
        self.last = told(offset, error)
        if not is_no_defect(error):
            self._in_a_row += 1
        if self._in_a_row < MOST_IN_A_ROW:
            return None
        what = f"behind offset {offset} {self.last}, {MOST_IN_A_ROW} times in a row: a defect"
        return Halt(offset, f"{what}. Resume it on a release that is mended")
