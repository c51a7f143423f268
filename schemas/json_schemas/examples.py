"""An example of a command's data, made from its type: its required members; where there are none, the optional ones.

It is for people and for those who try a schema: each value is of its member's type, and the whole is valid. A rule that
depends on the aggregate's history may still refuse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from annals.schemas.data.validation import Validator
from annals.schemas.values import fields
from annals.schemas.values.constraints import is_union, marks_of, type_hints

if TYPE_CHECKING:
    from annals.schemas.messages import Message

Json = dict[str, Any]

_TYPES: Final = (
    (fields.Date, "1815-12-10"),
    (fields.Time, "2026-12-01T09:30:00Z"),
    (fields.Email, "ada@example.org"),
    (fields.Phone, "+4930123456"),
    (fields.Url, "https://example.org/"),
    (fields.Language, "en"),
    (fields.TimeZone, "Europe/Berlin"),
    (fields.Country, "DE"),
    (fields.Region, "DE-BE"),
    (fields.License, "CC-BY-4.0"),
    (fields.MediaType, "application/pdf"),
    (fields.Lei, "5493001KJTIIGC8Y1R12"),
    (fields.ContentCid, "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"),
    (fields.LongText, "In a few words."),
    (fields.Prompt, "You are an assistant."),
)
_TEXTS: Final = {"reason": "as agreed", "description": "In a few words.", "until": "2027-12-01T09:30:00Z"}
_NAMES: Final = {
    "person": "Ada Lovelace",
    "organization": "Analytical Engines",
    "agent": "scout",
    "location": "Berlin office",
    "policy": "Keeping of records",
    "document": "Annual report",
    "workflow": "Research",
}
# Optional by themselves, but one of several has to be there.
_NEEDED: Final = {"DefineLocation": {"coordinates"}}


def example_of(kind: str, message: type[Message]) -> Json | None:
    """Return an example; None where none that is valid was found."""
    parse = Validator(message).parse
    members = msgspec.structs.fields(message)
    needed = {field.name for field in members if field.required} | _NEEDED.get(message.__name__, set())
    example = _object(kind, message, needed or {field.name for field in members})
    return example if isinstance(parse(example), message) else None


def _object(kind: str, struct: type[Struct], needed: set[str]) -> Json:
    annotations = type_hints(struct)
    return {
        field.encode_name: _value(kind, field.encode_name, annotations[field.name])
        for field in msgspec.structs.fields(struct)
        if field.name in needed
    }


def _value(kind: str, name: str, annotation: Any) -> Any:
    bare, marks = marks_of(annotation)
    if name in _TEXTS:
        return _TEXTS[name]
    if any(get_args(type_)[1] in marks for type_ in (fields.Slug, fields.AggregateId)) and name != "name":
        return name.removesuffix("_id").removesuffix("_ids").replace("_", "-") + "-1"
    for type_, example in _TYPES:
        if get_args(type_)[1] in marks:
            return example
    if is_union(bare):
        return _value(kind, name, get_args(bare)[-1])
    origin, arguments = get_origin(bare), get_args(bare)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [_value(kind, name, arguments[0])]
    if origin is dict:
        return {"example": _value(kind, "example", arguments[1])}
    if isinstance(bare, type) and issubclass(bare, Struct):
        required = {field.name for field in msgspec.structs.fields(bare) if field.required}
        return _object(kind, bare, required or {field.name for field in msgspec.structs.fields(bare)})
    if bare is bool:
        return True
    if bare in {int, float}:
        return bare(next((mark.ge for mark in marks if mark.ge and mark.ge > 0), 1))
    return _NAMES.get(kind, "example") if name in {"name", "title"} else name.replace("_", " ")
