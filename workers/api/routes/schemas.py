"""`GET /v1/schemas` and `/v1/schemas/{urn}`: the JSON Schemas that events' `ce_dataschema` names."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.problems import not_found
from annals.workers.api.http.routing import Answer, Call, NoParameters, Route, Scope
from annals.workers.registry import deciders
from annals.workers.schema_publisher.published import text_of, urns

CONTENT_TYPE: Final = "application/schema+json; charset=utf-8"
# A published version does not change; one that is unknown may come with the next release.
KEPT: Final = "private, max-age=86400"


class SchemaParameters(Struct, frozen=True):
    """Parameters of a schema."""

    urn: str


class Schemas(Struct, frozen=True):
    """The names of all schemas."""

    schemas: list[str]


def schema_routes() -> tuple[Route, ...]:
    """Return the routes of schemas."""
    return (
        Route("GET", "/v1/schemas", Scope.READ, "The names of all schemas.", NoParameters, Schemas, _all),
        Route(
            "GET",
            "/v1/schemas/{urn}",
            Scope.READ,
            "The JSON Schema of a type and version.",
            SchemaParameters,
            None,
            _one,
            content_types=("application/schema+json",),
        ),
    )


async def _all(call: Call) -> Answer:
    del call
    return json_answer(Schemas(list(urns(deciders()))))


async def _one(call: Call) -> Answer:
    text = await asyncio.to_thread(text_of, call.parameters.urn, deciders())
    if text is None:
        raise not_found("this release knows no schema of this name")
    return Answer(text, content_type=CONTENT_TYPE, headers={"cache-control": KEPT})
