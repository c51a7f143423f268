"""A batch that came alone is proven before anybody has it, at each look anew where it is not in its place."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import NodeNotReadyError, NotLeaderForPartitionError, OffsetOutOfRangeError, RequestTimedOutError
from aiokafka.structs import TopicPartition

from annals.topics.wire import encode_headers
from annals.workers.kafka.group import lone_batches
from annals.workers.kafka.group.header_names import Unreadable, _Fetched, _FetchResult, _PartitionRecords, undressed
from annals.workers.kafka.group.lone_batches import MOST_ASKED, prove_lone
from annals.workers.kafka.write.batches import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = 1
CHECKED = True
AT = 5
FIRST, SECOND = (TopicPartition("commands.person", number) for number in range(2))


def batch(base: int) -> bytes:
    built = RecordBatch("none")
    assert built.fill([(b"key", b"value", number, encode_headers([])) for number in range(2)], 0, 1 << 20) == 2
    return base.to_bytes(8, "big") + built.build(7, 0, 0)[8:]


class Answered(NamedTuple):
    """What a broker answers instead of a batch: without any partition, as a quota has it (KIP-219), or with a code."""

    code: int = 0
    throttled_ms: int = 0
    is_empty: bool = False


QUOTA = Answered(throttled_ms=1, is_empty=True)


class Consumer:
    """What aiokafka's fetcher keeps of two partitions, both of which are to be read from an offset on."""

    def __init__(self) -> None:
        self.assignment = Assignment([FIRST, SECOND])
        self.fetched: dict[TopicPartition, _FetchResult] = {}
        self.asked: list[int] = []
        self.seen: list[set[TopicPartition]] = []
        self.before = AT - 2
        self.is_away = False
        self.answers: list[Answered] = []
        self.remote_ms = 0
        self.meanwhile: Callable[[], None] = lambda: None
        for where in (FIRST, SECOND):
            self.assignment.state_value(where).seek(AT)

    async def send(self, node: int, request: Any) -> Any:
        """Answer what is asked about the offset before, and note what could be taken meanwhile."""
        ((topic, ((partition, offset, _),)),) = request.topics
        self.asked.append(offset)
        self.seen.append(set(self.fetched))
        self.meanwhile()
        if self.is_away:
            raise NodeNotReadyError
        code, throttled_ms, is_empty = self.answers.pop(0) if (is_without := bool(self.answers)) else Answered()
        is_without = is_without or request._max_wait_ms < self.remote_ms
        data = None if is_without else batch(self.before)
        topics = [] if is_empty else [(topic, [(partition, code, 9, 9, 0, None, -1, data)])]
        return SimpleNamespace(throttle_time_ms=throttled_ms, topics=topics)

    async def fetch(self, *wheres: TopicPartition) -> None:
        for where in wheres:
            position = self.assignment.state_value(where).position
            records = _PartitionRecords(
                where, _Fetched(batch(position)), None, position, None, undressed, CHECKED, READ_COMMITTED
            )
            self.fetched[where] = _FetchResult(where, assignment=self.assignment, partition_records=records, backoff=0)
        client: Any = self
        await prove_lone(client, NODE, self.assignment, self.fetched)

    def take(self, where: TopicPartition, most: int | None = None) -> list[Any]:
        found = self.fetched[where].getall(most)
        if not self.fetched[where].has_more():
            del self.fetched[where]
        return found


async def test_a_batch_that_is_misplaced_is_so_at_each_look() -> None:
    """Goes red when the second fetch of it passes for proven: what it is in the place of was never seen."""
    consumer = Consumer()
    consumer.before = AT  # asked for the offset before, the broker sends the batch itself
    for _ in range(3):
        await consumer.fetch(FIRST)
        assert [type(each) for each in consumer.take(FIRST)] == [Unreadable]
    consumer.before = AT - 2  # another replica leads
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]


async def test_what_stays_unproven_is_asked_about_once_at_each_further_look() -> None:
    """Goes red when it is asked about for seconds each time, in which nothing else of that broker's is fetched."""
    consumer = Consumer()
    for looks in range(3):
        consumer.answers = [Answered(code=7)] * MOST_ASKED
        await consumer.fetch(FIRST)
        assert len(consumer.asked) == MOST_ASKED + looks
        assert [type(each) for each in consumer.take(FIRST)] == [Unreadable]
    consumer.answers = []
    await consumer.fetch(FIRST)  # proven by one answer
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]
    await consumer.fetch(SECOND)
    consumer.answers = [Answered(code=7)] * MOST_ASKED
    consumer.assignment.state_value(FIRST).seek(AT + 10)
    await consumer.fetch(FIRST)
    assert consumer.asked.count(AT + 9) == MOST_ASKED  # another batch is asked about anew


async def test_nobody_has_another_one_while_the_first_is_proven() -> None:
    consumer = Consumer()
    await consumer.fetch(FIRST, SECOND)
    assert consumer.seen == [set(), {FIRST}]
    assert set(consumer.fetched) == {FIRST, SECOND}


