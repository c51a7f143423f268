"""What all projections share: a row, where it is, and a projection as a value: a pure fold of events into rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar, dataclass_transform

from msgspec import UNSET, Struct
from msgspec.structs import asdict

from annals.agents.event_keys import AGGREGATE_ID, PROJECTION, Rekeyed, rekeying_problem
from annals.schemas.suggestion import meant
from annals.schemas.values.refs import kinds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.schemas.messages import Message, Part

RowKey = tuple[str, ...]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class RowType(Struct, frozen=True, kw_only=True):
    """What rows and their parts are: immutable, encoded by the names of their columns."""

    __test__ = False  # a projection may be a testbed: pytest collects what is called Test…, wherever it is imported


class Row(RowType, kw_only=True):
    """One row: the kind and id of the aggregate that it tells of, then the columns of its projection.

    aggregate_id: of a projection that is re-keyed, the key.
    """

    kind: str
    aggregate_id: str


R = TypeVar("R", bound=Row)


class Happened(NamedTuple):
    """A counted event in its newest form, as folds see it.

    key: of a projection that is re-keyed, the event's key; empty: of any other.
    """

    kind: str
    aggregate_id: str
    version: int
    recorded_at: str
    message: Message
    key: str = ""


class ProjectionRows(Protocol[R]):
    """The rows of one projection: nothing else can be read or changed by its fold."""

    def get(self, *key: str) -> R | None:
        """Return a row; None if there is none."""

    def put(self, row: R, *key: str) -> None:
        """Set a row, of which nothing is changed any more; its index entries follow."""

    def delete(self, *key: str) -> None:
        """Remove a row, if it is there; its index entries follow."""


@dataclass(frozen=True, slots=True)
class Projection(Generic[R]):
    """A read model.

    Args:
        name: as in routes and in `annals projections`.
        version: of rows and fold; another version begins anew.
        wanted: the event types that its fold takes, by kind. Others never reach it.
        row: the type of its rows.
        parameters: the query parameters that rows are found by.
        indexes: query parameter, or a name that only questions use -> the values under which a row is found.
        fold: changes rows by an event; never refuses. It sees only the rows of its own projection.
        scope: local, one for each partition, asked by gathering; global, one that folds all partitions.
        ranges: query parameters that ask for all values below the given one; one in a question, which rows are then in
            the order of. A row is found by its least value.
        values: query parameter -> what makes index values of what was asked; a row is found by all of them. It raises
            ValueError for what no row can have: nothing would be found by it, and that would look like an answer.
        is_listed: whether a row is shown; others are what the fold remembers.
        key: of one that is re-keyed, by what: `correlation_id`, or a member of the events as they were recorded
            (`data.owner_id`); an event without it is passed over.
        rekeyed: whether all events of a key are folded in one place, over all aggregates of its one kind: they are
            copied to the topic `rekeyed.<name>`, and folded in the order of their arrival there.
    """

    name: str
    version: int
    wanted: Mapping[str, frozenset[type[Message]]]
    row: type[R]
    parameters: tuple[str, ...]
    indexes: Callable[[R], Mapping[str, Iterable[str]]]
    fold: Callable[[Happened, ProjectionRows[R]], None]
    scope: Literal["local", "global"] = "local"
    ranges: tuple[str, ...] = ()
    values: Mapping[str, Callable[[str], Sequence[str]]] = field(default_factory=dict)
    is_listed: Callable[[R], bool] = lambda _: True
    key: str = AGGREGATE_ID
    rekeyed: bool = False

    @property
    def stream(self) -> Rekeyed | None:
        """The stream that it folds; None: it folds journals."""
        if not self.rekeyed:
            return None
        (kind,) = self.wanted
        return Rekeyed(self.name, kind, self.key, PROJECTION)

    @property
    def places(self) -> tuple[str, ...]:
        """What it folds the partitions of: journals, by their kinds, or its stream."""
        return tuple(self.wanted) if self.stream is None else (self.stream.place,)


def problem_of(projection: Projection[Any]) -> str | None:
    """Return what keeps a projection from being used, None if nothing does."""
    if len(projection.ranges) > 1:
        return f"has the ranges {', '.join(projection.ranges)}: its rows can be in the order of one"
    if not projection.rekeyed:
        return None if projection.key == AGGREGATE_ID else f"has the key {projection.key!r}, and is not re-keyed"
    if projection.scope != "local":
        return "is re-keyed, and so not global: its rows are where their keys are"
    if len(projection.wanted) != 1:
        return "is re-keyed: it wants the events of one kind"
    return rekeying_problem(projection.key)


def given_members(message: Message | Part, *names: str) -> dict[str, Any]:
    """Return those of the named members that the event has, to replace a row's columns of the same names."""
    members = asdict(message)
    return {name: members[name] for name in names if members[name] is not UNSET}


def personal_key(value: str) -> str:
    """Return the index key of a personal member's value: the one function that makes these keys."""
    return value.casefold()


def words_of(*texts: str | None) -> list[str]:
    """Return the words of names, case folded, each once."""
    return sorted({word for text in texts if text for word in text.casefold().split()})


def one_of(words: Iterable[str], what: str = "") -> Callable[[str], list[str]]:
    """Return what takes one of some words (`Projection.values`). what: how they are called where they are many."""
    known = tuple(dict.fromkeys(words))
    what = what or f"one of {', '.join(known)}"

    def values(text: str) -> list[str]:
        if text not in known:
            raise ValueError(f"must be {what}.{meant(text, known)}")
        return [text]

    return values


def reference_to(ref: type[Part]) -> Callable[[str], list[str]]:
    """Return what takes a reference to one of a type's kinds, as `kind:id` or `kind/id` (`Projection.values`)."""
    kinds = kinds_of(ref)

    def values(text: str) -> list[str]:
        kind, _, name = reference(text).partition("/")
        if kind not in kinds or not name:
            raise ValueError(f"must be `kind:id`, as `person:p-1`; kinds are {', '.join(kinds)}.{meant(kind, kinds)}")
        return [reference(text)]

    return values


def reference(text: str) -> str:
    """Return a reference that was given as `kind:id` or `kind/id` as rows have it: `kind/id`. Kinds have neither."""
    head, colon, name = text.partition(":")
    return f"{head}/{name}" if colon and "/" not in head else text


def moment(time: str) -> str:
    """Return a time that ends in Z as text that sorts: `…00Z` and `…00.000Z` are one moment, and before `…00.5Z`."""
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction.rstrip('0')}"
