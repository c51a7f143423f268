"""A coordinator that answers, and only ever says to ask again: who waits for it says so, and goes on by itself."""

from types import SimpleNamespace

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import ConcurrentTransactions, CoordinatorNotAvailableError

from annals.workers.kafka.write import brokers, transaction
from annals.workers.kafka.write.brokers import Brokers
from annals.workers.kafka.write.transaction import TransactionalWriter
from publishing import Mortal, World, eventually

INIT_PRODUCER_ID = 22
CONCURRENT_TRANSACTIONS = 51


class Busy(Mortal):
    """A network behind which a transaction before is ended for ever, as where a leader of its partitions is away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = True

    async def ask(self, request, serve):
        if self.is_busy and request.API_KEY == INIT_PRODUCER_ID:
            return SimpleNamespace(
                error_code=CONCURRENT_TRANSACTIONS, producer_id=-1, producer_epoch=-1, throttle_time_ms=0
            )
        return await super().ask(request, serve)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "BUSY_PATIENCE_S", 0.2)
    monkeypatch.setattr(brokers, "COORDINATOR_PATIENCE_S", 0.2)


async def test_a_writer_that_is_never_given_a_producer_id_says_why() -> None:
    """Goes red when it asks for ever: the shard was opening, without a word of what it waits for."""
    writer = TransactionalWriter(World().options(Busy()), "annals-events.person-0", [])
    with pytest.raises(ConcurrentTransactions, match="the broker does not give out a producer id"):
        await writer.fence()
    await writer.close()


async def test_one_whose_coordinator_is_never_named_says_so() -> None:
    async def none_is(*_: object) -> int:
        raise CoordinatorNotAvailableError

    asking = Brokers({}, ())
    asking._client = SimpleNamespace(coordinator_lookup=none_is)
    with pytest.raises(CoordinatorNotAvailableError, match="the brokers name no coordinator of annals-1"):
        await asking.coordinator(CoordinationType.TRANSACTION, "annals-1")


async def test_a_publisher_that_waits_for_one_is_not_ready_and_goes_on_by_itself() -> None:
    """Goes red when a worker is ready whose publishers have never begun."""
    world = World("all")
    await world.subscribe("all")
    world.network = network = Busy()

    async def is_told() -> bool:
        return "ConcurrentTransactions" in (publisher.problem or "")

    async def is_over() -> bool:
        return publisher.problem is None and publisher.phase == "publishing"

    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(is_told)
        network.is_busy = False
        await eventually(is_over)
