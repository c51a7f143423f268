"""policy, row by row of the domain's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annals.agents.aggregates.policy import MAX_EXEMPTIONS, MAX_RULES
from annals.agents.testing import given
from annals.schemas.kinds.policy import (
    ActivatePolicy,
    ApprovePolicy,
    DraftPolicy,
    ExemptionGranted,
    ExemptionRevoked,
    GrantExemption,
    PolicyActivated,
    PolicyApproved,
    PolicyDrafted,
    PolicyResumed,
    PolicyReturned,
    PolicyRevised,
    PolicyRevoked,
    PolicySubmitted,
    PolicySuspended,
    PolicyTarget,
    RemoveRule,
    ResumePolicy,
    ReturnPolicy,
    RevisePolicy,
    RevokeExemption,
    RevokePolicy,
    RuleRemoved,
    RuleSet,
    SetRule,
    SubmitPolicy,
    SuspendPolicy,
)
from annals.schemas.values.refs import OwnerRef, Ref

if TYPE_CHECKING:
    from annals.schemas.messages import Message

ADA = OwnerRef(kind="person", id="ada")
LAB = OwnerRef(kind="organization", id="ada")
ALL = PolicyTarget(scope="all")
TEAM = PolicyTarget(scope="unit", id="ai")
DRAFT = PolicyDrafted(name="AI", description="Who may use it.", owner=ADA, enforcement="hard", targets=[TEAM, ALL])
BARE = PolicyDrafted(name="AI", description="Who may use it.", owner=ADA, enforcement="hard")
RULE = RuleSet(rule_id="log", text="Log each prompt.", severity="high")
DRAFTED = (DRAFT, RULE)
SUBMITTED = (*DRAFTED, PolicySubmitted())
APPROVED = (*SUBMITTED, PolicyApproved(approver_id="grace"))
SPRING, SUMMER, AUTUMN = "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-09-01T00:00:00Z"
ACTIVE = (*APPROVED, PolicyActivated(effective_from=SPRING, effective_until=AUTUMN))
SUSPENDED = (*ACTIVE, PolicySuspended(reason="court"))
REVOKED = (*ACTIVE, PolicyRevoked(reason="new one", superseded_by="pol-2"))
EXEMPT = ExemptionGranted(
    exemption_id="e-1",
    subject=Ref(kind="agent", id="bot"),
    from_=SPRING,
    until=SUMMER,
    granted_by="grace",
    reason="trial",
)
EXEMPTED = (*ACTIVE, EXEMPT)
UNEXEMPTED = (*EXEMPTED, ExemptionRevoked(exemption_id="e-1", reason="over"))


STATUSES = {
    "draft": DRAFTED,
    "under_review": SUBMITTED,
    "approved": APPROVED,
    "active": EXEMPTED,
    "suspended": (*EXEMPTED, PolicySuspended(reason="court")),
    "revoked": (*EXEMPTED, PolicyRevoked(reason="old")),
}


def exempt(exemption_id: str = "e-1", **changed: object) -> GrantExemption:
    said = {
        "subject": Ref(kind="agent", id="bot"),
        "from_": SPRING,
        "until": SUMMER,
        "granted_by": "grace",
        "reason": "trial",
    }
    return GrantExemption(exemption_id=exemption_id, **{**said, **changed})


def test_a_policy_is_drafted_with_what_was_given_and_nothing_else() -> None:
    given().when(DraftPolicy(name="AI", description="Who may use it.", owner=ADA, enforcement="hard")).then(BARE)
    given().when(
        DraftPolicy(name="AI", description="Who may use it.", owner=ADA, enforcement="hard", targets=[TEAM, ALL])
    ).then(DRAFT)


@pytest.mark.parametrize("past", [DRAFTED, SUBMITTED, ACTIVE, REVOKED])
def test_drafting_the_same_again_is_already_true_in_any_status(past: tuple[Message, ...]) -> None:
    given(*past).when(
        DraftPolicy(name="AI", description="Who may use it.", owner=ADA, enforcement="hard", targets=[ALL, TEAM])
    ).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        DraftPolicy(name="AI", description="Who may use it.", owner=LAB, enforcement="hard"),
        DraftPolicy(name="AI", description="Who may use it.", owner=ADA, enforcement="soft"),
        DraftPolicy(name="AI", description="Who may use it.", owner=ADA, enforcement="hard", targets=[ALL]),
    ],
)
def test_drafting_another_policy_under_the_same_id_is_not_open(other: DraftPolicy) -> None:
    given(DRAFT).when(other).then_not_open("draft")


@pytest.mark.parametrize(
    "command",
    [
        RevisePolicy(),
        SetRule(rule_id="log", text="x", severity="low"),
        RemoveRule(rule_id="log"),
        SubmitPolicy(),
        ApprovePolicy(approver_id="grace"),
        ReturnPolicy(reason="x"),
        ActivatePolicy(effective_from=SPRING),
        SuspendPolicy(reason="x"),
        ResumePolicy(),
        RevokePolicy(reason="x"),
        exempt(),
        RevokeExemption(exemption_id="e-1", reason="x"),
    ],
)
def test_only_its_drafting_is_open_to_an_absent_policy(command: Message) -> None:
    given().when(command).then_not_open("absent")


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        (RevisePolicy(name="Other"), "under_review approved active suspended revoked"),
        (SetRule(rule_id="new", text="x", severity="low"), "under_review approved active suspended revoked"),
        (RemoveRule(rule_id="log"), "under_review approved active suspended revoked"),
        (SubmitPolicy(), "approved active suspended revoked"),
        (ApprovePolicy(approver_id="grace"), "draft active suspended revoked"),
        (ReturnPolicy(reason="x"), "active suspended revoked"),
        (ActivatePolicy(effective_from=SUMMER), "draft under_review active suspended revoked"),
        (SuspendPolicy(reason="x"), "draft under_review approved revoked"),
        (ResumePolicy(), "draft under_review approved revoked"),
        (RevokePolicy(reason="x", superseded_by="pol-9"), "revoked"),
        (exempt("new"), "draft under_review approved revoked"),
        (RevokeExemption(exemption_id="e-1", reason="x"), "draft under_review approved revoked"),
        (DraftPolicy(name="Other", description="x", owner=ADA, enforcement="hard"), " ".join(STATUSES)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_command_is_not_open_elsewhere(command: Message, closed: str) -> None:
    for status in closed.split():
        given(*STATUSES[status]).when(command).then_not_open(status)


def test_a_revised_policy_says_only_what_differs_and_null_clears() -> None:
    told = (*DRAFTED, PolicyRevised(document_id="d-1"))
    given(*told).when(RevisePolicy(name="AI", enforcement="soft", targets=[ALL, TEAM], document_id=None)).then(
        PolicyRevised(enforcement="soft", document_id=None)
    )
    given(*told).when(RevisePolicy(targets=[ALL])).then(PolicyRevised(targets=[ALL]))
    given(*told).when(RevisePolicy(name="AI", document_id="d-1")).then_nothing()
    given(*DRAFTED).when(RevisePolicy(document_id=None)).then_nothing()


@pytest.mark.parametrize(
    ("past", "status"),
    [
        (SUBMITTED, "under_review"),
        (APPROVED, "approved"),
        (ACTIVE, "active"),
        (SUSPENDED, "suspended"),
        (REVOKED, "revoked"),
    ],
)
def test_only_a_draft_is_revised(past: tuple[Message, ...], status: str) -> None:
    given(*past).when(RevisePolicy(name="Other")).then_not_open(status)
    given(*past).when(SetRule(rule_id="log", text="Other.", severity="low")).then_not_open(status)
    given(*past).when(RemoveRule(rule_id="log")).then_not_open(status)
    given(*past).when(RevisePolicy(name="AI")).then_nothing()


def test_a_rule_is_set_anew_as_a_whole() -> None:
    given(DRAFT).when(SetRule(rule_id="log", text="Log each prompt.", severity="high")).then(RULE)
    given(*DRAFTED).when(SetRule(rule_id="log", text="Log each prompt.", severity="high")).then_nothing()
    given(*DRAFTED).when(SetRule(rule_id="log", text="Log each prompt.", severity="low")).then(
        RuleSet(rule_id="log", text="Log each prompt.", severity="low")
    )


def test_a_policy_has_at_most_a_hundred_rules() -> None:
    many = [RuleSet(rule_id=f"r-{n}", text="x", severity="low") for n in range(MAX_RULES)]
    given(DRAFT, *many).when(SetRule(rule_id="more", text="x", severity="low")).then_refused("limit_reached")
    given(DRAFT, *many).when(SetRule(rule_id="r-0", text="y", severity="low")).then(
        RuleSet(rule_id="r-0", text="y", severity="low")
    )
    given(DRAFT, *many[1:]).when(SetRule(rule_id="more", text="x", severity="low")).then(
        RuleSet(rule_id="more", text="x", severity="low")
    )


def test_a_rule_is_removed_once() -> None:
    given(*DRAFTED).when(RemoveRule(rule_id="log")).then(RuleRemoved(rule_id="log"))
    given(DRAFT).when(RemoveRule(rule_id="log")).then_nothing()
    given(*ACTIVE).when(RemoveRule(rule_id="nothing")).then_nothing()


def test_a_policy_without_rules_or_targets_is_not_submitted() -> None:
    given(*DRAFTED).when(SubmitPolicy()).then(PolicySubmitted())
    given(DRAFT).when(SubmitPolicy()).then_refused("rules_missing")
    given(BARE).when(SubmitPolicy()).then_refused("rules_missing")
    given(*DRAFTED, RuleRemoved(rule_id="log")).when(SubmitPolicy()).then_refused("rules_missing")
    given(BARE, RULE).when(SubmitPolicy()).then_refused("targets_missing")
    given(*DRAFTED, PolicyRevised(targets=[])).when(SubmitPolicy()).then_refused("targets_missing")
    given(*SUBMITTED).when(SubmitPolicy()).then_nothing()
    given(*APPROVED).when(SubmitPolicy()).then_not_open("approved")


def test_a_policy_is_approved_by_somebody_else_than_its_owner() -> None:
    given(*SUBMITTED).when(ApprovePolicy(approver_id="grace")).then(PolicyApproved(approver_id="grace"))
    given(*SUBMITTED).when(ApprovePolicy(approver_id="ada")).then_refused("own_approval")
    given(*APPROVED).when(ApprovePolicy(approver_id="grace")).then_nothing()
    given(*APPROVED).when(ApprovePolicy(approver_id="mary")).then_not_open("approved")
    given(*DRAFTED).when(ApprovePolicy(approver_id="grace")).then_not_open("draft")


def test_an_organization_that_owns_a_policy_is_nobody_who_approves() -> None:
    of_lab = PolicyDrafted(name="AI", description="x", owner=LAB, enforcement="soft", targets=[ALL])
    given(of_lab, RULE, PolicySubmitted()).when(ApprovePolicy(approver_id="ada")).then(
        PolicyApproved(approver_id="ada")
    )


def test_a_policy_is_returned_from_review_and_after_approval() -> None:
    for past in (SUBMITTED, APPROVED):
        given(*past).when(ReturnPolicy(reason="unclear")).then(PolicyReturned(reason="unclear"))
    given(*DRAFTED).when(ReturnPolicy(reason="unclear")).then_nothing()
    given(*ACTIVE).when(ReturnPolicy(reason="unclear")).then_not_open("active")


def test_a_returned_policy_is_approved_anew() -> None:
    again = (*APPROVED, PolicyReturned(reason="unclear"), PolicySubmitted())
    given(*again).when(ApprovePolicy(approver_id="grace")).then(PolicyApproved(approver_id="grace"))


def test_an_approved_policy_is_activated_for_a_window_or_without_end() -> None:
    given(*APPROVED).when(ActivatePolicy(effective_from=SPRING)).then(PolicyActivated(effective_from=SPRING))
    given(*APPROVED).when(ActivatePolicy(effective_from=SPRING, effective_until=AUTUMN)).then(ACTIVE[-1])
    given(*ACTIVE).when(ActivatePolicy(effective_from=SPRING, effective_until=AUTUMN)).then_nothing()
    given(*ACTIVE).when(ActivatePolicy(effective_from="2026-03-01T00:00:00.000Z")).then_nothing()
    given(*ACTIVE).when(ActivatePolicy(effective_from=SUMMER)).then_not_open("active")
    given(*SUBMITTED).when(ActivatePolicy(effective_from=SPRING)).then_not_open("under_review")
    given(*SUSPENDED).when(ActivatePolicy(effective_from=SPRING)).then_not_open("suspended")


@pytest.mark.parametrize("until", [SPRING, "2026-02-28T23:59:59.999Z", "2026-03-01T00:00:00.000Z"])
def test_a_window_ends_after_it_begins(until: str) -> None:
    given(*APPROVED).when(ActivatePolicy(effective_from=SPRING, effective_until=until)).then_refused("window_reversed")
    given(*ACTIVE).when(exempt(until=until)).then_refused("window_reversed")


def test_a_window_may_be_as_short_as_can_be_and_lie_in_the_past() -> None:
    until = "2020-01-01T00:00:00.000000001Z"
    given(*APPROVED).when(ActivatePolicy(effective_from="2020-01-01T00:00:00Z", effective_until=until)).then(
        PolicyActivated(effective_from="2020-01-01T00:00:00Z", effective_until=until)
    )


def test_an_active_policy_is_suspended_and_resumed() -> None:
    given(*ACTIVE).when(SuspendPolicy(reason="court")).then(PolicySuspended(reason="court"))
    given(*SUSPENDED).when(SuspendPolicy(reason="other")).then_nothing()
    given(*SUSPENDED).when(ResumePolicy()).then(PolicyResumed())
    given(*ACTIVE).when(ResumePolicy()).then_nothing()
    given(*APPROVED).when(SuspendPolicy(reason="court")).then_not_open("approved")
    given(*APPROVED).when(ResumePolicy()).then_not_open("approved")


def test_a_resumed_policy_keeps_its_window() -> None:
    given(*SUSPENDED, PolicyResumed()).when(
        ActivatePolicy(effective_from=SPRING, effective_until=AUTUMN)
    ).then_nothing()


@pytest.mark.parametrize("past", [DRAFTED, SUBMITTED, APPROVED, ACTIVE, SUSPENDED])
def test_a_policy_is_revoked_from_any_status_but_not_in_favour_of_itself(past: tuple[Message, ...]) -> None:
    given(*past).when(RevokePolicy(reason="old")).then(PolicyRevoked(reason="old"))
    given(*past).when(RevokePolicy(reason="old", superseded_by="this-one")).then_refused("self_reference")


def test_a_revoked_policy_stays_as_it_is() -> None:
    given(*REVOKED).when(RevokePolicy(reason="again")).then_nothing()
    given(*REVOKED).when(RevokePolicy(reason="again", superseded_by="pol-2")).then_nothing()
    given(*REVOKED).when(RevokePolicy(reason="again", superseded_by="pol-3")).then_not_open("revoked")
    given(*REVOKED).when(SuspendPolicy(reason="x")).then_not_open("revoked")
    given(*REVOKED).when(ReturnPolicy(reason="x")).then_not_open("revoked")
    given(*REVOKED).when(exempt()).then_not_open("revoked")


def test_an_exemption_is_granted_once_under_its_id() -> None:
    given(*ACTIVE).when(exempt()).then(EXEMPT)
    given(*SUSPENDED).when(exempt()).then(EXEMPT)
    given(*EXEMPTED).when(exempt(reason="another")).then_nothing()
    given(*EXEMPTED, PolicyRevoked(reason="x")).when(exempt()).then_nothing()
    given(*EXEMPTED).when(exempt(until=AUTUMN)).then_refused("duplicate_exemption")
    given(*EXEMPTED).when(exempt(subject=Ref(kind="person", id="bot"))).then_refused("duplicate_exemption")
    given(*APPROVED).when(exempt()).then_not_open("approved")


def test_a_revoked_exemption_is_not_granted_again_under_its_id() -> None:
    given(*UNEXEMPTED).when(exempt()).then_refused("duplicate_exemption")


def test_nobody_grants_an_exemption_to_oneself() -> None:
    given(*ACTIVE).when(exempt(subject=Ref(kind="person", id="grace"))).then_refused("self_exemption")
    given(*ACTIVE).when(exempt(subject=Ref(kind="agent", id="grace"))).then(
        ExemptionGranted(
            exemption_id="e-1",
            subject=Ref(kind="agent", id="grace"),
            from_=SPRING,
            until=SUMMER,
            granted_by="grace",
            reason="trial",
        )
    )


def test_a_policy_has_at_most_five_hundred_exemptions() -> None:
    def numbered(n: int) -> ExemptionGranted:
        return ExemptionGranted(
            exemption_id=f"n-{n}",
            subject=Ref(kind="agent", id="bot"),
            from_=SPRING,
            until=SUMMER,
            granted_by="grace",
            reason="trial",
        )

    many = [numbered(n) for n in range(MAX_EXEMPTIONS)]
    given(*ACTIVE, *many).when(exempt()).then_refused("limit_reached")
    given(*ACTIVE, *many[1:]).when(exempt()).then(EXEMPT)


def test_an_exemption_is_revoked_once() -> None:
    given(*EXEMPTED).when(RevokeExemption(exemption_id="e-1", reason="over")).then(UNEXEMPTED[-1])
    given(*UNEXEMPTED).when(RevokeExemption(exemption_id="e-1", reason="again")).then_nothing()
    given(*ACTIVE).when(RevokeExemption(exemption_id="e-1", reason="over")).then_refused("unknown_exemption")
    given(*EXEMPTED, PolicyRevoked(reason="x")).when(RevokeExemption(exemption_id="e-1", reason="x")).then_not_open(
        "revoked"
    )


def test_a_target_has_an_id_unless_it_is_everything() -> None:
    def sent(*targets: dict[str, str]) -> dict[str, object]:
        return {"targets": list(targets)}

    given(*DRAFTED).when_sent("RevisePolicy", sent({"scope": "unit"}), kind="policy").then_invalid("data.targets[0].id")
    given(*DRAFTED).when_sent("RevisePolicy", sent({"scope": "planet", "id": "x"}), kind="policy").then_invalid(
        "data.targets[0].scope"
    )
    given(*DRAFTED).when_sent("RevisePolicy", sent({"scope": "all"}, {"scope": "all"}), kind="policy").then_invalid(
        "data.targets[1]"
    )
    many = [{"scope": "role", "id": f"r{n}"} for n in range(201)]
    given(*DRAFTED).when_sent("RevisePolicy", sent(*many), kind="policy").then_invalid("data.targets")


def test_a_malformed_draft_names_every_member_that_offends() -> None:
    data = {
        "name": "",
        "description": "x" * 10_001,
        "owner": {"kind": "agent", "id": "a"},
        "enforcement": "strict",
        "targets": None,
        "rules": {},
    }
    given().when_sent("DraftPolicy", data, kind="policy").then_invalid(
        "data.name", "data.description", "data.owner.kind", "data.enforcement", "data.targets", "data.rules"
    )


def test_a_malformed_exemption_names_its_members_as_on_the_wire() -> None:
    data = {"exemption_id": "E", "subject": {"kind": "person"}, "until": "2026-01-01", "granted_by": "", "reason": "x"}
    given(*ACTIVE).when_sent("GrantExemption", data, kind="policy").then_invalid(
        "data.exemption_id", "data.subject.id", "data.from", "data.until", "data.granted_by"
    )
