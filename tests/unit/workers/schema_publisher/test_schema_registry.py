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

from annals.agents.aggregates import REGISTRY
from annals.workers.schema_publisher import SchemaPublisher, publisher
from annals.workers.schema_publisher.published import published
from annals.workers.schema_publisher.registry import RegistryUnreachableError, register
from annals.workers.settings import Secret, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COUNT = len({(schema.kind, schema.name) for schema in published()})


class Registry:
    """Subjects with versions, settings of some, ids by content, refusals as the real one words them."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[str]] = {}
        self.settings: dict[str, str] = {}
        self.may_set = True
        self.ids: dict[str, int] = {}
        self.requests = 0
        self.failures = 0
        self.refused: dict[str, int] = {}  # by subject, from which number of versions on
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
        if len(self.subjects.get(subject, ())) >= self.refused.get(subject, 99):
            return web.json_response({"error_code": 42201, "message": "Invalid schema"}, status=422)
        assert body.keys() == {"schemaType", "schema"}
        assert body["schemaType"] == "JSON"
        Draft202012Validator.check_schema(json.loads(body["schema"]))
        assert subject in self.settings or not self.may_set
        versions = self.subjects.setdefault(subject, [])
        if body["schema"] not in versions:
            versions.append(body["schema"])
        if len(self.subjects) == COUNT:
            self.answered.set()
        return web.json_response({"id": self.ids.setdefault(body["schema"], len(self.ids) + 1)})

    async def get_setting(self, request: web.Request) -> web.Response:
        self.requests += 1
        subject = request.match_info["subject"]
        if subject in self.settings:
            return web.json_response({"compatibilityLevel": self.settings[subject]})
        message = f"Subject '{subject}' does not have subject-level compatibility configured"
        return web.json_response({"error_code": 40408, "message": message}, status=404)

    async def put_setting(self, request: web.Request) -> web.Response:
        self.requests += 1
        if not self.may_set:
            return web.json_response({"error_code": 40301, "message": "User is denied operation"}, status=403)
        assert request.content_type == "application/vnd.schemaregistry.v1+json"
        body = await request.json()
        self.settings[request.match_info["subject"]] = body["compatibility"]
        return web.json_response(body)

    def urns(self, subject: str) -> list[str]:
        """Of each version of a subject, in order, which schema it is."""
        return [json.loads(text)["$id"] for text in self.subjects[subject]]


@pytest.fixture
async def registry() -> AsyncIterator[tuple[Registry, str]]:
    stub = Registry()
    app = web.Application()
    app.router.add_post("/api/subjects/{subject}/versions", stub.post)
    app.router.add_get("/api/config/{subject}", stub.get_setting)
    app.router.add_put("/api/config/{subject}", stub.put_setting)
    async with TestServer(app) as server:
        yield stub, str(server.make_url("/api/"))


def settings(url: str, **more: Any) -> Settings:
    return Settings(schema_registry_url=url, **more)


async def test_every_type_is_a_subject_with_its_versions_in_order(registry: Any) -> None:
    stub, url = registry
    assert await register(settings(url), reversed(list(published()))) == {}
    assert len(stub.subjects) == COUNT
    urn = "urn:annals:schema:agent:ModelConfigured"
    assert stub.urns("annals.agent.ModelConfigured") == [f"{urn}:1", f"{urn}:2"]
    assert stub.urns("annals.wire.Command") == ["urn:annals:schema:wire:Command:1"]
    assert sum(map(len, stub.subjects.values())) == len(list(published()))
    assert stub.authorization is None


async def test_commands_of_old_senders_are_held_together_and_events_are_left_to_upcasters(registry: Any) -> None:
    stub, url = registry
    await register(settings(url), published())
    assert stub.settings["annals.person.RegisterPerson"] == "BACKWARD_TRANSITIVE"
    assert stub.settings["annals.wire.Command"] == "BACKWARD_TRANSITIVE"
    assert stub.settings["annals.agent.ModelConfigured"] == "NONE"
    assert stub.settings["annals.wire.Snapshot"] == "NONE"
    assert len(stub.settings) == COUNT


async def test_a_setting_that_somebody_made_stays(registry: Any) -> None:
    stub, url = registry
    stub.settings = {"annals.person.PersonRegistered": "FULL"}
    await register(settings(url), published())
    assert stub.settings["annals.person.PersonRegistered"] == "FULL"


async def test_who_may_not_set_anything_registers_all_the_same_and_is_told(registry: Any) -> None:
    stub, url = registry
    stub.may_set = False
    refused = await register(settings(url), published())
    assert len(stub.subjects) == len(refused) == COUNT
    assert refused["annals.person.AddEmail"].startswith("its compatibility: status 403: ")


async def test_registering_again_adds_nothing(registry: Any) -> None:
    stub, url = registry
    await register(settings(url), published())
    before = {subject: list(versions) for subject, versions in stub.subjects.items()}
    await register(settings(url), published())
    assert stub.subjects == before


async def test_an_older_release_that_starts_later_adds_nothing(registry: Any) -> None:
    stub, url = registry
    await register(settings(url), published())
    former = [schema for schema in published() if schema.name == "ModelConfigured" and schema.version == 1]
    assert await register(settings(url), former) == {}
    assert len(stub.subjects["annals.agent.ModelConfigured"]) == 2


async def test_a_schema_that_is_refused_is_named_and_the_others_are_registered(registry: Any) -> None:
    stub, url = registry
    stub.refused = {"annals.person.AddEmail": 0}
    refused = await register(settings(url), published())
    assert list(refused) == ["annals.person.AddEmail"]
    assert refused["annals.person.AddEmail"].startswith("version 1: status 422: ")
    assert len(stub.subjects) == COUNT - 1


async def test_behind_a_version_that_is_refused_there_is_none_that_would_take_its_number(registry: Any) -> None:
    stub, url = registry
    stub.refused = {"annals.agent.ModelConfigured": 0}
    refused = await register(settings(url), published())
    assert refused["annals.agent.ModelConfigured"].startswith("version 1: ")
    assert "annals.agent.ModelConfigured" not in stub.subjects
    stub.refused = {"annals.agent.ModelConfigured": 1}
    refused = await register(settings(url), published())
    assert refused["annals.agent.ModelConfigured"].startswith("version 2: ")
    assert len(stub.subjects["annals.agent.ModelConfigured"]) == 1


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
    assert stub.failures == 0
    assert stub.answered.is_set()


async def test_without_a_registry_none_is_asked() -> None:
    assert await SchemaPublisher(Settings(), {}, REGISTRY).to_registry() == 0


@pytest.mark.parametrize("address", ["registry:8081", "ftp://registry", "http://", "https://ada:hush@registry"])
def test_an_address_that_is_none_is_refused_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match="ANNALS_SCHEMA_REGISTRY_URL") as caught:
        load_settings({}, {"ANNALS_SCHEMA_REGISTRY_URL": address})
    assert "hush" not in str(caught.value)
