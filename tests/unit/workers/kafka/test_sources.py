"""A source knows how far everything is decided: behind markers only when all that it delivered is."""

from typing import NamedTuple

from aiokafka.structs import TopicPartition

from annals.workers.kafka.group.header_names import Unreadable
from annals.workers.kafka.group.sources import COMES_WITHIN_S, Sources
from annals.workers.kafka.group.transport import deliveries_of

HERE = TopicPartition("commands.person", 0)


class Record(NamedTuple):
    offset: int


class Consumer:
    """A consumer of one partition that is at a position."""

    def __init__(self) -> None:
        self.at = 0
        self._subscription = self.subscription = self

    @property
    def assignment(self):
        return self

    def __call__(self):
        return {HERE}

    def state_value(self, partition):
        return self

    has_valid_position = True
    _reassignment_in_progress = False
    lso: int | None = None

    @property
    def position(self):
        return self.at

    def seek(self, partition, offset):
        self.at = offset

    def resume(self, *partitions):
        """Nothing is paused."""

    pause = resume


def reading(offset: int = 0):
    sources, consumer = Sources(), Consumer()
    sources.attach(consumer)  # type: ignore[arg-type] # what is asked of it is here
    source = sources.source(*HERE)
    source.deliver_from(offset)
    return sources, source, consumer


def test_markers_behind_what_is_decided_are_decided():
    sources, source, consumer = reading()
    consumer.at = 5
    sources.note_fetch({HERE: [Record(0), Record(2)]})
    assert [source.decided_until(offset) for offset in (0, 2, 3)] == [0, 2, 5]
    consumer.at = 9
    assert source.decided_until(3) == 5  # that fetch has not come back
    sources.note_fetch({})
    assert source.decided_until(3) == 9


def test_what_was_delivered_and_has_not_arrived_is_not_decided():
    sources, source, consumer = reading()
    consumer.at = 1
    sources.note_fetch({HERE: [Record(0)]})
    consumer.at = 8
    sources.note_fetch({HERE: [Record(6)]})
    assert source.decided_until(1) == 1
    assert source.decided_until(7) == 8


def test_delivered_anew_what_was_read_before_counts_no_more():
    sources, source, consumer = reading()
    consumer.at = 8
    sources.note_fetch({HERE: [Record(6)]})
    source.deliver_from(3)
    assert source.decided_until(3) == 3
    consumer.at = 8
    sources.note_fetch({HERE: [Record(6)]})
    assert (source.decided_until(3), source.decided_until(7)) == (3, 8)


def test_of_a_partition_that_is_held_nothing_is_noted():
    sources, source, consumer = reading()
    source.pause()
    consumer.at = 8
    sources.note_fetch({})
    assert source.decided_until(0) == 0


def test_a_partition_of_which_nothing_comes_though_there_is_something_is_named():
    """Goes red when a worker whose fetches nobody answers is ready for as long as all else is answered."""
    sources, _, consumer = reading(5)
    assert sources.unfetched({HERE: 5}, 99.0) == []  # there is nothing
    told = told_of(sources, 100)
    assert told[:-1] == [[]] * int(COMES_WITHIN_S)
    (sentence,) = told[-1]
    assert sentence.startswith("commands.person-0: nothing of it has come for 17 s, from offset 5 to 9: ")
    consumer.at = 7
    assert sources.unfetched({HERE: 9}, 121.0) == []  # it has begun to come
    sources.pause(HERE)  # nobody wants it
    assert told_of(sources, 122)[-1] == []


def told_of(sources: Sources, begin: int) -> list[list[str]]:
    """What is told at each of the looks of so many seconds."""
    return [sources.unfetched({HERE: 9}, float(begin + second)) for second in range(int(COMES_WITHIN_S) + 1)]


def test_while_the_group_is_rebalanced_nobody_is_to_answer_a_fetch():
    sources, _, consumer = reading(5)
    assert told_of(sources, 0)[-1]
    consumer._reassignment_in_progress = True
    assert sources.unfetched({HERE: 9}, 21.0) == []
    consumer._reassignment_in_progress = False
    assert told_of(sources, 22)[-2:-1] == [[]]


def test_a_process_that_was_stopped_has_asked_for_nothing_meanwhile():
    sources, _, _ = reading(5)
    assert sources.unfetched({HERE: 9}, 0.0) == []
    told = told_of(sources, 60)
    assert (told[0], bool(told[-1])) == ([], True)


def test_of_a_partition_that_waits_at_a_damaged_batch_something_comes_each_time_that_it_is_looked_at():
    """Goes red when readiness says of a leader that answers that it answers no fetch."""
    sources, source, _ = reading(5)
    for second in range(25):
        assert sources.unfetched({HERE: 9}, float(second)) == []
        sources.note_fetch({HERE: []})
        source.pause()
        source.deliver_from(5)
    for second in range(25, 60):  # and then the leader answers no more
        told = sources.unfetched({HERE: 9}, float(second))
    assert len(told) == 1


def test_a_damaged_batch_is_so_until_it_is_passed_or_is_there_no_more():
    """Goes red when a shard waits for ever for one that is mended and holds nothing, or that a new leader lacks."""
    sources, source, consumer = reading(5)
    consumer.at, consumer.lso = 6, 9
    (delivery,) = deliveries_of({HERE: [Record(5), Unreadable(6, "it is damaged")]}, sources)
    assert (delivery.records, delivery.damage) == ([Record(5)], "it is damaged")
    assert source.is_damaged
    sources.note_fetch({})  # nothing came
    assert source.is_damaged
    consumer.at = 9  # an aborted transaction's
    sources.note_fetch({})
    assert not source.is_damaged

    sources.note_fetch({HERE: []}, {HERE: 9})
    consumer.lso = 9  # it was cut off
    assert source.is_damaged
    sources.note_fetch({})
    assert not source.is_damaged


def test_a_new_assignment_begins_without_damage():
    sources, source, _ = reading(5)
    sources.note_fetch({HERE: []}, {HERE: 5})
    sources.reassign()
    assert not source.is_damaged
