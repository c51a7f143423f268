"""How large batches are: what was too slow is soon tried again, what a topic refused once in a minute."""

import pytest
import structlog

from annals.agents.pace import Pace
from annals.agents.ports import OutlastedError, RefusedSizeError
from annals.testing import MemoryClock

FULL = 3_000


class Topic:
    """A topic that takes batches of so many."""

    def __init__(self, most):
        self.most = most
        self.taken, self.refused = [], []

    def offer(self, pace, count):
        if count > self.most:
            self.refused.append(count)
            pace.failed(count, RefusedSizeError("too large"))
            return 0
        self.taken.append(count)
        pace.committed(0.01, 0.0)
        return count


@pytest.fixture
def clock():
    return MemoryClock()


@pytest.fixture
def pace(clock):
    return Pace(clock, structlog.get_logger(), FULL)


def drain(pace, topic, waiting):
    while waiting:
        waiting -= topic.offer(pace, min(pace.most, waiting))


def test_what_a_topic_takes_is_found_by_a_handful_of_refusals(pace):
    """Goes red when each commit doubles what was refused: 330 refusals and openings, 35,713 aborted records."""
    topic = Topic(60)
    drain(pace, topic, 15_000)
    assert topic.refused == [3_000, 1_500, 750, 375, 187, 93]
    assert max(topic.taken) == 46
    assert pace.trouble.startswith("a batch of 93 commands is refused for its size; batches are halved to 46 until a")


def test_more_is_tried_once_in_a_minute(pace, clock):
    topic = Topic(60)
    drain(pace, topic, 15_000)
    del topic.refused[:]
    for _ in range(3):
        clock.advance(60.0)
        drain(pace, topic, 1_000)
    assert topic.refused == [92, 92, 92]


def test_a_topic_that_takes_more_again_soon_gets_full_batches(pace, clock):
    topic = Topic(60)
    drain(pace, topic, 15_000)
    topic.most = FULL
    clock.advance(60.0)
    drain(pace, topic, 15_000)
    assert (max(topic.taken), len(topic.refused)) == (FULL, 6)
    assert pace.trouble == ""


def test_what_was_too_slow_is_doubled_by_the_next_quick_commit(pace):
    pace.failed(FULL, OutlastedError("too slow"))
    assert pace.most == 1_500
    pace.committed(0.01, 0.0)
    assert (pace.most, pace.trouble) == (FULL, "")


def test_quick_commits_of_another_writer_do_not_lift_what_a_topic_takes(pace, clock):
    """Goes red when all writers of a partition have one size: a catch-up tried 120 times and published nothing."""
    catch_up, topic, done = pace.beside(subscription="late"), Topic(60), 0
    for tenth in range(600):
        clock.advance(0.1)
        pace.committed(0.01, 0.0)
        if tenth % 5 == 0:
            done += topic.offer(catch_up, catch_up.most)
    assert (len(topic.refused), pace.most) == (6, FULL)
    assert done > 100 * 46


def test_a_writer_whose_rest_another_takes_over_has_no_more_than_that_one(pace):
    """Goes red when a catch-up has reached what fits into its own transaction, and the live publisher's are smaller."""
    catch_up = pace.beside(subscription="late")
    pace.failed(FULL, OutlastedError("too slow"))
    assert (catch_up.most, catch_up.trouble) == (1_500, "")


def test_with_one_at_a_time_everything_is_one_at_a_time(pace):
    assert (pace.part_of(2_000), pace.part_of(10)) == (2_000, 10)
    pace.failed(1, RefusedSizeError("too large"))
    assert (pace.most, pace.part_of(9_000), pace.part_of(10)) == (1, 1, 1)
