"""The questions by name: which rows each one reads, by which indexes, and what of them answers."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, get_args

from annals.agents.projections import questions
from annals.agents.projections.agent_workload import AGENT_WORKLOAD
from annals.agents.projections.documents import DOCUMENTS
from annals.agents.projections.locations import LOCATIONS
from annals.agents.projections.organization_members import ORGANIZATION_MEMBERS
from annals.agents.projections.organizations import ORGANIZATIONS
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.projections.policies_in_force import POLICIES_IN_FORCE
from annals.agents.projections.workflow_board import WORKFLOW_BOARD
from annals.schemas.kinds import policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from annals.agents.projections.projection import Projection

    Given = Mapping[str, Any]
    Indexes = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question that read models answer.

    required, optional: its parameters. indexes: which rows are read; a row that any of these finds. answer: which of
    them answer, given the parameters and the present time: each by itself, whichever others there are. order: what the
    answers to several readings come in the order of, as each of them does. tree: the index by which rows lie below one
    another: then those below the index's value are read, and all of them answer.
    """

    projection: Projection[Any]
    required: tuple[str, ...]
    indexes: Callable[[Given], Indexes]
    answer: Callable[[Sequence[Any], Given, str], list[Any]]
    optional: tuple[str, ...] = ()
    tree: str | None = None
    order: Callable[[Any], Any] = attrgetter("aggregate_id")


SCOPES: Final = get_args(policy.Scope)


def _bound(given: Given) -> Indexes:
    scope, _, name = given["subject"].partition(":")
    own = [{"scope": scope, "id": name}] if scope in SCOPES else []  # of the other kinds none is a target
    return [*own, {"scope": "all"}]


def _due(rows: Sequence[Any], given: Given, now: str) -> list[Any]:
    return questions.ready_steps(rows) if given["due"] == "ready" else questions.overdue_steps(rows, now)


def _read_for_due(given: Given) -> Indexes:
    return [{"status": "running"}, *([] if given["due"] == "ready" else [{"status": "paused"}])]


QUESTIONS: Final[Mapping[str, Question]] = {
    "people": Question(
        PEOPLE_DIRECTORY,
        ("email",),
        lambda given: [{"email": given["email"]}],
        lambda rows, given, _: questions.people(rows, given["email"]),
    ),
    "members": Question(
        ORGANIZATION_MEMBERS,
        ("organization_id",),
        lambda given: [{"organization_id": given["organization_id"]}],
        lambda rows, given, _: questions.members(rows, given["organization_id"], given.get("role_id")),
        optional=("role_id",),
        order=attrgetter("person_id"),
    ),
    "memberships": Question(
        ORGANIZATION_MEMBERS,
        ("person_id",),
        lambda given: [{"person_id": given["person_id"]}],
        lambda rows, given, _: questions.memberships(rows, given["person_id"]),
    ),
    "policies": Question(
        POLICIES_IN_FORCE,
        ("subject",),
        _bound,
        lambda rows, given, now: questions.policies(rows, given["subject"], given.get("at") or now),
        optional=("at",),
        order=attrgetter("policy_id", "scope"),
    ),
    "steps": Question(WORKFLOW_BOARD, ("due",), _read_for_due, _due),
    "agents": Question(
        AGENT_WORKLOAD,
        (),
        lambda given: [{"capability": next(iter(given.get("capability") or ()), "")}],
        lambda rows, given, _: questions.agents(rows, given.get("capability") or ()),
        optional=("capability",),
    ),
    "documents": Question(
        DOCUMENTS,
        ("tag", "grantee"),
        lambda given: [{"tag": given["tag"], "status": "published"}],
        lambda rows, given, _: questions.documents(rows, given["tag"], given["grantee"]),
    ),
    "locations": Question(
        LOCATIONS,
        ("under",),
        lambda given: [{"parent_id": given["under"]}],
        lambda rows, *_: questions.in_order(rows),
        tree="parent_id",
    ),
    "organizations": Question(
        ORGANIZATIONS,
        ("name",),
        lambda given: [{"whole_name": given["name"].casefold()}],
        lambda rows, given, _: questions.organizations(rows, given["name"]),
    ),
}

SHARERS: Final = Question(
    PEOPLE_DIRECTORY,
    ("emails",),
    lambda given: [{"email": email} for email in given["emails"]],
    lambda rows, *_: questions.in_order(rows),
)
"""Who has any of some e-mail addresses? Nobody asks by name: rows of people say so."""
