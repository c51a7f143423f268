"""References to aggregates of more than one kind: `{kind, id}`. Whether the other one exists is not checked.

On the wire they are objects; states keep them as text (`person/p-1`), to compare and to look up by. `AnyRef`, `Owner`,
`Actor` and `Reader` are the types of members: values of theirs compare by that text.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args, get_type_hints

from annals.schemas.messages import Part
from annals.schemas.values.constraints import compared
from annals.schemas.values.fields import AggregateId


class Ref(Part):
    """Any aggregate."""

    kind: Literal["person", "organization", "agent", "location", "policy", "document", "workflow"]
    id: AggregateId


class OwnerRef(Part):
    """Who answers for something."""

    kind: Literal["person", "organization"]
    id: AggregateId


class ActorRef(Part):
    """Who does something: a person or a person's AI worker."""

    kind: Literal["person", "agent"]
    id: AggregateId


class ReaderRef(Part):
    """Who may be let in."""

    kind: Literal["person", "organization", "agent"]
    id: AggregateId


def ref_text(ref: Ref | OwnerRef | ActorRef | ReaderRef | str) -> str:
    """A reference as states keep it: `person/p-1`. Kinds have no slash, so no two references have the same text."""
    return ref if isinstance(ref, str) else f"{ref.kind}/{ref.id}"


def kinds_of(ref: type[Part]) -> tuple[str, ...]:
    """Return the kinds that references of a type may have."""
    return get_args(get_type_hints(ref)["kind"])


_BY_TEXT = compared(ref_text)
AnyRef = Annotated[Ref, _BY_TEXT]
Owner = Annotated[OwnerRef, _BY_TEXT]
Actor = Annotated[ActorRef, _BY_TEXT]
Reader = Annotated[ReaderRef, _BY_TEXT]
