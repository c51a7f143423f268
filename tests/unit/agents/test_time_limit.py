"""What runs too long is ended in the midst of it, and leaves nothing behind."""

import threading
import time

import pytest

from annals.agents.time_limit import TookTooLongError, limited

SHORT_S = 0.05


def for_ever():
    while True:
        pass


def asleep():
    time.sleep(60)


@pytest.mark.parametrize("code", [for_ever, asleep])
def test_what_never_comes_back_is_ended(code):
    for _ in range(2):
        with pytest.raises(TookTooLongError, match=r"longer than 0\.05 s"), limited(SHORT_S):
            code()


def test_many_short_pieces_are_not_one_that_is_long():
    end = time.monotonic() + 1
    while time.monotonic() < end:
        with limited(SHORT_S):
            pass


def test_what_comes_behind_a_piece_may_take_its_time():
    with limited(SHORT_S):
        pass
    time.sleep(1)


def test_a_thread_that_no_signal_reaches_is_not_limited():
    ended = []

    def run():
        with limited(SHORT_S):
            time.sleep(1)
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [True]
