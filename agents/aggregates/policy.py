"""policy: rules that bind targets for a time.

References, not checked: a person or organization (owner), persons (approver_id, granted_by), a document (document_id),
a policy (superseded_by), and whatever targets and exemptions name. That a window has passed is no event: who asks for
the policies in force compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import UNSET, field
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import amend, drop, known, put, refuse_full, refuse_self, refuse_taken
from annals.agents.deciding.state import State, StatePart
from annals.schemas.kinds import policy as say
from annals.schemas.messages import event_from
from annals.schemas.values.refs import ref_text
from annals.schemas.values.standards.calendar import instant

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

MAX_RULES: Final = 100
MAX_EXEMPTIONS: Final = 500

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={
        "draft": "",
        "under_review": "",
        "approved": "binds nobody yet",
        "active": "in force within its window",
        "suspended": "binds nobody for a while",
    },
    terminal={"revoked": ""},
    rows=(
        On(say.DraftPolicy, (say.PolicyDrafted,), where=(ABSENT,), to="draft"),
        On(say.RevisePolicy, (say.PolicyRevised,), where=("draft",)),
        On(say.SetRule, (say.RuleSet,), where=("draft",)),
        On(say.RemoveRule, (say.RuleRemoved,), where=("draft",)),
        On(say.SubmitPolicy, (say.PolicySubmitted,), where=("draft",), to="under_review"),
        On(say.ApprovePolicy, (say.PolicyApproved,), where=("under_review",), to="approved"),
        On(say.ReturnPolicy, (say.PolicyReturned,), where=("under_review", "approved"), to="draft"),
        On(say.ActivatePolicy, (say.PolicyActivated,), where=("approved",), to="active"),
        On(say.SuspendPolicy, (say.PolicySuspended,), where=("active",), to="suspended"),
        On(say.ResumePolicy, (say.PolicyResumed,), where=("suspended",), to="active"),
        On(say.RevokePolicy, (say.PolicyRevoked,), to="revoked"),
        On(say.GrantExemption, (say.ExemptionGranted,), where=("active", "suspended")),
        On(say.RevokeExemption, (say.ExemptionRevoked,), where=("active", "suspended")),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Rule(StatePart):
    """One sentence of the policy, and how bad it is to break it."""

    text: str
    severity: str


class Exemption(StatePart):
    """Who is not bound, from a moment on until just before another; `subject` is `person/p-1`."""

    subject: str
    from_: str = field(name="from")
    until: str
    granted_by: str
    revoked: bool = False


class Policy(State):
    """The policy: rules and exemptions by their slugs, `owner` as `person/p-1`, targets as `unit/ai` and `all`."""

    name: str = ""
    description: str = ""
    owner: str = ""
    enforcement: str = ""
    rules: dict[str, Rule] = {}
    targets: list[str] = []
    approver_id: str | None = None
    effective_from: str | None = None
    effective_until: str | None = None
    exemptions: dict[str, Exemption] = {}
    document_id: str | None = None
    superseded_by: str | None = None


def already_true(command: say.Command, policy: Policy) -> bool:
    """Whether the command's wish is true of the policy."""
    match command:
        case say.SetRule():
            rule = policy.rules.get(command.rule_id)
            return rule is not None and matches(command, rule)
        case say.RemoveRule():
            return command.rule_id not in policy.rules
        case say.GrantExemption():
            # One that was revoked exempts nobody: granting it again is not true, its id is taken.
            exemption = policy.exemptions.get(command.exemption_id)
            return exemption is not None and not exemption.revoked and matches(command, exemption)
        case say.RevokeExemption():
            exemption = policy.exemptions.get(command.exemption_id)
            return exemption is not None and exemption.revoked
        case (
            say.DraftPolicy()
            | say.RevisePolicy()
            | say.SubmitPolicy()
            | say.ApprovePolicy()
            | say.ReturnPolicy()
            | say.ActivatePolicy()
            | say.SuspendPolicy()
            | say.ResumePolicy()
            | say.RevokePolicy()
        ):
            return matches(command, policy)
        case _:
            assert_never(command)


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, policy: Policy, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.DraftPolicy():
            return [event_from(command, say.PolicyDrafted)]
        case say.RevisePolicy():
            return [say.PolicyRevised(**changes(command, policy))]
        case say.SetRule():
            if command.rule_id not in policy.rules:
                refuse_full(policy.rules, MAX_RULES, "rules")
            return [event_from(command, say.RuleSet)]
        case say.RemoveRule():
            return [event_from(command, say.RuleRemoved)]
        case say.SubmitPolicy():
            if not policy.rules:
                raise Refused("rules_missing", "a policy without rules says nothing: SetRule first")
            if not policy.targets:
                raise Refused(
                    "targets_missing", "a policy without targets binds nobody: RevisePolicy with targets first"
                )
            return [event_from(command, say.PolicySubmitted)]
        case say.ApprovePolicy():
            if policy.owner == _person(command.approver_id):
                raise Refused("own_approval", "the owner cannot approve the policy; somebody else must")
            return [event_from(command, say.PolicyApproved)]
        case say.ReturnPolicy():
            return [event_from(command, say.PolicyReturned)]
        case say.ActivatePolicy():
            if command.effective_until is not UNSET:
                _refuse_reversed(command.effective_from, command.effective_until)
            return [event_from(command, say.PolicyActivated)]
        case say.SuspendPolicy():
            return [event_from(command, say.PolicySuspended)]
        case say.ResumePolicy():
            return [event_from(command, say.PolicyResumed)]
        case say.RevokePolicy():
            refuse_self(command.superseded_by, at.aggregate_id, "superseded_by")
            return [event_from(command, say.PolicyRevoked)]
        case say.GrantExemption():
            refuse_taken(policy.exemptions, command.exemption_id, "exemption")
            refuse_full(policy.exemptions, MAX_EXEMPTIONS, "exemptions")
            _refuse_reversed(command.from_, command.until)
            if ref_text(command.subject) == _person(command.granted_by):
                raise Refused("self_exemption", "nobody can grant an exemption to oneself; somebody else must")
            return [event_from(command, say.ExemptionGranted)]
        case say.RevokeExemption():
            known(policy.exemptions, command.exemption_id, "exemption")
            return [event_from(command, say.ExemptionRevoked)]
        case _:
            assert_never(command)


