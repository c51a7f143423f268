"""What runs too long is ended in the midst of it, and leaves nothing behind."""

import signal
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
    with pytest.raises(TookTooLongError, match=r"longer than 0\.05 s"), limited(SHORT_S):
        code()


def test_somebody_elses_alarm_goes_off_all_the_same():
    rung = threading.Event()
    former = signal.signal(signal.SIGALRM, lambda *_: rung.set())
    left = signal.setitimer(signal.ITIMER_REAL, SHORT_S)
    try:
        with limited(60):
            pass
        while not rung.is_set():
            signal.pause()
    finally:
        signal.signal(signal.SIGALRM, former)
        signal.setitimer(signal.ITIMER_REAL, *left)


def test_a_thread_that_no_signal_reaches_is_not_limited():
    ended = []

    def run():
        with limited(SHORT_S):
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [True]
