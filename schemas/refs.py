"""References to aggregates of more than one kind: `{kind, id}`. Whether the other one exists is not checked."""

from __future__ import annotations

from typing import Literal

from schemas.fields import AggregateId
from schemas.messages import Part


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
