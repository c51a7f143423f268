"""Quotas of a real broker, set as `kafka-configs.sh` sets them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from io import BytesIO
from typing import Any

from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

from annals.workers.kafka.connections import connect
from annals.workers.kafka.protocol.wire_requests import EncodedRequest

WORKERS = f"aiokafka-{version('aiokafka')}"  # the client id of every worker
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


class Answer:
    """What became of the quotas."""

    @classmethod
    def decode(cls, data: BytesIO) -> Any:
        return ANSWERED.decode(data)


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
    connection = await connect({"bootstrap_servers": bootstrap}, [])
    try:
        node = next(iter(connection.cluster.brokers())).nodeId
        _, entries = await connection.send(node, AlterClientQuotasRequest(client, quotas))
        assert [code for code, *_ in entries] == [0]
    finally:
        await connection.close()


@asynccontextmanager
async def limited(bootstrap: str, client: str, **quotas: float) -> AsyncIterator[None]:
    """A client id with quotas, for as long as this lasts."""
    await alter(bootstrap, client, **quotas)
    try:
        yield
    finally:
        await alter(bootstrap, client, **dict.fromkeys(quotas))
