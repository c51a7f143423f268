"""A worker's `GET /v1/schemas/{urn}`: what `ce_dataschema` names can be had from any worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from annals.workers.schema_publisher.published import find
from annals.workers.telemetry import Metrics
from annals.workers.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WITHIN_S = 20.0
NAME = "urn:annals:schema:person:PersonRegistered:1"


@pytest.fixture
async def schemas_at() -> AsyncIterator[str]:
    server = WebServer("127.0.0.1", 0, Metrics(), list)
    port = await server.start()
    yield f"http://127.0.0.1:{port}/v1/schemas/"
    await server.stop()


async def test_a_schema_is_found_by_its_urn(schemas_at: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(schemas_at + NAME) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/schema+json; charset=utf-8"
        schema = find(NAME)
        assert schema is not None
        assert await answer.json(content_type=None) == schema.schema


@pytest.mark.parametrize(
    "name",
    [
        "urn:annals:schema:person:PersonRegistered:2",
        "urn:annals:schema:person:PersonRegistered:01",
        "urn:annals:schema:planet:PersonRegistered:1",
        "urn:annals:schema:person:Nothing:1",
        "..%2F..%2Fperson.py",
        "x",
    ],
)
async def test_what_there_is_not_is_not_found(schemas_at: str, name: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(schemas_at + name) as answer:
        assert answer.status == 404
        assert "knows no schema" in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("line", "status", "allowed"),
    [
        ("FOO /health/ready?role=read HTTP/1.1", 405, "GET,HEAD"),
        ("foo /metrics HTTP/1.0", 405, "GET,HEAD"),
        (f"FOO /v1/schemas/{NAME} HTTP/1.1", 405, "GET,HEAD"),
        ("DELETE /health/live HTTP/1.1", 405, "GET,HEAD"),
        ("FOO /health HTTP/1.1", 404, None),
        ("FOO /v1/schemas/a/b HTTP/1.1", 404, None),
        ("FOO", 400, None),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_405(
    schemas_at: str, line: str, status: int, allowed: str | None
) -> None:
    port = int(schemas_at.split(":")[2].partition("/")[0])
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{line}\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        head = (await reader.read()).partition(b"\r\n\r\n")[0].decode()
        writer.close()
    first, *rest = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
    assert (first.split(" ")[1], headers.get("allow")) == (str(status), allowed)
