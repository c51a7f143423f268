"""A schema registry with Confluent's REST interface: one subject per type of message, its versions in order under it.

The subject is the record's full name (RecordNameStrategy), since the same event goes to several topics. What a
registry checks when a version is registered is set once, where the subject has no setting of its own:

- commands have one version; whoever sends in an older form of it must be understood: BACKWARD_TRANSITIVE;
- what else is written names its version, and readers take older ones through upcasters, which no comparison of two
  schemas knows of: NONE. Within a version `annals schemas check` holds them together, before they get here.

Source: docs.confluent.io, Schema Registry API, POST /subjects/{subject}/versions and /config/{subject}.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog

from annals.schemas.json_schemas.wire_schemas import WIRE
from annals.topics.schemas import schema_subject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.schemas.json_schemas.json_schema import MessageSchema
    from annals.workers.settings import Settings

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
ANSWER_WITHIN_S: Final = 10.0
SHOWN_CHARACTERS: Final = 300
RETRIED: Final = frozenset({408, 429})  # and all from 500 on: the registry's own trouble, not the schema's
SERVER_ERRORS: Final = 500
OK: Final = 200
NOT_FOUND: Final = 404


class RegistryUnreachableError(Exception):
    """The registry does not answer, or not as one; the message has its reason."""


async def register(settings: Settings, schemas: Iterable[MessageSchema]) -> dict[str, str]:
    """Register every schema; one that is there already stays. Return the subjects that were refused, with why.

    Of a subject the oldest version comes first; behind one that is refused nothing is registered, or its versions
    would have other numbers.

    Raises:
        RegistryUnreachableError: the registry does not answer.
    """
    base = (settings.schema_registry_url or "").rstrip("/")
    subjects: dict[str, list[MessageSchema]] = {}
    for schema in schemas:
        subjects.setdefault(schema_subject(schema.kind, schema.name), []).append(schema)
    refused: dict[str, str] = {}
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=_headers(settings)) as session:
        for subject, versions in subjects.items():
            why = await _set_compatibility(session, f"{base}/config/{subject}", versions[0])
            if why is not None:
                refused[subject] = f"its compatibility: {why}"
            for schema in sorted(versions, key=lambda each: each.version):
                why = await _register(session, f"{base}/subjects/{subject}/versions", schema)
                if why is not None:
                    refused[subject] = f"version {schema.version}: {why}"
                    break
    return refused


def compatibility(schema: MessageSchema) -> str:
    """What a registry is to check of a new version of this type; see above."""
    is_command = schema.role == "command" or (schema.kind == WIRE and schema.name == "Command")
    return "BACKWARD_TRANSITIVE" if is_command else "NONE"


def _headers(settings: Settings) -> dict[str, str]:
    """The content type, and the user and password where there is one (RFC 7617)."""
    headers = {"content-type": CONTENT_TYPE}
    if settings.schema_registry_username is not None:
        password = settings.schema_registry_password
        pair = f"{settings.schema_registry_username}:{password.reveal() if password else ''}"
        headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return headers


async def _set_compatibility(session: aiohttp.ClientSession, url: str, schema: MessageSchema) -> str | None:
    """None when the subject has a setting, its own or now ours; else why not."""
    status, text = await _ask(session, "GET", url)
    if status == NOT_FOUND:
        status, text = await _ask(session, "PUT", url, {"compatibility": compatibility(schema)})
    return None if status == OK else f"status {status}: {text}"


async def _register(session: aiohttp.ClientSession, url: str, schema: MessageSchema) -> str | None:
    """None when it is registered, else why not."""
    status, text = await _ask(session, "POST", url, {"schemaType": "JSON", "schema": json.dumps(schema.schema)})
    return None if status == OK else f"status {status}: {text}"


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, body: dict[str, str] | None = None
) -> tuple[int, str]:
    """Return the status and the beginning of the answer's text."""
    try:
        data = None if body is None else json.dumps(body)
        async with session.request(method, url, data=data, allow_redirects=False) as answer:
            text = (await answer.content.read(4 * SHOWN_CHARACTERS)).decode(errors="replace")[:SHOWN_CHARACTERS]
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise RegistryUnreachableError(f"{type(error).__name__}: {error}") from error
    if status in RETRIED or status >= SERVER_ERRORS:
        raise RegistryUnreachableError(f"status {status}: {text}")
    return status, text
