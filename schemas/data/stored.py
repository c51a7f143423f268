"""Stored data back to its type: the shape is checked, rules are not, since an event is a fact and rules move on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct, UnsetType

from annals.schemas.values.constraints import is_union, marks_of, takes_null, type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[Any], Any]

T = TypeVar("T", bound=Struct)


class Reader(Generic[T]):
    """Reads stored data into one struct type: a twin without rules checks the shape, then the struct itself is made."""

    __slots__ = ("_make", "_twin")

    def __init__(self, struct: type[T]) -> None:
        self._twin = _bare(struct)
        self._make = _maker(struct)

    def read(self, data: dict[str, Any]) -> T:
        """The typed value.

        Raises:
            msgspec.ValidationError: a member is missing, unknown or of another type.
        """
        msgspec.convert(data, self._twin)
        value: T = self._make(data)
        return value


def _bare(annotation: Any) -> Any:
    """The same shape without any rule; code lists are text."""
    bare, _ = marks_of(annotation)
    origin = get_origin(bare)
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _twin(bare)
    if origin is Literal:
        return Union[tuple({type(value) for value in get_args(bare)})]  # noqa: UP007 -- built at run time
    if origin is list:
        return list[_bare(get_args(bare)[0])]  # type: ignore[misc]
    if origin is dict:
        return dict[str, _bare(get_args(bare)[1])]  # type: ignore[misc]
    if is_union(bare):
        return Union[tuple(_bare(arm) for arm in get_args(bare))]  # noqa: UP007 -- built at run time
    return bare


def _twin(struct: type[Struct]) -> type[Struct]:
    annotations = type_hints(struct)
    fields: list[Any] = []
    for field in msgspec.structs.fields(struct):
        bare = _bare(annotations[field.name])
        if takes_null(annotations[field.name]):
            bare = bare | None
        name = field.encode_name
        fields.append((name, bare) if field.required else (name, bare | UnsetType, UNSET))
    return msgspec.defstruct(struct.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _maker(annotation: Any) -> Maker:
    """How a value of the right shape becomes its type."""
    return _nested_maker(annotation) or (lambda value: value)


def _nested_maker(annotation: Any) -> Maker | None:
    """None where the value is its type already."""
    bare, _ = marks_of(annotation)
    if isinstance(bare, type) and issubclass(bare, Struct):
        return _struct_maker(bare)
    if get_origin(bare) is list and (of_item := _nested_maker(get_args(bare)[0])) is not None:
        return lambda items: [of_item(item) for item in items]
    if get_origin(bare) is dict and (of_entry := _nested_maker(get_args(bare)[1])) is not None:
        return lambda entries: {name: of_entry(entry) for name, entry in entries.items()}
    return None


def _struct_maker(struct: type[Struct]) -> Maker:
    attributes = {field.encode_name: field.name for field in msgspec.structs.fields(struct)}
    annotations = type_hints(struct)
    nested = [
        (name, maker)
        for name, attribute in attributes.items()
        if (maker := _nested_maker(annotations[attribute])) is not None
    ]
    is_renamed = any(name != attribute for name, attribute in attributes.items())
    if not nested and not is_renamed:
        return lambda data: struct(**data)

    def make(data: dict[str, Any]) -> Struct:
        made = {name: maker(data[name]) for name, maker in nested if data.get(name) is not None}
        members = {**data, **made}
        return struct(**({attributes[name]: value for name, value in members.items()} if is_renamed else members))

    return make
