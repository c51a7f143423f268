"""`GET /v1/schemas/{urn}`: the JSON Schema that an event's `ce_dataschema` names, from any worker."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from annals.workers.registry import deciders
from annals.workers.schema_publisher.published import text_of

PATH: Final = "/v1/schemas/{urn}"
CONTENT_TYPE: Final = "application/schema+json"
# A published version does not change; one that is unknown may come with the next release.
KEPT: Final = "public, max-age=86400"


async def schema(request: web.Request) -> web.Response:
    """Answer with the schema, or 404."""
    name = request.match_info["urn"]
    text = await asyncio.to_thread(text_of, name, deciders())
    if text is None:
        return web.json_response({"error": f"this release knows no schema {name}"}, status=404)
    return web.Response(body=text, content_type=CONTENT_TYPE, charset="utf-8", headers={"cache-control": KEPT})