def _person(person_id: str) -> str:
    """A person's id as a reference."""
    return f"person/{person_id}"


def _refuse_reversed(start: str, end: str) -> None:
    """Refuse a window that is empty too: it is half-open, so that its end is no part of it."""
    if instant(end) <= instant(start):
        raise Refused("window_reversed", "the window must end after it begins")


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(policy: Policy, event: say.Event) -> Policy:
    """The policy after the event."""
    match event:
        case say.PolicyDrafted():
            return Policy(
                status="draft",
                name=event.name,
                description=event.description,
                owner=ref_text(event.owner),
                enforcement=event.enforcement,
                targets=[say.target_text(target) for target in or_none(event.targets) or ()],
                document_id=or_none(event.document_id),
            )
        case say.PolicyRevised():
            return replace(policy, **_as_kept(changes(event, policy)))
        case say.RuleSet():
            rule = Rule(text=event.text, severity=event.severity)
            return replace(policy, rules=put(policy.rules, event.rule_id, rule))
        case say.RuleRemoved():
            return replace(policy, rules=drop(policy.rules, event.rule_id))
        case say.PolicySubmitted():
            return replace(policy, status="under_review")
        case say.PolicyApproved():
            return replace(policy, status="approved", approver_id=event.approver_id)
        case say.PolicyReturned():
            return replace(policy, status="draft", approver_id=None)
        case say.PolicyActivated():
            return replace(
                policy,
                status="active",
                effective_from=event.effective_from,
                effective_until=or_none(event.effective_until),
            )
        case say.PolicySuspended():
            return replace(policy, status="suspended")
        case say.PolicyResumed():
            return replace(policy, status="active")
        case say.PolicyRevoked():
            return replace(policy, status="revoked", superseded_by=or_none(event.superseded_by))
        case say.ExemptionGranted():
            exemption = Exemption(
                subject=ref_text(event.subject), from_=event.from_, until=event.until, granted_by=event.granted_by
            )
            return replace(policy, exemptions=put(policy.exemptions, event.exemption_id, exemption))
        case say.ExemptionRevoked():
            return replace(policy, exemptions=amend(policy.exemptions, event.exemption_id, revoked=True))
        case _:
            assert_never(event)


def _as_kept(changed: dict[str, Any]) -> dict[str, Any]:
    """Changed members as the state keeps them."""
    if "targets" in changed:
        changed["targets"] = [say.target_text(target) for target in changed["targets"]]
    return changed


# --- Decider ---------------------------------------------------------------------------------------------------------

POLICY: Final = Decider(
    "policy", MACHINE, Policy(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
