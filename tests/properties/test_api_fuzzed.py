"""Requests made from the API's own description: no server error, and each answer as it is described."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annals.agents.reading.gathering.all_shards import AllShards
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.routes.commands import CommandRoutes
from annals.workers.api.routes.correlations import CorrelationRoutes
from annals.workers.api.routes.events import EventRoutes
from annals.workers.api.routes.listed import ListRoutes
from annals.workers.api.routes.schemas import schema_routes
from annals.workers.api.routes.snapshots import SnapshotRoutes
from annals.workers.api.routes.stats import StatsRoutes
from annals.workers.registry import deciders
from api_commands import Broker
from api_serving import Alone, Audit, reading, serving
from chained import chain

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = 12
WITHIN_S = 60
# A server error is a finding, but for these: a partition that nobody reads (503), an event that does not come (504).
NOT_HERE = {503, 504}
WAITING = ("wait", "expect", "expect_at_least")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """An API that runs in a thread of its own, since schemathesis asks in this one."""
    started: Any = threading.Event()
    loop = asyncio.new_event_loop()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            events: Any = {kind: chain("p-1", 3) if kind == "person" else [] for kind in deciders()}
            shards, _ = await stack.enter_async_context(reading(**events))
            everywhere = AllShards(shards._reading, Alone(), None, deciders())  # type: ignore[arg-type]
            routes = [
                *AggregateRoutes(shards).routes(),
                *EventRoutes(everywhere).routes(),
                *ListRoutes(everywhere).routes(),
                *CorrelationRoutes(everywhere).routes(),
                *SnapshotRoutes(shards).routes(),
                *StatsRoutes(shards).routes(),
                *schema_routes(),
                *CommandRoutes(Broker(), 1_000_000).routes(),
            ]
            found["api"] = await stack.enter_async_context(serving(routes, audit=Audit()))
            found["stop"] = asyncio.Event()
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(WITHIN_S)
    yield f"http://127.0.0.1:{found['api'].port}"
    loop.call_soon_threadsafe(found["stop"].set)
    thread.join(WITHIN_S)
    loop.close()


def test_no_request_of_the_description_finds_a_defect(base_url: str) -> None:
    document = requests.get(f"{base_url}/v1/openapi.json", timeout=WITHIN_S).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = base_url
    operations = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) == len([1 for path in document["paths"].values() for _ in path])
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    cases = st.one_of(*[operation.as_strategy(generation_mode=mode) for operation in operations for mode in modes])

    @settings(
        max_examples=EXAMPLES * len(operations),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        if case.query and not case.query.keys().isdisjoint(WAITING):  # what is not there would take all of 10 s
            case.query["wait"] = 0
        if case.query and case.query.get("follow") == "1":  # a stream has no end
            del case.query["follow"]
        answer = case.call()
        assert answer.status_code < 500 or answer.status_code in NOT_HERE, answer.text
        assert str(answer.status_code) in case.operation.definition.raw["responses"], answer.text
        case.operation.validate_response(answer)

    ask()
