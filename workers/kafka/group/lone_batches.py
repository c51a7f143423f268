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
    for where, result in list(fetched.items()):
        records = getattr(getattr(result, "_partition_records", None), "_records", None)
        base = getattr(records, "lone_base", None)
        if records is None or base is None:
            continue
        state = assignment.state_value(where)
        if state.position == getattr(state, "read_to", None):
            continue
        del fetched[where]  # nobody takes it meanwhile
        try:
            records.is_misplaced = await _first_base(client, node, where, base - 1) == base
        except KafkaError:
            continue
        if assignment.active:
            state.read_to = state.position
            fetched[where] = result


async def _first_base(client: AIOKafkaClient, node: int, where: TopicPartition, offset: int) -> int | None:
    """Return the base offset of the batch that a broker sends for an offset; None where it sends none."""
    asked = [(where.topic, [(where.partition, offset, _LEAST_BYTES)])]
    answer = await client.send(node, QuickFetchRequest(_ANY, _ANY, _LEAST_BYTES, _UNCOMMITTED, asked))
    for _, partitions in answer.topics:
        for *_, data in partitions:
            if data and len(data) >= _BASE.size:
                return int(_BASE.unpack_from(data)[0])
    return None
