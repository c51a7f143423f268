"""Decisions about what is parked while others become the writer of its rows, again and again."""

import pytest

from annals.agents.ports import UncertainError
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


@pytest.mark.parametrize("is_committed", [False, True], ids=["taken back", "committed"])
async def test_what_another_one_decided_behind_an_uncertain_transaction_is_not_counted(monkeypatch, is_committed):
    """Goes red when whatever is parked no more passes for decided by that transaction: both were answered 1."""
    shelf = Shelf(monkeypatch)
    await shelf.park(0)
    write, answered = parked._write, []

    async def uncertain(writer, rows, *asked):
        monkeypatch.setattr(parked, "_write", write)
        if is_committed:
            await write(writer, rows, *asked)
        answered.append(await shelf.service.replay("all", Choice(), None, "eve"))
        raise UncertainError("the answer was lost")

    monkeypatch.setattr(parked, "_write", uncertain)
    answered.append(await shelf.service.discard("all", Choice(), None, "ada", "a reason"))
    assert answered == ([0, 1] if is_committed else [1, 0])
