"""What is due by its time: the earliest entry that is not void, whatever number of them is, in memory and in turns."""

import gc
import tracemalloc
from random import Random

from annals.agents.aggregates import REGISTRY
from annals.agents.due_index import SWEPT, VOID, DueIndex
from annals.agents.publishing.delivering.machine import Answer, Deliveries, Wanted
from annals.agents.reacting.processes import Processes
from annals.agents.reactions.expire_deadlines import EXPIRE_DEADLINES
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.reaction_rows import ProcessId, TimerRow
from annals.schemas.subscription import Retry

LATE_MS = 86_400_000
MOST_BYTES = 4_000_000  # of what is void: 20,000 rows have three times as much


def test_the_earliest_that_is_not_void_is_found_whatever_was_added_and_became_void():
    random, holding = Random(7), set()
    index = DueIndex(holding.__contains__)
    for number in range(20_000):
        entry = (random.randrange(10_000), number)
        holding.add(entry)
        index.put(entry, len(holding))
        if random.random() < 0.99:
            holding.remove(entry if random.random() < 0.5 else next(iter(holding)))
            index.sweep(len(holding))
        if number % 50 == 0:
            assert index.first() == min(holding, default=None)
            if holding:
                index.pop()
                holding.remove(min(holding))
        assert len(index) <= 4 * (len(holding) + VOID)
    found = []
    while (first := index.first()) is not None:
        found.append(first)
        index.pop()
    assert found == sorted(holding)


def test_no_turn_looks_at_more_than_some_entries_however_many_are_void():
    """Goes red where all are swept at once: a million of them hold the event loop up for a second."""
    looked_at: list[tuple[int, int]] = []

    def holds(entry: tuple[int, int]) -> bool:
        looked_at.append(entry)
        return entry[1] % 3 == 0

    index = DueIndex(holds)
    for number in range(30_000):
        looked_at.clear()
        index.put((number, number), number // 3)
        assert len(looked_at) <= SWEPT
    assert len(index) < 25_000


class Due(str):
    """A moment that counts how often it was compared."""

    __slots__ = ()
    compared = 0

    def __lt__(self, other: str) -> bool:
        Due.compared += 1
        return str.__lt__(self, other)


def test_a_timer_that_is_set_anew_takes_as_long_whatever_was_set_before():
    """Goes red where the index is built anew from all timers."""
    processes, most = Processes(EXPIRE_DEADLINES, REGISTRY["workflow"]), 0
    for number in range(12_000):
        Due.compared = 0
        process = ProcessId(f"workflow-{number % 2_000}", "")
        processes._forget_timer(process, "step")
        processes._keep_timer(process, "step", TimerRow(1, Due(f"2027-{number:09}"), "cause", None))
        most = max(most, Due.compared)
    assert processes.timers == 2_000
    assert processes.next_due() == "2027-000010000"
    assert most < 200


def test_what_is_settled_is_not_kept_until_its_time_limit_would_have_come():
    """Goes red where it is: with a limit of a day, a day's deliveries were in memory."""
    deliveries = Deliveries("person", (), Retry(ack_timeout_ms=LATE_MS), 10)
    tracemalloc.start()
    try:
        for number in range(20_000):
            cid = cid_text(cid_of(b"%d" % number))
            assert deliveries.offer(Wanted(f"p-{number}", 1, cid, "PersonRegistered", number), number)
            rows = deliveries.take(number)
            deliveries.changes()
            deliveries.delivered(rows, number)
            deliveries.answer(f"p-{number}", Answer(cid, 1, "ack"), number, lambda: 0.5)
            deliveries.changes()
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(deliveries) == 0
    assert held < MOST_BYTES
