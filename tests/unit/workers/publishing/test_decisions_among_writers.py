"""Decisions about what is parked while others become the writer of its rows, again and again."""

import pytest

from annals.agents.publishing.delivering.choosing import Choice
from annals.workers.publishing import parked
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from publishing import NAMES
from shelves import Shelf

NUMBER = 2 * parked.ATTEMPTS


@pytest.mark.parametrize("decides", ["replay", "discard"])
async def test_a_decision_is_made_whole_by_whatever_number_of_attempts_if_each_decides_something(monkeypatch, decides):
    """Goes red when attempts that decide something are counted, too: of very many a part was decided, then 503."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    monkeypatch.setattr(parked, "ROWS", 1)
    monkeypatch.setattr(parked, "FIRST_RETRY_S", 0.0)
    written, write = [], parked._write

    async def fenced_behind(writer, rows, *asked):
        """Write some rows; then a delivery shard opens again."""
        await write(writer, rows, *asked)
        written.extend(row.cid for row in rows)
        other = KafkaDeliveryLogs(shelf.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
        await other.fence()
        await other.close()

    monkeypatch.setattr(parked, "_write", fenced_behind)
    reason = ["a reason"] if decides == "discard" else []
    assert await getattr(shelf.service, decides)("all", Choice(), None, "ada", *reason) == NUMBER
    assert sorted(written) == sorted(shelf.row(number).cid for number in range(NUMBER))
    assert await shelf.pages() == [[]]
