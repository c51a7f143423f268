"""The topic `jobs` in memory (the `JobRecords` port), shared by any number of workers."""

from __future__ import annotations

import asyncio
import itertools

from annals.agents.reading.ports import NotReadyError


class JobRecordsInMemory:
    """Records that every worker sees at once; unread: newer ones, which only a change sees."""

    def __init__(self):
        self.unread = {}
        self.records, self.is_read, self.is_away, self.refreshed = {}, True, False, 0

    async def change_all(self, change):
        if self.is_away:
            raise NotReadyError("the topic of jobs cannot be changed")
        self.records, self.unread = {**self.records, **self.unread}, {}
        changed = {key: record for key, record in change(self.records).items() if record != self.records.get(key)}
        self.records = {key: record for key, record in {**self.records, **changed}.items() if record is not None}
        return {key: record for key, record in changed.items() if record is not None}

    async def refresh(self):
        if self.is_away:
            raise NotReadyError("the topic of jobs cannot be read")
        self.refreshed += 1
        await asyncio.sleep(0.01)


def numbered():
    """Makes ids that grow."""
    numbers = itertools.count(1)
    return lambda: f"j-{next(numbers):04}"
