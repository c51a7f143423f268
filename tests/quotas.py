"""Quotas of a real broker, set as `kafka-configs.sh` sets them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from io import BytesIO
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.types import Array, Boolean, Float64, Int8, Int16, Int32, Schema, String

from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.wire_requests import EncodedRequest

WORKERS = f"aiokafka-{version('aiokafka')}"  # the client id of every worker
WITHIN_S = 60.0
TEXT = String("utf-8")
ENTITY = Array(("type", TEXT), ("name", TEXT))
ASKED = Schema(
    ("entries", Array(("entity", ENTITY), ("ops", Array(("key", TEXT), ("value", Float64), ("remove", Boolean))))),
    ("validate_only", Boolean),
)
ANSWERED = Schema(
    ("throttle_time_ms", Int32),
    ("entries", Array(("error_code", Int16), ("error_message", TEXT), ("entity", ENTITY))),
)


WHOSE = Schema(("components", Array(("type", TEXT), ("match", Int8), ("name", TEXT))), ("strict", Boolean))
TOLD = Schema(
    ("throttle_time_ms", Int32),
    ("error_code", Int16),
    ("error_message", TEXT),
    ("entries", Array(("entity", ENTITY), ("values", Array(("key", TEXT), ("value", Float64))))),
)
EXACTLY = 0


class Answer:
    """What became of the quotas."""

    @classmethod
    def decode(cls, data: BytesIO) -> Any:
        return ANSWERED.decode(data)


class Told:
    """What quotas there are."""

    @classmethod
    def decode(cls, data: BytesIO) -> Any:
        return TOLD.decode(data)


class DescribeClientQuotasRequest(EncodedRequest):
    """DescribeClientQuotas, version 0, for one client id."""

    API_KEY = 48
    API_VERSION = 0
    IS_FLEXIBLE = False
    RESPONSE_TYPE = Told

    def __init__(self, client: str) -> None:
        super().__init__(WHOSE.encode(([("client-id", EXACTLY, client)], True)))


class AlterClientQuotasRequest(EncodedRequest):
    """AlterClientQuotas, version 0, for one client id; None removes a quota."""

    API_KEY = 49
    API_VERSION = 0
    IS_FLEXIBLE = False
    RESPONSE_TYPE = Answer

    def __init__(self, client: str, quotas: dict[str, float | None]) -> None:
        ops = [(key, value or 0.0, value is None) for key, value in quotas.items()]
        super().__init__(ASKED.encode(([([("client-id", client)], ops)], False)))


async def alter(bootstrap: str, client: str, **quotas: float | None) -> None:
    """Set quotas; return when the broker goes by them: the controller has them, and answers, a moment before."""
    connection = await connect({"bootstrap_servers": bootstrap}, [])
    try:
        node = next(iter(connection.cluster.brokers())).nodeId
        _, entries = await connection.send(node, AlterClientQuotasRequest(client, quotas))
        assert [code for code, *_ in entries] == [0]
        wanted = {key: value for key, value in quotas.items() if value is not None}
        async with asyncio.timeout(WITHIN_S):
            while await _told(connection, node, client, quotas) != wanted:
                pass
    finally:
        await connection.close()


async def _told(connection: AIOKafkaClient, node: int, client: str, names: Collection[str]) -> dict[str, float]:
    """Of these quotas, those that a client id has."""
    _, code, _, entries = await connection.send(node, DescribeClientQuotasRequest(client))
    assert code == 0
    return {key: value for _, values in entries or () for key, value in values if key in names}


@asynccontextmanager
async def limited(bootstrap: str, client: str, **quotas: float) -> AsyncIterator[None]:
    """A client id with quotas, for as long as this lasts."""
    await alter(bootstrap, client, **quotas)
    try:
        yield
    finally:
        await alter(bootstrap, client, **dict.fromkeys(quotas))
