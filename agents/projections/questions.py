"""The domain's questions as pure functions over rows. Rows may come from any number of partitions, in any order.

Each takes the rows of one read model, or of those that an index found, and returns the rows that answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from annals.agents.projections.projection import moment, personal_key, reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from annals.agents.projections.projection import Row

R = TypeVar("R", bound="Row")

UNDER_WAY: Final = ("running", "paused")
CLOSED: Final = ("completed", "skipped")


def in_order(rows: Iterable[R]) -> list[R]:
    """Return rows by aggregate id: the order does not depend on which partition answered first."""
    return sorted(rows, key=lambda row: row.aggregate_id)


def people(rows: Iterable[Any], email: str) -> list[Any]:
    """people_directory: who has this e-mail address, verified or not, in any status?"""
    wanted = personal_key(email)
    return in_order(row for row in rows if wanted in map(personal_key, row.emails))


def members(rows: Iterable[Any], organization_id: str, role_id: str | None = None) -> list[Any]:
    """organization_members: who are an organization's members, with this role if one is given?"""
    found = (row for row in rows if row.organization_id == organization_id and role_id in {None, row.role_id})
    return sorted(found, key=lambda row: row.person_id)


def memberships(rows: Iterable[Any], person_id: str) -> list[Any]:
    """organization_members: where is a person a member?"""
    return in_order(row for row in rows if row.person_id == person_id)


def policies(rows: Iterable[Any], subject: str, at: str) -> list[Any]:
    """policies_in_force: which policies bind a subject (`kind:id`) at a time?

    A policy binds by a target of the subject's kind and id, or of the scope `all`, within its window, from when it was
    suspended until it was resumed not, and not from when it was revoked. Where a policy exempts the subject
    at that time, its row is there too: `exemptions` says who is exempt.
    """
    kind, _, name = subject.partition(":")
    targets = {("all", ""), (kind, name)}
    bound = (row for row in rows if (row.scope, row.id) in targets and _was_in_force(row, at))
    found = (row for row in bound if _is_within(at, row.effective_from, row.effective_until))
    return sorted(found, key=lambda row: (row.policy_id, row.scope))


def _was_in_force(row: Any, at: str) -> bool:
    """Whether a policy was neither suspended nor revoked at a time; its window is another matter."""
    if row.status == "suspended" and not row.suspended:  # a row of version 1, without times
        return False
    is_revoked = row.revoked_at is not None and moment(row.revoked_at) <= moment(at)
    return not is_revoked and not any(_is_within(at, each.since, each.until) for each in row.suspended)


def _is_within(at: str, since: str, until: str | None) -> bool:
    return moment(since) <= moment(at) and (until is None or moment(at) < moment(until))


def ready_steps(rows: Iterable[Any]) -> list[Any]:
    """workflow_board: which workflows have steps that may start now? `ready` names them."""
    return in_order(row for row in rows if row.ready)


def overdue_steps(rows: Iterable[Any], now: str) -> list[Any]:
    """workflow_board: which workflows under way are late, as a whole or in a step that is not closed?"""
    return in_order(
        row for row in rows if row.status in UNDER_WAY and (_is_past(row.deadline, now) or overdue(row, now))
    )


def overdue(row: Any, now: str) -> list[str]:
    """Return the open steps of a workflow under way whose deadline, or the workflow's, is past."""
    if row.status not in UNDER_WAY:
        return []
    is_late = _is_past(row.deadline, now)
    steps = ((name, step) for name, step in row.steps.items() if step.status not in CLOSED)
    return sorted(name for name, step in steps if is_late or _is_past(step.deadline, now))


def _is_past(deadline: str | None, now: str) -> bool:
    return deadline is not None and moment(deadline) <= moment(now)


def agents(rows: Iterable[Any], capabilities: Collection[str]) -> list[Any]:
    """agent_workload: which active agents with all these capabilities have room?"""
    active = (row for row in rows if row.status == "active" and row.room > 0)
    return in_order(row for row in active if set(capabilities) <= set(row.capabilities))


def documents(rows: Iterable[Any], tag: str, grantee: str) -> list[Any]:
    """documents: which published documents with a tag may somebody (`kind:id`) read?

    Those that are public, that are shared with them, or that they own or wrote.
    """
    reader = reference(grantee)
    published = (row for row in rows if row.status == "published" and tag in row.tags)
    return in_order(row for row in published if _may_read(row, reader))


def _may_read(row: Any, reader: str) -> bool:
    return row.confidentiality == "public" or reader in {row.owner, *row.authors, *row.access}


def organizations(rows: Iterable[Any], name: str) -> list[Any]:
    """organizations: which active ones have this name, as a whole and without regard to case?"""
    return in_order(row for row in rows if row.status == "active" and row.name.casefold() == name.casefold())
