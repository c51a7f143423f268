"""The CloudEvents HTTP binding: an event as a request's headers and body, or several in one JSON array."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from annals.agents.publishing.records import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.publishing.records import Outgoing

JSON: Final = "application/json"
BATCH: Final = "application/cloudevents-batch+json"
# Printable ASCII but for the blank, '"' and '%', which the binding wants to have encoded.
AS_THEY_ARE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
ALSO_SENT: Final = frozenset({"content-type", "traceparent", "tracestate"})


class Request(NamedTuple):
    """What is posted, but for its signature. webhook_id: by which a receiver knows it again."""

    webhook_id: str
    headers: dict[str, str]
    body: bytes


def binary(outgoing: Outgoing) -> Request:
    """Return one event: its attributes are headers, its data the body."""
    headers = {}
    for name, value in outgoing.headers:
        if name.startswith(PREFIX):
            headers[f"ce-{name.removeprefix(PREFIX)}"] = quote(value, safe=AS_THEY_ARE)
        elif name in ALSO_SENT:
            headers[name] = quote(value, safe=AS_THEY_ARE + " %")
    return Request(headers["ce-id"], headers, outgoing.value)


def batched(events: Sequence[Outgoing]) -> Request:
    """Return several events in one body.

    Its id is of just these events: the id of the first of them would have a receiver that knows it pass over others,
    which come with it another time.
    """
    structured = [_structured(outgoing) for outgoing in events]
    ids: list[str] = [each["id"] for each in structured]
    webhook_id = ids[0] if len(ids) == 1 else f"batch-{sha256(' '.join(ids).encode()).hexdigest()}"
    body = b"[" + b",".join(map(_encoded, structured, events)) + b"]"
    return Request(webhook_id, {"content-type": BATCH}, body)


def _structured(outgoing: Outgoing) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in outgoing.headers:
        if name.startswith(PREFIX):
            found[name.removeprefix(PREFIX)] = value.decode(errors="replace")
        elif name == "content-type":
            found["datacontenttype"] = value.decode(errors="replace")
    return found


def _encoded(attributes: dict[str, Any], outgoing: Outgoing) -> bytes:
    """Return the JSON of an event; data that are JSON go in as they are, others in base64."""
    start = json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
    if attributes.get("datacontenttype") == JSON:
        return start + b',"data":' + outgoing.value + b"}"
    return start + b',"data_base64":"' + b64encode(outgoing.value) + b'"}'
