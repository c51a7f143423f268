"""policy on the wire: rules that bind targets for a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from annals.schemas.messages import Message, Part
from annals.schemas.values.constraints import UNORDERED, compared
from annals.schemas.values.fields import AggregateId, LongText, Slug, Text, Time
from annals.schemas.values.refs import AnyRef, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

Enforcement = Literal["advisory", "soft", "hard", "critical"]
Severity = Literal["low", "medium", "high", "critical"]
Scope = Literal["all", "organization", "unit", "role", "person", "agent", "location", "document_tag", "operation"]


class PolicyTarget(Part):
    """What a policy binds: everything, or what has this id within the scope."""

    scope: Scope
    id: AggregateId | UnsetType = UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        """Only `all` needs no id."""
        if self.id is UNSET and self.scope != "all":
            yield "id", "is required, unless the scope is all"


def target_text(target: PolicyTarget | str) -> str:
    """A target as states keep it, to compare by: `unit/ai`, `all`. Scopes have no slash."""
    if isinstance(target, str):
        return target
    return target.scope if target.id is UNSET else f"{target.scope}/{target.id}"


Target = Annotated[PolicyTarget, compared(target_text)]
Targets = Annotated[list[Target], Meta(max_length=200), UNORDERED]


class DraftPolicy(Message):
    """A policy is thought of."""

    name: Text
    description: LongText
    owner: Owner
    enforcement: Enforcement
    targets: Targets | UnsetType = UNSET
    document_id: AggregateId | UnsetType = UNSET


class PolicyDrafted(DraftPolicy):
    """A policy was thought of."""


class RevisePolicy(Message):
    """What is given changes; null clears."""

    name: Text | UnsetType = UNSET
    description: LongText | UnsetType = UNSET
    enforcement: Enforcement | UnsetType = UNSET
    targets: Targets | UnsetType = UNSET
    document_id: AggregateId | UnsetType | None = UNSET


class PolicyRevised(RevisePolicy):
    """What is given changed; null: it was cleared."""


class SetRule(Message):
    """A new rule, or an old one anew."""

    rule_id: Slug
    text: Text
    severity: Severity


class RuleSet(SetRule):
    """A new rule, or an old one anew."""


class RemoveRule(Message):
    """A rule is dropped."""

    rule_id: Slug


class RuleRemoved(RemoveRule):
    """A rule was dropped."""


class SubmitPolicy(Message):
    """It is ready to be looked at."""


class PolicySubmitted(SubmitPolicy):
    """It is ready to be looked at."""


class ApprovePolicy(Message):
    """Somebody other than the owner agrees."""

    approver_id: AggregateId


class PolicyApproved(ApprovePolicy):
    """Somebody other than the owner agreed."""


class ReturnPolicy(Message):
    """It needs more work; an approval is void."""

    reason: Text


class PolicyReturned(ReturnPolicy):
    """It needs more work; an approval is void."""


class ActivatePolicy(Message):
    """It binds from a moment on, until just before another or without end."""

    effective_from: Time
    effective_until: Time | UnsetType = UNSET


class PolicyActivated(ActivatePolicy):
    """It binds from a moment on, until just before another or without end."""


class SuspendPolicy(Message):
    """It binds nobody for a while."""

    reason: Text


class PolicySuspended(SuspendPolicy):
    """It binds nobody for a while."""


class ResumePolicy(Message):
    """It binds again."""


class PolicyResumed(ResumePolicy):
    """It binds again."""


class RevokePolicy(Message):
    """It ends, for good; another may take its place."""

    reason: Text
    superseded_by: AggregateId | UnsetType = UNSET


class PolicyRevoked(RevokePolicy):
    """It ended, for good."""


class GrantExemption(Message):
    """Somebody or something is not bound, from a moment on until just before another."""

    exemption_id: Slug
    subject: AnyRef
    from_: Time = field(name="from")
    until: Time
    granted_by: AggregateId
    reason: Text


class ExemptionGranted(GrantExemption):
    """Somebody or something is not bound for a time."""


class RevokeExemption(Message):
    """An exemption ends before its time."""

    exemption_id: Slug
    reason: Text


class ExemptionRevoked(RevokeExemption):
    """An exemption ended before its time."""


Command = (
    DraftPolicy
    | RevisePolicy
    | SetRule
    | RemoveRule
    | SubmitPolicy
    | ApprovePolicy
    | ReturnPolicy
    | ActivatePolicy
    | SuspendPolicy
    | ResumePolicy
    | RevokePolicy
    | GrantExemption
    | RevokeExemption
)
Event = (
    PolicyDrafted
    | PolicyRevised
    | RuleSet
    | RuleRemoved
    | PolicySubmitted
    | PolicyApproved
    | PolicyReturned
    | PolicyActivated
    | PolicySuspended
    | PolicyResumed
    | PolicyRevoked
    | ExemptionGranted
    | ExemptionRevoked
)
