"""JSON Schema 2020-12 of a command's or an event's data, made from its type: what is taken, and what is written.

A schema never refuses what is taken. Not all that is refused is said by it: check digits, the registries behind a
language or a content identifier, rules over several members (a region of the country, the id of a policy's target), two
spellings of one language in a set, the size of a free object (`x-max-dag-cbor-bytes`); and to JSON Schema 3.0 is an
integer, which it is not here. Personal members are marked `x-personal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from annals.schemas.json_schemas.examples import example_of
from annals.schemas.values.fields import MOST_BYTES

if TYPE_CHECKING:
    from annals.schemas.messages import Message

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
Role = Literal["command", "event", "wire"]

_FREE: Final = "FreeJson"
_FREE_MEMBERS: Final[Schema] = {
    "propertyNames": {"pattern": r"^(?!\$)"},
    "additionalProperties": {"$ref": f"#/$defs/{_FREE}"},
}
_FREE_JSON: Final[Schema] = {
    "description": "any JSON, but no member beginning with $: those are reserved",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string"},
        {"type": "array", "items": {"$ref": f"#/$defs/{_FREE}"}},
        {"type": "object", **_FREE_MEMBERS},
    ],
}


def urn(kind: str, name: str, version: int) -> str:
    """The name of a schema; an event's is its `ce_dataschema`."""
    return f"urn:annals:schema:{kind}:{name}:{version}"


class MessageSchema(NamedTuple):
    """The schema of one version of a command or event."""

    kind: str
    role: Role
    name: str
    version: int
    schema: Schema

    @property
    def urn(self) -> str:
        """Its name, which is its `$id`."""
        return urn(self.kind, self.name, self.version)

    @property
    def summary(self) -> str:
        """What its type says of itself; its name where that says nothing."""
        return str(self.schema.get("description", self.name))

    @property
    def path(self) -> str:
        """Its file, below the folder of all of them: `person/PersonRegistered.1.json`."""
        return f"{self.kind}/{self.name}.{self.version}.json"


def message_schema(
    kind: str, role: Role, message: type[Message], version: int, name: str | None = None
) -> MessageSchema:
    """The schema of a version, from the type that it has; `name` is the message's, where the type has another."""
    (root,), parts = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    whole = parts.pop(message.__name__, root)
    name = name or message.__name__
    definitions = {part: _plain(parts[part], role) for part in sorted(parts)}
    body = _plain(whole, role)
    if MOST_BYTES in str((body, definitions)):
        definitions[_FREE] = _FREE_JSON
    head = {"$schema": DIALECT, "$id": urn(kind, name, version)}
    body["title"] = name
    if role == "command" and (example := example_of(kind, message)) is not None:
        body["examples"] = [example]
    return MessageSchema(kind, role, name, version, head | body | ({"$defs": definitions} if definitions else {}))


def _plain(schema: Any, role: Role) -> Any:
    """What msgspec says, said shorter; in events, what has a default is always there."""
    if isinstance(schema, list):
        return [_plain(item, role) for item in schema]
    if not isinstance(schema, dict):
        return schema
    said = {key: _plain(value, role) for key, value in schema.items()}
    if MOST_BYTES in said:
        said |= _FREE_MEMBERS
    if role == "event" and isinstance(said.get("properties"), dict):
        _require_defaults(said)
    return _one_number(said)


def _require_defaults(part: Schema) -> None:
    """An event carries defaults as they were applied."""
    for name, member in part["properties"].items():
        if "default" in member:
            member.pop("default")
            part["required"] = [*part.get("required", ()), name]


def _one_number(schema: Schema) -> Schema:
    """`int | float` is kept as it was sent, and is one type to JSON."""
    arms = schema.get("anyOf")
    if arms is None or [arm.get("type") for arm in arms] != ["integer", "number"]:
        return schema
    whole, real = arms
    if whole | {"type": "number"} != real:
        return schema
    number: Schema = {key: value for key, value in schema.items() if key != "anyOf"}
    number.update(real)
    return number
