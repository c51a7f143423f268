"""Which producer the brokers have for a transactional id: none where they have forgotten it.

Source: kafka.apache.org/protocol; KIP-664 (DescribeTransactions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka.client import CoordinationType
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

if TYPE_CHECKING:
    from annals.workers.kafka.write.brokers import Brokers

NOT_FOUND: Final = 105  # TRANSACTIONAL_ID_NOT_FOUND; aiokafka does not know it
_TEXT: Final = CompactString("utf-8")


class _TransactionsResponse(Response):
    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transaction_states",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", _TEXT),
                ("transaction_state", _TEXT),
                ("transaction_timeout_ms", Int32),
                ("transaction_start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeTransactions(RequestStruct):
    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(_TEXT)), ("tags", TaggedFields))


class _DescribeTransactionsRequest(Request[_DescribeTransactions]):
    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._id = transactional_id

    def build(self, request_struct_class: type[_DescribeTransactions]) -> _DescribeTransactions:
        return request_struct_class([self._id], {})


async def producer_of(brokers: Brokers, transactional_id: str) -> int | None:
    """Return the producer id that a transactional id has now; None where the brokers have forgotten it.

    Raises:
        KafkaError: the coordinator does not answer, or refuses.
    """
    request = _DescribeTransactionsRequest(transactional_id)
    answer = await brokers.ask_coordinator(CoordinationType.TRANSACTION, transactional_id, request)
    ((code, _, _, _, _, producer, *_),) = answer.transaction_states
    if code == NOT_FOUND:
        return None
    if code:
        raise for_code(code)(f"{transactional_id}: the broker does not say whose it is")
    return int(producer)
