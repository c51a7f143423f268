"""The nine questions against answers that are worked out from the aggregates' states, without any row or index."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from beginnings import BEGINNINGS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.reading.queries import rows as row_queries
from annals.agents.reading.read_models.asking import QUESTIONS
from annals.agents.testing.histories import histories
from annals.schemas.values.refs import ref_text
from annals.schemas.values.standards.calendar import instant
from projecting import GlobalStores, Journals, MemoryShards, global_reader, read_to_the_ends, row_answers

if TYPE_CHECKING:
    from annals.agents.reading.read_models.row_answers import RowAnswers

IDS = ("a", "b", "f", "p-1", "\u00c4")
NOW = "2026-06-01T00:00:00Z"
RECORDED = "2026-01-01T00:00:00Z"


def states_of(data: st.DataObject, kind: str, journals: Journals) -> dict[str, Any]:
    """Some aggregates of a kind with drawn histories, recorded; their states."""
    found = {}
    for name in data.draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)):
        history = data.draw(histories(DECIDERS[kind], BEGINNINGS.get(kind, ())))
        journals.append(kind, name, *history.events)
        if history.events:
            found[name] = history.state
    return found


def asked(journals: Journals, question: str, given_: dict[str, Any]) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        reader = global_reader(journals, GlobalStores())
        async with read_to_the_ends(reader, journals):
            shards = MemoryShards(journals, kinds=QUESTIONS[question].projection.wanted)
            answers = row_answers(shards, reader)
            answer = await answers.ask(question, given_)
            assert not answer.missing
            assert not answer.stale
            whole = sorted(map(repr, answer.rows))
            assert await paged(answers, question, given_, len(whole)) == whole
            with pytest.MonkeyPatch.context() as patch:  # up from each row of a tree, instead of down from its root
                patch.setattr(row_queries, "WALKED_AGAIN", 0)
                assert await paged(answers, question, given_, len(whole)) == whole
            return answer.rows

    return asyncio.run(ask())


async def paged(answers: RowAnswers, question: str, given_: dict[str, Any], count: int) -> list[str]:
    """The rows of all pages of two, in no order."""
    found: list[str] = []
    page = await answers.ask(question, given_, limit=2)
    found += map(repr, page.rows)
    while not page.is_end:
        assert len(page.rows) <= 2
        page = await answers.ask(question, given_, page.after, 2, page.version)
        found += map(repr, page.rows)
        assert len(found) <= count
    return sorted(found)


def people(states: dict[str, Any], email: str) -> list[str]:
    return sorted(name for name, state in states.items() if email.lower() in {e.lower() for e in state.emails})


def members(states: dict[str, Any], organization_id: str, role_id: str | None) -> list[str]:
    kept = states[organization_id].members if organization_id in states else {}
    return sorted(person for person, member in kept.items() if role_id in {None, member.role_id})


def memberships(states: dict[str, Any], person_id: str) -> list[str]:
    return sorted(name for name, state in states.items() if person_id in state.members)


def policies(states: dict[str, Any], scope: str, name: str, at: str) -> list[tuple[str, str]]:
    found = []
    for policy_id, state in states.items():
        is_over = state.status != "active" and instant(at) >= instant(RECORDED)  # all events were recorded then
        if is_over or state.effective_from is None or instant(at) < instant(state.effective_from):
            continue
        if state.effective_until is not None and instant(at) >= instant(state.effective_until):
            continue
        targets = {target_of(text) for text in state.targets}
        found += [(policy_id, "all")] if any(scope_ == "all" for scope_, _ in targets) else []
        found += [(policy_id, scope) for scope_, id_ in targets if (scope_, id_) == (scope, name) and scope != "all"]
    return sorted(found)


def target_of(text: str) -> tuple[str, str]:
    """A target as states keep it: `all`, or scope and id."""
    scope, _, name = text.partition("/")
    return scope, name


def agents(states: dict[str, Any], wanted: list[str]) -> list[str]:
    def room(state: Any) -> int:
        is_open = [task for task in state.tasks.values() if task.status in {"assigned", "started"}]
        return int(state.capacity - len(is_open))

    return sorted(
        name
        for name, state in states.items()
        if state.status == "active" and room(state) > 0 and set(wanted) <= set(state.capabilities)
    )


def documents(states: dict[str, Any], tag: str, reader: str) -> list[str]:
    def may(state: Any) -> bool:
        people_ = {ref_text(state.owner), *map(ref_text, state.authors), *map(ref_text, state.access)}
        return state.confidentiality == "public" or reader in people_

    return sorted(
        name for name, state in states.items() if state.status == "published" and tag in state.tags and may(state)
    )


def under(states: dict[str, Any], root: str) -> list[str]:
    found: set[str] = set()
    while more := {
        name for name, state in states.items() if state.parent_id in {root, *found} and name not in {root, *found}
    }:
        found |= more
    return sorted(found)


def organizations(states: dict[str, Any], name: str) -> list[str]:
    return sorted(
        key for key, state in states.items() if state.status == "active" and state.name.casefold() == name.casefold()
    )


def steps(states: dict[str, Any], due: str) -> list[str]:
    found = []
    for name, state in states.items():
        closed = {key for key, step in state.steps.items() if step.status in {"completed", "skipped"}}
        if due == "ready":
            able = [
                step
                for step in state.steps.values()
                if (step.status == "pending" or (step.status == "failed" and step.attempts < step.max_attempts))
                and closed >= set(step.depends_on)
            ]
            if state.status == "running" and able:
                found.append(name)
        elif state.status in {"running", "paused"}:
            deadlines = [step.deadline for key, step in state.steps.items() if key not in closed]
            if any(each is not None and instant(each) <= instant(NOW) for each in (state.deadline, *deadlines)):
                found.append(name)
    return sorted(found)


def some(data: st.DataObject, values: Any) -> Any:
    return data.draw(st.sampled_from(sorted({*values, "none"})))


# Shrinking a journal of whole histories takes minutes, and tells little more than what was drawn.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
lively = settings(max_examples=15, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(data=st.data())
@lively
def test_people(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "person", journals)
    email = some(data, [email.upper() for state in states.values() for email in state.emails])
    rows = asked(journals, "people", {"email": email})
    assert [row["aggregate_id"] for row in rows] == people(states, email)
    for row in rows:
        sharers = {name for each in row["emails"] for name in people(states, each)} - {row["aggregate_id"]}
        assert row["shared_with"] == sorted(sharers)


@given(data=st.data())
@lively
def test_members_and_memberships(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "organization", journals)
    name = some(data, states)
    role = data.draw(st.sampled_from([None, *sorted({m.role_id for s in states.values() for m in s.members.values()})]))
    found = asked(journals, "members", {"organization_id": name, "role_id": role})
    assert [row["person_id"] for row in found] == members(states, name, role)
    person = some(data, {person for state in states.values() for person in state.members})
    found = asked(journals, "memberships", {"person_id": person})
    assert [row["aggregate_id"] for row in found] == memberships(states, person)


@given(data=st.data())
@lively
def test_policies(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "policy", journals)
    targets = {target_of(text) for state in states.values() for text in state.targets if text != "all"}
    scope, name = data.draw(st.sampled_from(sorted({*targets, ("person", "none")})))
    times = {time for state in states.values() for time in (state.effective_from, state.effective_until) if time}
    at = data.draw(st.sampled_from(sorted({*times, NOW})))
    rows = asked(journals, "policies", {"subject": f"{scope}:{name}", "at": at})
    assert sorted((row["policy_id"], row["scope"]) for row in rows) == policies(states, scope, name, at)


@given(data=st.data())
@lively
def test_agents(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "agent", journals)
    able = sorted({capability for state in states.values() for capability in state.capabilities})
    wanted = data.draw(st.lists(st.sampled_from(able), max_size=2)) if able else []
    found = asked(journals, "agents", {"capability": wanted})
    assert [row["aggregate_id"] for row in found] == agents(states, wanted)


@given(data=st.data())
@lively
def test_documents(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "document", journals)
    tag = some(data, {tag for state in states.values() for tag in state.tags})
    readers = {ref_text(who) for state in states.values() for who in (state.owner, *state.authors, *state.access)}
    reader = some(data, readers)
    found = asked(journals, "documents", {"tag": tag, "grantee": reader.replace("/", ":", 1)})
    assert [row["aggregate_id"] for row in found] == documents(states, tag, reader)


@given(data=st.data())
@lively
def test_locations(data: st.DataObject) -> None:
    from annals.schemas.kinds.location import LocationDefined, ParentSet

    journals, parents = Journals(), {}
    for name in IDS:
        journals.append("location", name, LocationDefined(name="L", location_type="logical"))
        parent = data.draw(st.sampled_from([None, *IDS]))
        if parent is not None:
            journals.append("location", name, ParentSet(parent_id=parent))
        parents[name] = type("State", (), {"parent_id": parent})
    root = data.draw(st.sampled_from(IDS))
    found = asked(journals, "locations", {"under": root})
    assert [row["aggregate_id"] for row in found] == sorted(under(parents, root))


@given(data=st.data())
@lively
def test_organizations(data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "organization", journals)
    name = some(data, [state.name.swapcase() for state in states.values()])
    found = asked(journals, "organizations", {"name": name})
    assert [row["aggregate_id"] for row in found] == organizations(states, name)


@pytest.mark.parametrize("due", ["ready", "overdue"])
@given(data=st.data())
@lively
def test_steps(due: str, data: st.DataObject) -> None:
    journals = Journals()
    states = states_of(data, "workflow", journals)
    found = asked(journals, "steps", {"due": due})
    if due == "ready":
        assert [row["aggregate_id"] for row in found] == steps(states, due)
    else:  # at the machine's time, which is later than NOW: nothing that is overdue then is missing
        assert set(steps(states, due)) <= {row["aggregate_id"] for row in found}


def test_no_question_was_forgotten() -> None:
    assert len(QUESTIONS) == 9
