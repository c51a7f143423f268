"""A schema registry with Confluent's REST interface: each version of a message is a subject, of type JSON.

A version is a subject of its own, since its number is part of a message's type here: what a registry calls the next
version of a subject would be held to a compatibility that upcasters make unnecessary.
Source: docs.confluent.io, Schema Registry API, POST /subjects/{subject}/versions.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog

from topics.schemas import schema_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.json_schema import MessageSchema
    from workers.settings import Settings

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
ANSWER_WITHIN_S: Final = 10.0
SHOWN_CHARACTERS: Final = 300
RETRIED: Final = frozenset({408, 429})  # and all from 500 on: the registry's own trouble, not the schema's
SERVER_ERRORS: Final = 500
OK: Final = 200


class RegistryUnreachableError(Exception):
    """The registry does not answer, or not as one; the message has its reason."""


async def register(settings: Settings, schemas: Iterable[MessageSchema]) -> dict[str, str]:
    """Register every schema; one that is there already stays. Return those that were refused, by subject, with why.

    Raises:
        RegistryUnreachableError: the registry does not answer.
    """
    base = (settings.schema_registry_url or "").rstrip("/")
    refused: dict[str, str] = {}
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(settings)) as session:
        for schema in schemas:
            subject = schema_key(schema.kind, schema.name, schema.version)
            why = await _register(session, f"{base}/subjects/{subject}/versions", schema)
            if why is not None:
                refused[subject] = why
    return refused


def _headers(settings: Settings) -> dict[str, str]:
    """The content type, and the user and password where there is one (RFC 7617)."""
    headers = {"content-type": CONTENT_TYPE}
    if settings.schema_registry_username is not None:
        password = settings.schema_registry_password
        pair = f"{settings.schema_registry_username}:{password.reveal() if password else ''}"
        headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return headers


async def _register(session: aiohttp.ClientSession, url: str, schema: MessageSchema) -> str | None:
    """None when it is registered, else why not."""
    body = json.dumps({"schemaType": "JSON", "schema": json.dumps(schema.schema)})
    try:
        async with session.post(url, data=body) as answer:
            text = (await answer.text())[:SHOWN_CHARACTERS]
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise RegistryUnreachableError(f"{type(error).__name__}: {error}") from error
    if status in RETRIED or status >= SERVER_ERRORS:
        raise RegistryUnreachableError(f"status {status}: {text}")
    return None if status == OK else f"status {status}: {text}"
