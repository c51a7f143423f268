"""docs/reference/http-api.md, from the routes that the API serves."""

from __future__ import annotations

from typing import Any

from annals.workers.api.http.openapi import EVERY_ANSWER, EVERY_ROUTE, OpenApi
from annals.workers.api.service import described_of_all
from generator.markdown import code, table

INTRO = """# HTTP API

Every worker with the role `read` answers for all, on `ANNALS_API_HOST` and `ANNALS_API_PORT`. `GET /v1/openapi.json`
describes the same for programs (OpenAPI 3.1), `/docs` shows it as a page. [Secure the
API](../how-to/secure-the-api.md) says who may ask what.

Answers are JSON; integers go up to 2^64-1, floats are exact. An event is what `annals events` prints. Ids in paths
are percent-encoded. Parameters that are unknown, repeated or wrong are 400 with `errors: [{path, message}]`, at most
100. `next` is a path with query, or null. A page may be empty while `next` is not null: where partitions are
`missing` or `stale`, wait a second before you follow it. `x-request-id` is taken from the request, or made; it is in
the answer, in the log and in `instance` of a problem. Where an answer has an `ETag` and 304 is among its statuses,
who has it already sends that in `If-None-Match`. Answers of 1,400 bytes or more are compressed for who accepts gzip.

With `ANNALS_STANDBY_REPLICAS` a standby answers for a partition while its owner does not, or has not read its journal
yet; it may be behind. Answers over partitions name it in `stale`, with the reason `standby`. Answers about one
aggregate have `stale: [{kind, partition, reason}]` and `position` then, which says up to where it has read; a CAR has
the header `annals-stale`. What a standby has not read is waited for with `expect` and `expect_at_least`, and is missing
behind a cursor. Snapshots are kept and removed by owners alone.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems (`application/problem+json`), their `type`
`urn:annals:problem:<code>`:
"""
CODES = {
    "invalid_request": "400",
    "bad_cursor": "400",
    "unauthorized": "401",
    "forbidden": "403",
    "target_not_permitted": "403: a replay may not write there",
    "topic_not_permitted": "403: the worker may not create or write the topics that it names",
    "not_found": "404",
    "method_not_allowed": "405",
    "request_timeout": "408",
    "version_conflict, head_conflict": "409: of a command",
    "version_in_use": "409: that version of a projection answers, or there is none to turn to",
    "start_is_past": "409: a subscription goes on where it is",
    "retention_is_past, retention_differs": "409: how long a topic keeps events is decided when it is made",
    "delivery_is_past": "409: what is not settled would be forgotten or overtaken",
    "not_acknowledged": "409: the subscription has no acknowledgements",
    "etag_missing, etag_differs": "412: `If-Match` is needed, or is not the ETag of what is there",
    "too_large": "413; 422 for a command's events, or for a subscription",
    "unsupported_media_type": "415",
    "misdirected_request": "421: of one worker to another, which is not the one that was meant",
    "invalid_subscription, invalid_ack": "422: `errors` names the members",
    "partitions_differ": "422: the kinds of a subscription do not have the same number of partitions",
    "another code of an outcome": "422",
    "too_many_requests": "429",
    "internal_error, broken_chain, unreadable_event": "500",
    "not_ready": "503",
    "timeout": "504",
}


def page() -> str:
    """Return the page."""
    document = OpenApi(described_of_all(), is_open=False).document()
    parts = [INTRO, table(["code", "status"], [[code(name), status] for name, status in CODES.items()])]
    parts.append("Routes have these statuses, beside their own:\n")
    parts.append(table(["status", "when"], [[str(status), why] for status, why in EVERY_ROUTE.items()]))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    return "\n".join(parts)


def _operation(name: str, operation: dict[str, Any]) -> list[str]:
    parts = [f"## {code(name)}\n", f"{operation['summary']} {operation['description']}\n"]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            [code(each["name"]), each["in"], _type(each["schema"]), each.get("description", "")] for each in parameters
        ]
        parts.append(table(["parameter", "in", "type", "what"], rows))
    if "requestBody" in operation:
        parts.append(f"Body: {_named(operation['requestBody']['content'])}.\n")
    own = {status: answer for status, answer in operation["responses"].items() if int(status) not in EVERY_ROUTE}
    for status, answer in own.items():
        if status.startswith("2"):
            parts.append(f"{status}: {_named(answer.get('content', {})) or 'no body'}.\n")
            headers = [name for name in answer["headers"] if name not in EVERY_ANSWER]
            parts += [f"- {code(name)}: {answer['headers'][name]['description']}\n" for name in headers]
        else:
            parts.append(f"{status}: {answer['description']}\n")
    return parts


def _named(content: dict[str, Any]) -> str:
    names = [
        f"{code(media['schema']['$ref'].rpartition('/')[2])}"
        if "$ref" in media.get("schema", {})
        else code(content_type)
        for content_type, media in content.items()
    ]
    return ", or ".join(names)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(code(str(each)) for each in schema["enum"])
    if "items" in schema:
        return f"{_type(schema['items'])}, repeatable"
    words = [str(schema.get("format", schema.get("type", "")))]
    bounds = [schema.get("minimum"), schema.get("maximum")]
    if None not in bounds:
        words.append(f"{bounds[0]} to {bounds[1]}")
    if "default" in schema:
        words.append(f"({schema['default']})")
    return " ".join(words)
