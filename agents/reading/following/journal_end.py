"""Where a journal ends, as far as a shard knows, and whether the shard has read what it had at the opening."""

from __future__ import annotations


class JournalEnd:
    """The end of one journal. offset: where it was last."""

    def __init__(self) -> None:
        """Begin with an end that is not known."""
        self.offset = 0
        self._at_opening: int | None = None

    def opened(self, end: int) -> None:
        """Take where it ends as the shard opens."""
        self.offset = self._at_opening = end

    def opened_again(self, end: int) -> None:
        """Take where it ends as the shard opens with the store that it had: what it had to read first stays so."""
        self.opened(end if self._at_opening is None else min(self._at_opening, end))
        self.offset = end

    def note(self, end: int) -> None:
        """Take where it ends now."""
        self.offset = end
        if self._at_opening is None:
            self._at_opening = end

    def ask_anew(self) -> None:
        """Reach it only once it is noted, or the shard opens: nobody knows where it was."""
        self._at_opening = None

    def is_reached(self, offset: int) -> bool:
        """Whether an offset is not below where it was at the opening."""
        return self._at_opening is not None and offset >= self._at_opening
