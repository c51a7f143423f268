"""The error codes of Kafka's protocol that the model gives (kafka.apache.org/protocol, "Error codes")."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What a broker says of a request."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    NOT_ENOUGH_REPLICAS = 19
    INVALID_TIMESTAMP = 32
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    CONCURRENT_TRANSACTIONS = 51
    PRODUCER_FENCED = 90
