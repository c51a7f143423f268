"""A batch that comes alone, where nobody has read what is before it: is it where it says?

A disk that changes a base offset, which is in no checksum, puts a batch in the place of a later one. Other batches of
the answer say so (`annals.workers.kafka.group.header_names`), and whoever has read up to there has met it. One that
comes alone, as a large one or the last of a segment does, is proven by the offset before it: a broker that is asked for
that sends what has it, and the batch itself where that was led forward.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from annals.workers.kafka.protocol.fetches import QuickFetchRequest

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

_BASE: Final = Struct(">q")
_ANY, _UNCOMMITTED, _LEAST_BYTES = 0, 0, 1


async def prove_lone(client: AIOKafkaClient, node: int, assignment: Any, fetched: dict[TopicPartition, Any]) -> None:
    """Prove what came alone, and have it told where it is not in its place; what cannot be asked is fetched again.

    fetched: what consumers take from, by partition: aiokafka's results, and its errors.
    """
    doubtful = {
        where: result for where, result in fetched.items() if _is_doubtful(assignment.state_value(where), result)
    }
    for where in doubtful:
        del fetched[where]  # nobody takes it meanwhile
    for where, result in doubtful.items():
        there = result._partition_records  # noqa: SLF001 - it tells nobody
        base = there._records.lone_base  # noqa: SLF001 - the same
        try:
            there._records.is_misplaced = await _first_base(client, node, where, base - 1) == base  # noqa: SLF001
        except KafkaError:
            return  # those behind it are fetched again, too: to wait for a broker that is gone takes long for each
        if not assignment.active or where in fetched:  # that of who leads it now
            continue
        if not there._records.is_misplaced:  # noqa: SLF001 - else it is asked about at each look
            assignment.state_value(where).read_to = there.next_fetch_offset
        fetched[where] = result


def _is_doubtful(state: Any, result: Any) -> bool:
    """Whether nothing was taken of a result yet, and nobody knows whether its first batch is in its place."""
    there: Any = getattr(result, "_partition_records", None)
    is_lone = getattr(getattr(there, "_records", None), "lone_base", None) is not None
    return is_lone and there.next_fetch_offset != getattr(state, "read_to", None)


async def _first_base(client: AIOKafkaClient, node: int, where: TopicPartition, offset: int) -> int | None:
    """Return the base offset of the batch that a broker sends for an offset; None where it sends none."""
    asked = [(where.topic, [(where.partition, offset, _LEAST_BYTES)])]
    answer = await client.send(node, QuickFetchRequest(_ANY, _ANY, _LEAST_BYTES, _UNCOMMITTED, asked))
    for _, partitions in answer.topics:
        for *_, data in partitions:
            if data and len(data) >= _BASE.size:
                return int(_BASE.unpack_from(data)[0])
    return None
