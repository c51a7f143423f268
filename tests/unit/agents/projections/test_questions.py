"""The questions, over rows that events made."""

import pytest

from annals.agents.projections import questions
from annals.agents.projections.agent_workload import Agent
from annals.agents.projections.documents import Document
from annals.agents.projections.organization_members import ORGANIZATION_MEMBERS, Member
from annals.agents.projections.organizations import Organization
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY, Person
from annals.agents.projections.policies_in_force import POLICIES_IN_FORCE, Exemption, Policy
from annals.agents.projections.workflow_board import Board, BoardStep
from annals.agents.testing.projections import given_events
from annals.schemas.kinds import organization, person, policy
from annals.schemas.values.refs import Ref


def ids(rows):
    return [row.aggregate_id for row in rows]


def test_an_address_is_found_without_case_and_unverified_and_of_the_dead():
    events = given_events("person", "b", person.PersonRegistered(name="Bo", email="Ada@Example.org"))
    events = events.and_events("person", "a", person.PersonRegistered(name="Ada"), person.EmailAdded("ADA@example.org"))
    events = events.and_events("person", "a", person.DeathRecorded(death_date="2020-01-01"))
    rows = events.project(PEOPLE_DIRECTORY).then_found("email", "ada@example.org", ("a",), ("b",)).rows().values()
    assert ids(questions.people(rows, "ada@EXAMPLE.org")) == ["a", "b"]


def test_a_member_who_left_is_found_no_more():
    added = organization.MemberAdded(person_id="p", role_id="r", since="2020-01-01")
    projected = given_events("organization", "o", added).project(ORGANIZATION_MEMBERS)
    row = Member(
        kind="organization", aggregate_id="o", organization_id="o", person_id="p", role_id="r", since="2020-01-01"
    )
    projected.then_rows({("o", "p"): row}).then_found("person_id", "p", ("o", "p"))
    assert questions.members([row], "o", "r") == questions.members([row], "o") == questions.memberships([row], "p")
    assert questions.members([row], "o", "other") == []
    removed = given_events("organization", "o", added, organization.MemberRemoved(person_id="p"))
    removed.project(ORGANIZATION_MEMBERS).then_rows({}).then_found("person_id", "p")


def test_the_window_of_a_policy_is_half_open():
    row = Policy(
        kind="policy", aggregate_id="x", policy_id="x", name="X", enforcement="hard", status="active",
        scope="agent", id="a",
        effective_from="2026-01-01T00:00:00Z", effective_until="2026-02-01T00:00:00Z",
        exemptions={"e": Exemption(subject="agent/a", since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z")},
    )  # fmt: skip
    assert questions.policies([row], "agent:a", "2026-01-01T00:00:00.000Z") == [row]
    assert questions.policies([row], "agent:a", "2026-02-01T00:00:00Z") == []
    assert questions.policies([row], "agent:b", "2026-01-05T00:00:00Z") == []


def test_a_policy_for_all_binds_everybody_whatever_id_stands_beside_it():
    everybody = [policy.Target(scope="all", id="p-2"), policy.Target(scope="role", id="r")]
    drafted = policy.PolicyDrafted(
        name="X", description="X", owner=Ref("person", "p-1"), enforcement="hard", targets=everybody
    )
    activated = policy.PolicyActivated(effective_from="2026-01-01T00:00:00Z")
    rows = given_events("policy", "x", drafted, activated).project(POLICIES_IN_FORCE).rows()
    found = questions.policies(rows.values(), "agent:a", "2026-01-01T00:00:00Z")
    assert [(row.policy_id, row.scope, row.id) for row in found] == [("x", "all", "")]


def test_steps_are_ready_or_overdue():
    step = BoardStep(name="S", step_type="manual", max_attempts=1, deadline="2026-01-01T00:00:00Z")
    row = Board(
        kind="workflow", aggregate_id="w", name="W", definition="d", status="running", steps={"s": step}, ready=["s"]
    )
    assert questions.ready_steps([row]) == questions.overdue_steps([row], "2026-01-01T00:00:00Z") == [row]
    assert questions.overdue_steps([row], "2025-12-31T23:59:59.999Z") == []


def test_an_agent_needs_all_capabilities_and_room():
    row = Agent(
        kind="agent",
        aggregate_id="g",
        name="g",
        owner_id="p",
        status="active",
        capacity=1,
        room=1,
        capabilities=["a", "b"],
    )
    full = Agent(
        kind="agent", aggregate_id="f", name="f", owner_id="p", status="active", capacity=1, room=0, capabilities=["a"]
    )
    assert ids(questions.agents([row, full], ["a"])) == ["g"]
    assert questions.agents([row], ["a", "c"]) == []


@pytest.mark.parametrize(("reader", "may"), [("person:o", True), ("agent:g", True), ("person:x", False)])
def test_a_document_is_read_by_its_owner_and_by_whom_it_is_shared_with(reader, may):
    row = Document(
        kind="document", aggregate_id="d", title="D", document_type="t", owner="person/o", status="published",
        content_cid="c", confidentiality="internal", tags=["x"], access={"agent/g": "read"},
    )  # fmt: skip
    assert bool(questions.documents([row], "x", reader)) is may


def test_organizations_are_asked_by_the_whole_name():
    row = Organization(
        kind="organization", aggregate_id="o", name="Lab One", organization_type="other", status="active"
    )
    assert questions.organizations([row], "LAB one") == [row]
    assert questions.organizations([row], "lab") == []


def test_the_kit_fails_when_rows_differ():
    projected = given_events("person", "a", person.PersonRegistered(name="Ada")).project(PEOPLE_DIRECTORY)
    projected.then_rows({("a",): Person(kind="person", aggregate_id="a", name="Ada")})
    with pytest.raises(AssertionError, match="people_directory has the rows"):
        projected.then_rows({})
    with pytest.raises(AssertionError, match="finds"):
        projected.then_found("name", "ada")
