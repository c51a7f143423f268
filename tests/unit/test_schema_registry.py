"""The registration of schemas, against a stub that speaks the Confluent schema registry's protocol."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jsonschema import Draft202012Validator

from agents.aggregates import REGISTRY
from workers.published import published
from workers.schema_publisher import SchemaPublisher, publisher
from workers.schema_publisher.registry import RegistryUnreachableError, register
from workers.settings import Secret, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COUNT = len(list(published()))


class Registry:
    """Subjects with versions, ids by content, refusals as the real one words them."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[str]] = {}
        self.ids: dict[str, int] = {}
        self.requests = 0
        self.failures = 0
        self.refused: set[str] = set()
        self.authorization: str | None = None
        self.answered = asyncio.Event()

    async def post(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.authorization = request.headers.get("authorization")
        if self.failures:
            self.failures -= 1
            return web.json_response({"error_code": 50003, "message": "Error while forwarding"}, status=500)
        assert request.content_type == "application/vnd.schemaregistry.v1+json"
        body = await request.json()
        subject = request.match_info["subject"]
        if subject in self.refused:
            return web.json_response({"error_code": 42201, "message": "Invalid schema"}, status=422)
        assert body.keys() == {"schemaType", "schema"}
        assert body["schemaType"] == "JSON"
        Draft202012Validator.check_schema(json.loads(body["schema"]))
        versions = self.subjects.setdefault(subject, [])
        if body["schema"] not in versions:
            versions.append(body["schema"])
        if len(self.subjects) == COUNT:
            self.answered.set()
        return web.json_response({"id": self.ids.setdefault(body["schema"], len(self.ids) + 1)})


@pytest.fixture
async def registry() -> AsyncIterator[tuple[Registry, str]]:
    stub = Registry()
    app = web.Application()
    app.router.add_post("/api/subjects/{subject}/versions", stub.post)
    async with TestServer(app) as server:
        yield stub, str(server.make_url("/api/"))


def settings(url: str, **more: Any) -> Settings:
    return Settings(schema_registry_url=url, **more)


async def test_every_schema_is_registered_as_a_subject_of_its_type_and_version(registry: Any) -> None:
    stub, url = registry
    assert await register(settings(url), published()) == {}
    assert len(stub.subjects) == COUNT
    (text,) = stub.subjects["annals.agent.ModelConfigured.v1"]
    assert json.loads(text)["$id"] == "urn:annals:schema:agent:ModelConfigured:1"
    assert "annals.agent.ModelConfigured.v2" in stub.subjects
    assert stub.authorization is None


async def test_registering_again_adds_nothing(registry: Any) -> None:
    stub, url = registry
    few = list(published())[:5]
    await register(settings(url), few)
    await register(settings(url), few)
    assert {len(versions) for versions in stub.subjects.values()} == {1}
    assert len(stub.ids) == 5


async def test_a_schema_that_is_refused_is_named_and_the_others_are_registered(registry: Any) -> None:
    stub, url = registry
    stub.refused = {"annals.person.AddEmail.v1"}
    refused = await register(settings(url), published())
    assert list(refused) == ["annals.person.AddEmail.v1"]
    assert refused["annals.person.AddEmail.v1"].startswith("status 422: ")
    assert len(stub.subjects) == COUNT - 1


async def test_the_user_and_the_password_are_sent_and_never_shown(registry: Any) -> None:
    stub, url = registry
    own = settings(url, schema_registry_username="ada", schema_registry_password=Secret("hush"))
    await register(own, list(published())[:1])
    assert stub.authorization == "Basic " + base64.b64encode(b"ada:hush").decode()
    assert "hush" not in repr(own)


async def test_a_registry_that_does_not_answer_is_said_to_be_unreachable() -> None:
    with pytest.raises(RegistryUnreachableError):
        await register(settings("http://127.0.0.1:1"), published())


async def test_a_registry_in_trouble_is_asked_again_until_it_has_everything(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, url = registry
    stub.failures = 2
    monkeypatch.setattr(publisher, "FIRST_RETRY_S", 0.001)
    own = SchemaPublisher(settings(url), {}, REGISTRY)

    async def nothing() -> int:
        return 0

    monkeypatch.setattr(own, "to_topic", nothing)
    await asyncio.wait_for(own.run(), 60)
    assert stub.requests == COUNT + 2
    assert stub.answered.is_set()


async def test_without_a_registry_none_is_asked() -> None:
    assert await SchemaPublisher(Settings(), {}, REGISTRY).to_registry() == 0


@pytest.mark.parametrize("address", ["registry:8081", "ftp://registry", "http://", "https://ada:hush@registry"])
def test_an_address_that_is_none_is_refused_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match="ANNALS_SCHEMA_REGISTRY_URL") as caught:
        load_settings({}, {"ANNALS_SCHEMA_REGISTRY_URL": address})
    assert "hush" not in str(caught.value)