async def test_what_is_taken_in_parts_and_what_follows_it_is_not_proven_again() -> None:
    consumer = Consumer()
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST, 1)] == [AT]
    await consumer.fetch(SECOND)
    assert [each.offset for each in consumer.take(FIRST, 1)] == [AT + 1]
    assert [each.offset for each in consumer.take(FIRST)] == []
    await consumer.fetch(FIRST)
    assert consumer.asked == [AT - 1, AT - 1]


async def test_a_broker_that_is_gone_is_asked_once_and_all_is_fetched_again() -> None:
    """Goes red when each partition waits for it: its connection alone takes as long as a request may."""
    consumer = Consumer()
    consumer.is_away = True
    await consumer.fetch(FIRST, SECOND)
    assert (consumer.asked, consumer.fetched) == ([AT - 1], {})
    consumer.is_away = False
    await consumer.fetch(FIRST, SECOND)
    assert set(consumer.fetched) == {FIRST, SECOND}


async def test_what_came_meanwhile_from_who_leads_now_stays() -> None:
    consumer = Consumer()
    newer: Any = object()

    consumer.meanwhile = lambda: consumer.fetched.update({FIRST: newer})
    await consumer.fetch(FIRST)
    assert consumer.fetched == {FIRST: newer}


@pytest.mark.parametrize("is_assigned", [True, False])
async def test_where_another_has_the_partition_by_now_nothing_is_handed_out(*, is_assigned: bool) -> None:
    consumer = Consumer()
    if not is_assigned:
        consumer.meanwhile = consumer.assignment._unassign
    await consumer.fetch(FIRST)
    assert bool(consumer.fetched) == is_assigned


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_batches, "RETRY_S", 0.0)


@pytest.mark.parametrize(
    "without",
    [[Answered()], [Answered(RequestTimedOutError.errno)], [QUOTA] * (2 * MOST_ASKED)],
    ids=["nothing", "an error", "a quota"],
)
async def test_what_was_not_looked_for_is_asked_again(without: list[Answered]) -> None:
    """Goes red when an answer without a batch passes for a proof: what it is in the place of is never seen."""
    consumer = Consumer()
    consumer.before, consumer.answers = AT, list(without)
    await consumer.fetch(FIRST)
    assert consumer.asked == [AT - 1] * (len(without) + 1)
    assert [type(each) for each in consumer.take(FIRST)] == [Unreadable]
    consumer.before, consumer.answers = AT - 2, list(without)
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]


@pytest.mark.parametrize("throttled_ms", [0, 1])
@pytest.mark.parametrize(("code", "told"), [(0, "nothing"), (74, "UnknownError (74)"), (7, "RequestTimedOutError (7)")])
async def test_what_a_broker_goes_on_answering_is_named_until_it_sends_what_is_before(
    code: int, told: str, throttled_ms: int
) -> None:
    """Goes red when an error of one who is over a quota of requests, too, is asked about without end."""
    consumer = Consumer()
    for _ in range(2):
        consumer.answers = [Answered(code, throttled_ms)] * MOST_ASKED
        await consumer.fetch(FIRST)
        place = "commands.person-0: the record batch at offset 5 came alone, and nothing proves its place"
        reason = f"{place}: broker 1 answers for the offset before it {told}"
        assert consumer.take(FIRST) == [Unreadable(AT, reason)]
    consumer.answers = []
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]


async def test_what_lies_in_tiered_storage_is_waited_for() -> None:
    """Goes red when brokers are asked to answer at once: before Kafka 3.8 they have nothing then, each time."""
    consumer = Consumer()
    consumer.remote_ms = 300
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]


async def test_what_was_asked_about_and_is_not_taken_yet_is_not_asked_about_again() -> None:
    """Goes red when another broker is asked about it with each of its own fetches: it is taken back, as that one does
    not lead.
    """
    consumer = Consumer()
    consumer.before = AT
    await consumer.fetch(FIRST)
    consumer.before = AT - 2
    await consumer.fetch(SECOND)
    assert consumer.seen == [set(), {FIRST}]
    assert [type(each) for each in consumer.take(FIRST)] == [Unreadable]


async def test_one_that_leads_no_more_is_not_asked_again_and_all_is_fetched_again() -> None:
    consumer = Consumer()
    consumer.answers = [Answered(NotLeaderForPartitionError.errno)]
    await consumer.fetch(FIRST, SECOND)
    assert (consumer.asked, consumer.fetched) == ([AT - 1], {})


@pytest.mark.parametrize("code", [OffsetOutOfRangeError.errno, 2], ids=["it is the first", "that one is damaged"])
async def test_where_a_broker_has_nothing_before_it_a_batch_is_in_its_place(code: int) -> None:
    consumer = Consumer()
    consumer.answers = [Answered(code)]
    await consumer.fetch(FIRST)
    assert [each.offset for each in consumer.take(FIRST)] == [AT, AT + 1]
