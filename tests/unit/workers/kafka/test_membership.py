"""What a worker says of its membership: by what the group answered, and only as long as a session lasts."""

import pytest

from annals.workers.kafka.group.membership import Membership

SESSION_S = 8.0
SILENT = (
    "the consumer group annals has not answered for 9 s, longer than the session of a member lasts (8 s): others may "
    "have its partitions"
)


class At:
    """The loop's time, as a test sets it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    time = At()
    monkeypatch.setattr("annals.workers.kafka.group.membership.loop_time", time)
    return time


@pytest.fixture
def member(at: At) -> Membership:
    """A member that was answered at 100."""
    membership = Membership("annals", None)
    membership.asks_to_join()
    membership.answered(at.now, SESSION_S)
    membership.joined()
    return membership


def test_a_member_is_one_for_as_long_as_a_session_lasts(member: Membership, at: At) -> None:
    at.now += SESSION_S
    assert member.problem is None
    at.now += 1
    assert member.problem == SILENT
    member.answered(at.now, SESSION_S)
    assert member.problem is None


def test_an_answer_that_came_later_than_a_session_lasts_says_nothing(member: Membership, at: At) -> None:
    """As of a process that was held still between question and answer."""
    asked_at, at.now = at.now, at.now + SESSION_S + 1
    member.answered(asked_at, SESSION_S)
    assert member.problem == SILENT


def test_who_asks_to_join_waits_for_all_others_as_long_as_it_takes(member: Membership, at: At) -> None:
    member.asks_to_join()
    at.now += 10 * SESSION_S
    assert member.problem is None


def test_what_is_known_to_be_wrong_is_said_rather_than_silence(member: Membership, at: At) -> None:
    member.left("the worker hangs")
    at.now += 10 * SESSION_S
    assert member.problem == "has left the consumer group annals: the worker hangs"
