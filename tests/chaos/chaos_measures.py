"""Each safety measure of the write path taken out, by itself: for the tests that must go red then, and nothing else."""

import contextlib
import os
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition


def no_fence() -> None:
    """Each process writes under a transactional id of its own: nobody is refused."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    original = TransactionalWriter.__init__

    def alone(writer: Any, options: Any, transactional_id: str, topics: Any) -> None:
        original(writer, options, f"{transactional_id}-{os.getpid()}", topics)

    TransactionalWriter.__init__ = alone


def no_proof_of_the_fold() -> None:
    """A store is believed, whatever it is a fold of."""
    from annals.agents.writing.recovery import opening

    async def believed(*_: Any) -> bool:
        return True

    opening.is_a_fold_of = believed


def no_transactional_offset() -> None:
    """The transaction does not commit the consumed offset."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    async def nothing(*_: Any) -> None:
        return

    TransactionalWriter._add_offsets = nothing
    TransactionalWriter._commit_offsets = nothing


def no_deduplication() -> None:
    """No command is recognised."""
    from annals.agents.folding.working_set import WorkingSet

    WorkingSet.command = lambda *_: None
    WorkingSet.commands = lambda *_: {}


def no_routing() -> None:
    """Every command is decided where it is found."""
    from annals.agents.writing.batches import decision_plan

    class Anywhere(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = int.__hash__

    decision_plan.partition_of = lambda *_: Anywhere()


def no_readers_rule() -> None:
    """Every event in the journal counts, wherever it stands."""
    from annals.schemas.chain import read_block
    from annals.schemas.cid import cid_of
    from annals.schemas.journal_reader import Counted, JournalReader

    def believing(reader: Any, offset: int, key: bytes, value: bytes) -> Any:
        event = read_block(reader._kind, value)
        return Counted(offset, key, event, cid_of(value), reader._chain_end(key))

    JournalReader.read = believing


def reads_uncommitted() -> None:
    """The group's consumer delivers what a producer may yet abort, as Faust's own does."""
    from annals.workers.kafka.group import transport

    original = transport.reading_consumer

    def uncommitted(**options: Any) -> Any:
        return original(**{**options, "isolation_level": "read_uncommitted"})

    transport.reading_consumer = uncommitted


def answers_not_looked_at() -> None:
    """A batch that the broker refuses is taken for written, as aiokafka's own producer does."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    ask, transact = TransactionalWriter._ask_to_produce, TransactionalWriter._transact

    async def transacting(writer: Any, producer: int, batches: Any, offsets: Any, expected: Any) -> Any:
        writer.expected = expected
        return await transact(writer, producer, batches, offsets, expected)

    async def careless(writer: Any, node: int, topics: Any) -> Any:
        throttle, answers = writer._brokers.throttle, []
        throttle.note = answers.append
        try:
            return await ask(writer, node, topics)
        except KafkaError:
            # what the broker took is where it says; of what it refused it says no offset
            return {
                TopicPartition(topic, partition): offset if offset >= 0 else writer.expected[topic, partition]
                for topic, partitions, *_ in answers[-1].topics
                for partition, _, offset, *_ in partitions
            }
        finally:
            del throttle.note

    TransactionalWriter._transact = transacting
    TransactionalWriter._ask_to_produce = careless


def end_sent_again() -> None:
    """EndTxn is sent again until it is answered, as aiokafka's own producer does."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    original = TransactionalWriter._end

    async def persistent(writer: Any, producer: int) -> Any:
        while True:
            with contextlib.suppress(KafkaError, OSError):
                return await original(writer, producer)

    TransactionalWriter._end = persistent


def offsets_not_compared() -> None:
    """Where the broker put a batch is not looked at."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    original = TransactionalWriter.commit

    async def incurious(writer: Any, batches: Any, offsets: Any, expected: Any) -> None:
        await original(writer, batches, offsets, {})

    TransactionalWriter.commit = incurious


def producer_kept() -> None:
    """After an unknown outcome the same producer goes on, in the same epoch."""
    from annals.workers.kafka.write.transaction import TransactionalWriter

    original = TransactionalWriter.fence

    async def kept(writer: Any) -> None:
        if not hasattr(writer, "first"):
            await original(writer)
            writer.first = writer._producer_id
        writer._producer_id = writer.first

    TransactionalWriter.fence = kept


def ends_not_looked_at() -> None:
    """What the brokers say of the ends while a shard is open is not compared with what was known."""
    from annals.agents.writing.recovery.acknowledged import Acknowledged

    Acknowledged.is_less = lambda *_: False


def lost_end_taken_for_a_writer() -> None:
    """A batch that is put below the known end is taken for another writer's work: fence, and open again."""
    from annals.agents.ports import UncertainError
    from annals.workers.kafka.write import batches

    batches.LostEndError = lambda message, _: UncertainError(message)


ENDS_LOOKED_AT: Final = "ends looked at"
LOST_END: Final = "lost end"
WITH_A_KILLED_BROKER: Final = frozenset({ENDS_LOOKED_AT, LOST_END})  # their scenario is in test_lost_ends.py

MEASURES: Final[dict[str, Callable[[], None]]] = {
    "fence": no_fence,
    "fold proven": no_proof_of_the_fold,
    "transactional offset": no_transactional_offset,
    "deduplication": no_deduplication,
    "routing": no_routing,
    "reader's rule": no_readers_rule,
    "read_committed": reads_uncommitted,
    "await of every answer": answers_not_looked_at,
    "EndTxn sent once": end_sent_again,
    "contiguous offsets": offsets_not_compared,
    "new producer after an unknown outcome": producer_kept,
    ENDS_LOOKED_AT: ends_not_looked_at,
    LOST_END: lost_end_taken_for_a_writer,
}
