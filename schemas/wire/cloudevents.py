"""A command that comes as a CloudEvent (1.0, Kafka protocol binding), structured or binary.

Its attributes are the command's members under CloudEvents' own kind of names; attributes that mean nothing here are
passed over, as CloudEvents asks of every receiver.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from annals.schemas.envelope import Command
from annals.schemas.wire.attributes import Trace, command_of
from annals.schemas.wire.dead_letter import BAD_CLOUDEVENT, NOT_AN_OBJECT, NOT_JSON, DeadLetter
from annals.schemas.wire.strict_json import Fault, Flaw, NotJsonError, parse_strict

Headers = Sequence[tuple[str, bytes | None]]

SPECVERSION: Final = "1.0"
NAMES: Final = {
    "id": "id",
    "type": "type",
    "aggregate_id": "subject",
    "data": "data",
    "expected_version": "expectedversion",
    "expected_head": "expectedhead",
    "correlation_id": "correlationid",
    "causation_id": "causationid",
    "actor": "actor",
    "issued_at": "time",
}
"""The attribute that each member of a command is."""

_ATTRIBUTES: Final = {member: name for member, name in NAMES.items() if member != "data"}
_ANY_FORMAT: Final = "application/cloudevents"
_JSON_FORMAT: Final = "application/cloudevents+json"
_JSON_MEDIA_TYPE: Final = re.compile(r"[^/;]+/(?:json|[^/;]+\+json)[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
# An Integer attribute as text (CloudEvents 1.0.2, "Type System").
_INTEGER: Final = re.compile("0|[1-9][0-9]{0,19}")


def read_cloudevent(value: bytes | None, headers: Headers, trace: Trace) -> Command | DeadLetter | None:
    """Return the command in a CloudEvent, why it cannot be one, or None for a record that is no CloudEvent."""
    by_name = dict(headers)  # the last of a name
    content_type = (by_name.get("content-type") or b"").decode(errors="replace").strip().lower()
    if content_type.startswith(_JSON_FORMAT):
        return _read_structured(value, trace)
    if content_type.startswith(_ANY_FORMAT):
        return DeadLetter(BAD_CLOUDEVENT, f"of CloudEvents' formats only {_JSON_FORMAT} is taken here")
    if "ce_specversion" in by_name:
        return _read_binary(value, by_name, content_type, trace)
    return None


def _read_structured(value: bytes | None, trace: Trace) -> Command | DeadLetter:
    try:
        document = parse_strict(value or b"")
    except NotJsonError as error:
        return DeadLetter(NOT_JSON, str(error))
    event = document.value
    if not isinstance(event, dict):
        return DeadLetter(NOT_AN_OBJECT, "a structured CloudEvent is a JSON object")
    content_type = event.get("datacontenttype")
    if content_type is not None and not (isinstance(content_type, str) and _is_json(content_type)):
        return DeadLetter(BAD_CLOUDEVENT, "datacontenttype must name JSON, or be left out")
    if event.get("data_base64") is not None:
        return DeadLetter(BAD_CLOUDEVENT, "data_base64 is for data that is not JSON: a command's goes into data")
    return _command(event, event.get("data"), document.faults, trace)


def _read_binary(
    value: bytes | None, headers: Mapping[str, bytes | None], content_type: str, trace: Trace
) -> Command | DeadLetter:
    if content_type and not _is_json(content_type):
        return DeadLetter(BAD_CLOUDEVENT, "content-type must name JSON, or be left out")
    event: dict[str, Any] = {}
    faults: list[Fault] = []
    for name in ("specversion", *_ATTRIBUTES.values()):
        text = headers.get(f"ce_{name}")
        if text is not None:
            try:
                event[name] = text.decode()
            except UnicodeDecodeError:
                event[name] = Flaw("must be UTF-8")
                faults.append((name, "must be UTF-8"))
    try:
        document = parse_strict(value or b"", is_data=True)
    except NotJsonError as error:
        return DeadLetter(BAD_CLOUDEVENT, f"the data is not JSON: {error}")
    return _command(event, document.value, [*faults, *document.faults], trace)


def _command(event: Mapping[str, Any], data: Any, faults: Sequence[Fault], trace: Trace) -> Command | DeadLetter:
    if event.get("specversion") != SPECVERSION:
        return DeadLetter(BAD_CLOUDEVENT, f"specversion must be {SPECVERSION}")
    if not isinstance(event.get("type"), str) or not event["type"]:
        return DeadLetter(BAD_CLOUDEVENT, "type must be given: the command's bare name")
    values = {member: event.get(name) for member, name in _ATTRIBUTES.items()}
    version = values["expected_version"]
    if isinstance(version, str) and _INTEGER.fullmatch(version):
        values["expected_version"] = int(version)
    command = command_of({**values, "data": data}, faults, trace, NAMES)
    return DeadLetter(BAD_CLOUDEVENT, command.message) if isinstance(command, DeadLetter) else command


def _is_json(content_type: str) -> bool:
    return _JSON_MEDIA_TYPE.fullmatch(content_type) is not None
