"""Two workers with one instance id: one serves, the other says why it waits, and takes over when the first is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grouped import Group, GroupWorker, group, within

pytestmark = pytest.mark.broker

NAMED = "with ANNALS_INSTANCE_ID=one"
HEARTBEAT_S = 2.0


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


def states(*workers: GroupWorker) -> list[str]:
    """Of each worker: ready, named, or another reason."""
    return [
        "ready" if reasons == [] else "named" if any(NAMED in each for each in reasons or []) else str(reasons)
        for reasons in (worker.health() for worker in workers)
    ]


def test_the_later_one_serves_and_the_earlier_one_waits_until_it_is_gone(crew: Group) -> None:
    earlier = crew.worker("earlier", INSTANCE_ID="one").until_ready()
    later = crew.worker("later", INSTANCE_ID="one").until_ready()
    earlier.until_told("another worker (from 127.0.0.1) is in the consumer group")
    for _ in within(4 * HEARTBEAT_S):
        assert states(earlier, later) == ["named", "ready"]
        assert set(crew.answers(2)) == {"accepted"}
    assert later.end() == 0
    earlier.until_ready()
    assert set(crew.answers()) == {"accepted"}
    assert earlier.end() == 0


def test_of_two_that_start_at_once_one_serves_and_both_hear_a_stop(crew: Group) -> None:
    crew.worker("before").until_ready().end()  # the topics are there
    workers = [crew.worker(name, INSTANCE_ID="one") for name in ("this", "that")]
    workers[0].until(lambda: sorted(states(*workers)) == ["named", "ready"], "one serves, the other says why not")
    for _ in within(2 * HEARTBEAT_S):
        assert sorted(states(*workers)) == ["named", "ready"]
    waiting = workers[states(*workers).index("named")]
    assert waiting.end() == 0
    assert set(crew.answers()) == {"accepted"}


def test_a_static_member_that_starts_again_is_not_taken_for_another(crew: Group) -> None:
    crew.worker("one", INSTANCE_ID="one").until_ready().process.kill()
    again = crew.worker("one", INSTANCE_ID="one").until_ready()
    for _ in within(2 * HEARTBEAT_S):
        assert again.health() == []
    assert not again.logged(NAMED)
