"""policies_in_force: a row for each target of a policy that was activated, with the times at which it was not in force.

It stays when the policy is suspended or revoked: at an earlier time it was in force.
What a policy says before that is remembered in one row that is not listed; its key is the policy's id alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, RowType, given_members, moment, one_of
from annals.schemas.kinds import policy as say
from annals.schemas.values.refs import ref_text

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Exemption(RowType, kw_only=True):
    """Who is not bound, from a moment on until just before another."""

    subject: str
    since: str
    until: str


class Suspension(RowType, kw_only=True):
    """From when on a policy was suspended, and from when on no more."""

    since: str
    until: str | None = None


class Policy(Row, kw_only=True):
    """A policy at one of its targets; `id` is empty where the scope is all. targets: (scope, id) of all of them.

    suspensions: how many there were; suspended: when. An exemption that was revoked ends then.
    """

    scope: str = ""
    id: str = ""
    policy_id: str
    name: str
    enforcement: str
    status: str = "draft"
    effective_from: str | None = None
    effective_until: str | None = None
    suspensions: int = 0
    suspended: list[Suspension] = []
    revoked_at: str | None = None
    exemptions: dict[str, Exemption] = {}
    targets: list[tuple[str, str]] = []


STATUSES: Final[dict[type, str]] = {
    say.PolicySubmitted: "under_review",
    say.PolicyApproved: "approved",
    say.PolicyReturned: "draft",
}


def is_listed(row: Policy) -> bool:
    """Whether the row is one of a target."""
    return row.scope != ""


def indexes(row: Policy) -> dict[str, list[str]]:
    """Scope and id of the target."""
    return {"scope": [row.scope], "id": [row.id]} if is_listed(row) else {}


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Policy]) -> None:
    """Change what is remembered of the policy, and with it the rows of its targets."""
    message, at = event.message, event.aggregate_id
    old = rows.get(at)
    if isinstance(message, say.PolicyDrafted):
        given = given_members(message, "name", "enforcement")
        new = Policy(kind=event.kind, aggregate_id=at, policy_id=at, targets=_targets(message), **given)
    elif old:
        new = _changed(message, event.recorded_at, old)
    else:
        return
    before, after = _bound(old), _bound(new)
    for scope, target in sorted(before - after):
        rows.delete(scope, target, at)
    for scope, target in sorted(after):
        rows.put(replace(new, scope=scope, id=target), scope, target, at)
    rows.put(new, at)


def _bound(row: Policy | None) -> set[tuple[str, str]]:
    return set(row.targets) if row and row.effective_from is not None else set()


def _targets(message: say.PolicyDrafted | say.PolicyRevised) -> list[tuple[str, str]]:
    targets = [] if message.targets is UNSET else message.targets
    return sorted({_target(each.scope, each.id) for each in targets})


def _target(scope: str, name: str | UnsetType) -> tuple[str, str]:
    """Return scope and id. Commands may give an id beside the scope `all`: it says nothing, since all are bound."""
    return scope, "" if scope == "all" or name is UNSET else name


def _changed(message: object, at: str, row: Policy) -> Policy:
    match message:
        case say.PolicyRevised():
            row = replace(row, **given_members(message, "name", "enforcement"))
            return row if message.targets is UNSET else replace(row, targets=_targets(message))
        case say.PolicyActivated():
            until = {"effective_until": None} | given_members(message, "effective_until")
            return replace(row, status="active", effective_from=message.effective_from, **until)
        case say.PolicySuspended():
            suspended = [*row.suspended, Suspension(since=at)]
            return replace(row, status="suspended", suspensions=row.suspensions + 1, suspended=suspended)
        case say.PolicyResumed():
            return replace(row, status="active", suspended=_ended(row.suspended, at))
        case say.PolicyRevoked():
            return replace(row, status="revoked", revoked_at=at)
        case say.ExemptionGranted():
            new = Exemption(subject=ref_text(message.subject), since=message.from_, until=message.until)
            return replace(row, exemptions={**row.exemptions, message.exemption_id: new})
        case say.ExemptionRevoked():
            return replace(row, exemptions=_exempt_until(at, message.exemption_id, row.exemptions))
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


def _ended(suspended: list[Suspension], at: str) -> list[Suspension]:
    """Return suspensions, the last one ended; one that was over at once was none."""
    if not suspended:
        return suspended
    *before, last = suspended
    return before if last.since == at else [*before, replace(last, until=at)]


def _exempt_until(at: str, revoked: str, exemptions: dict[str, Exemption]) -> dict[str, Exemption]:
    """Return exemptions without one from a time on: it ends then, and is gone if it had not begun."""
    kept = dict(exemptions)
    exemption = kept.pop(revoked, None)
    if exemption is not None and moment(exemption.since) < moment(at):
        kept[revoked] = replace(exemption, until=min(exemption.until, at, key=moment))
    return kept


POLICIES_IN_FORCE: Final = Projection(
    name="policies_in_force",
    version=2,
    wanted={"policy": frozenset(get_args(say.Event))},
    row=Policy,
    parameters=("scope", "id"),
    indexes=indexes,
    fold=fold,
    is_listed=is_listed,
    values={"scope": one_of(get_args(say.Scope))},
)
