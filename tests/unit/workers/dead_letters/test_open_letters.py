"""What the metrics of dead letters keep: those that are open, and how far the topic was read."""

from annals.agents.dead_letters.settled import Settled
from annals.schemas.settlement import Settlement
from annals.workers.dead_letters.watch import OpenLetters


def settlement(first, last):
    return Settlement("r", "me", "POST", "/", "now", 202, None, "replay", 0, [(first, last)], last - first + 1)


def opened(settled, *offsets, end):
    letters = OpenLetters(settled)
    assert letters.begin(0, 0, end) == 0
    for offset in offsets:
        letters.add(0, offset, 1_000 + offset)
    letters.reach(0, end)
    return letters


async def test_what_is_settled_before_it_is_read_or_afterwards_is_not_open():
    settled = Settled()
    settled.add(settlement(0, 1))
    letters = opened(settled, 0, 1, 3, 4, 6, end=8)
    assert letters.numbers() == (3, 1_003)
    settled.add(settlement(2, 4))
    await letters.drop_settled()
    assert letters.numbers() == (1, 1_006)


def test_reading_goes_on_behind_markers_and_forgets_what_the_topic_no_longer_has():
    letters = opened(Settled(), 0, 1, 5, end=8)
    assert letters.begin(0, 5, 9) == 8
    assert letters.numbers() == (1, 1_005)
    assert letters.begin(0, 12, 12) == 12
    assert letters.numbers() == (0, None)


def test_of_a_topic_that_was_made_anew_nothing_is_known():
    letters = opened(Settled(), 0, 5, end=8)
    assert letters.begin(0, 0, 7) == 0
    assert letters.numbers() == (0, None)
    letters.add(0, 0, 9)
    assert letters.numbers() == (1, 9)


def test_a_reading_that_failed_goes_on_behind_the_last_letter():
    letters = OpenLetters(Settled())
    letters.begin(0, 0, 10)
    letters.add(0, 4, 1)
    assert letters.begin(0, 0, 10) == 5
