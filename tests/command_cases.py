"""How a bad command is written down: the record, and the answer that it must get."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

MAX_COMMAND_BYTES: Final = 1_000_000
Headers = tuple[tuple[str, bytes | None], ...]


class DeadLettered(NamedTuple):
    """It cannot be read as a command."""

    reason: str


class Rejected(NamedTuple):
    """It is answered: with this error code and exactly these details."""

    code: str
    details: Mapping[str, Any]


class Accepted(NamedTuple):
    """It only looks bad."""


class Case(NamedTuple):
    """A record on `commands.person`, and what must become of it."""

    name: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    expected: DeadLettered | Rejected | Accepted


OWN: Final = object()
ADA: Final = {"name": "Ada Lovelace"}


def invalid(*errors: tuple[str, str]) -> Rejected:
    """The command is answered, and each of these members is named."""
    listed = [{"path": path, "message": message} for path, message in errors[:20]]
    return Rejected("invalid_command", {"errors": listed, "more": max(0, len(errors) - 20)})


def whole(name: str, **members: Any) -> dict[str, Any]:
    """A command with nothing wrong but these members; `...` takes one out."""
    command = {"id": name, "type": "RegisterPerson", "aggregate_id": f"p-{name}", "data": ADA, **members}
    return {member: value for member, value in command.items() if value is not ...}


def case(name: str, expected: DeadLettered | Rejected | Accepted, **members: Any) -> Case:
    """A case whose value is JSON as Python writes it."""
    return raw(name, expected, json.dumps(whole(name, **members)))


def raw(
    name: str,
    expected: DeadLettered | Rejected | Accepted,
    value: str | bytes | None,
    key: Any = OWN,
    headers: Headers = (),
) -> Case:
    """A case whose value is this text; in it ENVELOPE stands for `id`, `type` and `aggregate_id`."""
    if isinstance(value, str):
        envelope = json.dumps(whole(name, data=...))[1:-1]
        value = value.replace("ENVELOPE", envelope).encode()
    return Case(name, f"p-{name}".encode() if key is OWN else key, value, headers, expected)


def structured(name: str, expected: DeadLettered | Rejected | Accepted, **attributes: Any) -> Case:
    """A case that is a CloudEvent in structured mode."""
    event = {"specversion": "1.0", "id": name, "source": "/tests", "type": "RegisterPerson", "subject": f"p-{name}"}
    event |= {"data": ADA, **attributes}
    value = json.dumps({attribute: text for attribute, text in event.items() if text is not ...})
    return raw(name, expected, value, headers=(("content-type", b"application/cloudevents+json; charset=utf-8"),))


def binary(
    name: str, expected: DeadLettered | Rejected | Accepted, value: bytes | None = None, **attributes: bytes | None
) -> Case:
    """A case that is a CloudEvent in binary mode; `content_type` stands for that header."""
    headers = {"ce_specversion": b"1.0", "ce_id": name.encode(), "ce_type": b"RegisterPerson", "ce_source": b"/tests"}
    headers |= {"ce_subject": f"p-{name}".encode(), "content-type": attributes.pop("content_type", b"application/json")}
    headers |= {f"ce_{attribute}": text for attribute, text in attributes.items()}
    given = tuple((header, text) for header, text in headers.items() if text != b"-")
    return raw(name, expected, value if value is not None else json.dumps(ADA), headers=given)


def deep(levels: int, inner: str = "1") -> str:
    """Lists in lists."""
    return "[" * levels + inner + "]" * levels
