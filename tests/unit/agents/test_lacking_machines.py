"""What the machine lacks is no command's, event's, projection's, reaction's or subscription's defect."""

from __future__ import annotations

import subprocess
import sys

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.defects import MOST_IN_A_ROW, is_no_defect, is_of_machine
from annals.agents.ports import StoreUnavailableError, UnreachableError
from annals.agents.publishing.cel import Expression
from annals.agents.publishing.failures import Failures
from annals.agents.publishing.matching import Matcher
from annals.agents.publishing.records import form_of
from annals.agents.reading.found import JournalEvent
from annals.schemas.subscription import Definition
from chained import chain
from lacking import LACKING
from publishing import World, eventually
from reactors import ALL, COUNTING, ReactingWorld


@pytest.fixture(params=LACKING)
def lacks(request):
    return LACKING[request.param]


def test_the_rule_is_of_the_machine_alone(lacks):
    assert is_of_machine(lacks())
    assert is_no_defect(lacks())
    for defect in (RuntimeError("no thread"), RecursionError("x"), ZeroDivisionError(), FileNotFoundError(2, "x")):
        assert not is_of_machine(defect)
    for other in (StoreUnavailableError("x"), UnreachableError("x"), ConnectionResetError()):
        assert is_no_defect(other)
        assert not is_of_machine(other)


def test_however_often_it_comes_a_subscription_does_not_stop(lacks):
    failures = Failures("billing")
    assert [failures.note(lacks(), 7) for _ in range(2 * MOST_IN_A_ROW)] == [None] * 2 * MOST_IN_A_ROW
    stops = [failures.note(ZeroDivisionError(), 7) is not None for _ in range(MOST_IN_A_ROW)]
    assert stops == [False] * (MOST_IN_A_ROW - 1) + [True]


async def test_judging_that_cannot_be_done_now_pauses_nobody_and_is_done_later(lacks, monkeypatch):
    original, failed = Matcher.matches, []

    def matches(self, attributes, data):
        if len(failed) < 2:
            failed.append(1)
            raise lacks()
        return original(self, attributes, data)

    monkeypatch.setattr(Matcher, "matches", matches)
    monkeypatch.setattr("annals.agents.publishing.publisher.FIRST_RETRY_S", 0.001)
    world = World("billing")
    await world.subscribe("billing", filters=({"exact": {"subject": "p-1"}},))
    async with world.shard() as shard, world.publisher(shard):
        world.journal.append(chain("p-1", 3))

        async def has_all():
            return len(await world.received("billing")) == 3

        await eventually(has_all)
    assert (len(failed), world.subscriptions.paused) == (2, {})


def test_a_pinned_version_is_not_said_to_be_missing_where_the_machine_lacks_something(lacks):
    """Goes red when its subscription is paused, or is sent the version that was stored."""

    class Spec:
        schema_version = 2

        def upcast(self, *_):
            raise lacks()

    (event,) = chain("p-1", 1)
    stored = {"type": "PersonRegistered", "schema_version": 1, "data": {}}
    source = JournalEvent(0, stored, event.value, event.cid, ())
    for pinned in ({"PersonRegistered": 2}, "newest"):
        with pytest.raises(type(lacks())):
            form_of(source, Spec(), Definition("billing", schema_version=pinned))


def test_an_event_is_not_passed_by_where_an_expression_cannot_be_evaluated_now(lacks):
    class Program:
        def eval(self, **_):
            raise lacks()

    expression = Expression("data.name == 'Ada'")
    expression.program = Program()
    with pytest.raises(type(lacks())):
        expression.matches({}, {"name": "Ada"})
    assert expression.failures == 0


async def test_a_reaction_does_not_fail_by_it_and_goes_on(lacks, monkeypatch):
    monkeypatch.setattr("annals.agents.reacting.reactor.FIRST_RETRY_S", 0.001)
    world, failed = ReactingWorld(), []
    world.journal.append(chain("p-1", 6))
    await world.begin()

    def react(state, event):
        if event.version == 3 and len(failed) < 2 * MOST_IN_A_ROW:
            failed.append(1)
            raise lacks()
        return COUNTING.react(state, event)

    async with world.shard() as shard, world.reactor(shard, react=react):
        await eventually(lambda: world.has(6))
    assert await world.said() == ALL
    assert (await world.progress()).failure == ""


def test_an_upcaster_that_meets_it_leaves_the_event_readable(lacks, monkeypatch):
    """Goes red when a shard stops for good, for an event that its release reads."""
    decider = REGISTRY["person"]

    class Reads:
        def read(self, _):
            raise lacks()

    monkeypatch.setattr(decider, "_readers", {"PersonRegistered": Reads()})
    with pytest.raises(type(lacks())):
        decider.read_event("PersonRegistered", 1, {"name": "Ada"})


LATE_THREAD = """
import threading, time
from annals.agents.time_limit import TookTooLongError, limited

start, refused = threading.Thread.start, []

def first_refused(thread):
    if not refused:
        refused.append(thread)
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = first_refused
for _ in range(2):
    try:
        with limited(0.05):
            time.sleep(60)
    except (RuntimeError, TookTooLongError) as error:
        print(error)
"""


def test_time_limits_hold_once_the_machine_gives_their_thread():
    """Goes red when the thread that was refused counts as begun: nothing that hangs is ended from then on.

    In a process of its own: a process has one handler of the signal, and limits of this one would no longer hold.
    """
    ended = subprocess.run([sys.executable, "-c", LATE_THREAD], check=False, capture_output=True, text=True, timeout=50)
    assert ended.stdout.splitlines() == ["can't start new thread", "it took longer than 0.05 s"], ended.stderr
