"""The rows of the eight read models, worked out from states and events of aggregates, without the code that folds."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
from chaos_readings import story

from annals.schemas.kinds import agent, document, location, organization, person, policy, workflow
from annals.schemas.values.refs import ReaderRef, Ref
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from chaos_readings import Journals

    from annals.schemas.messages import Message

    Events = Sequence[Mapping[str, Any]]
    Positions = Mapping[str, Sequence[int | None]]

CLOSED = {"completed", "skipped"}


def longer_story(number: int) -> list[tuple[str, str, Message]]:
    """The same story, which goes on so that every read model takes rows back, closes, counts or renames something."""
    ada, grace, org, place = f"ada-{number}", f"grace-{number}", f"org-{number}", f"place-{number}"
    rule, scout, paper, work = f"rule-{number}", f"scout-{number}", f"paper-{number}", f"work-{number}"
    exemption = policy.GrantExemption(
        exemption_id="e", subject=Ref("person", f"ada-{number + 1}"), from_="2026-11-22T00:00:00Z",
        until="2027-11-22T00:00:00Z", granted_by=grace, reason="r",
    )  # fmt: skip
    done = {"a": 0.5, "b": 1}
    tasks = [
        each
        for task, confidence in done.items()
        for each in (
            agent.AssignTask(task_id=task, task_type="search"),
            agent.StartTask(task_id=task),
            agent.CompleteTask(task_id=task, result={"n": 1}, confidence=confidence, input_tokens=3, output_tokens=4),
        )
    ]
    tasks += [agent.AssignTask(task_id="c", task_type="search"), agent.FailTask(task_id="c", error="e")]
    tasks += [agent.AssignTask(task_id="d", task_type="search"), agent.RevokeCapability(capability="search")]
    added = workflow.AddStep(step_id="t", name="T", step_type="manual", depends_on=["s"])
    return [
        *story(number),
        ("person", grace, person.AddEmail(email=f"ada-{number}@example.org")),
        ("person", ada, person.RenamePerson(name=f"Ada L {number}")),
        ("person", grace, person.SuspendPerson(reason="r")),
        ("organization", org, organization.AddUnit(unit_id="u", name="U", unit_type="team")),
        ("organization", org, organization.AddUnit(unit_id="v", name="V", unit_type="team")),
        ("organization", org, organization.CloseUnit(unit_id="v", reason="r")),
        ("organization", org, organization.DefineRole(role_id="q", title="Q")),
        ("organization", org, organization.AddMember(person_id=grace, role_id="q", since="2026-11-21")),
        ("organization", org, organization.ReassignMember(person_id=ada, role_id="q", unit_id="u")),
        ("organization", org, organization.DeprecateRole(role_id="r", reason="r")),
        ("organization", org, organization.RemoveMember(person_id=grace)),
        ("location", place, location.RenameLocation(name=f"Lab {number}")),
        ("location", place, location.SetCapacity(capacity=number)),
        ("location", place, location.CloseLocation(reason="r")),
        *(("agent", scout, task) for task in tasks),
        ("policy", rule, policy.SuspendPolicy(reason="r")),
        ("policy", rule, policy.ResumePolicy()),
        ("policy", rule, exemption),
        ("document", paper, document.DescribeDocument(title=f"D {number}", tags=["t", "u"])),
        ("document", paper, document.ShareDocument(grantee=ReaderRef(kind="organization", id=org), access=None)),
        ("document", paper, document.ShareDocument(grantee=ReaderRef(kind="person", id=grace), access="read")),
        ("workflow", work, workflow.FailStep(step_id="s", error="e")),
        ("workflow", work, workflow.StartStep(step_id="s")),
        ("workflow", work, added),
        ("workflow", work, workflow.CompleteStep(step_id="s")),
    ]


# --- Rows of one aggregate, without kind and id ----------------------------------------------------------------------


def members_of(state: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(state, name) for name in names}


def people_directory(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    given = members_of(state, "name", "preferred_name", "primary_email", "phone", "status")
    return [{**given, "emails": sorted(state.emails), "shared_with": []}]


def organization_members(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    return [
        {"person_id": who, **members_of(each, "role_id", "unit_id", "since")} for who, each in state.members.items()
    ]


def organizations(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    given = members_of(state, "name", "legal_name", "organization_type", "status", "parent_id", "headquarters_id")
    units = sum(not unit.closed for unit in state.units.values())
    roles = sorted(name for name, role in state.roles.items() if not role.deprecated)
    return [{**given, "units": units, "roles": roles, "members": len(state.members)}]


def documents(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    given = members_of(state, "title", "document_type", "owner", "authors", "status", "published_version")
    more = members_of(state, "confidentiality", "tags", "access")
    newest = state.versions[-1]
    return [{**given, **more, "version": len(state.versions), "content_cid": newest.content_cid}]


def locations(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    given = members_of(state, "name", "location_type", "status", "parent_id")
    return [{**given, **members_of(state, "address", "coordinates", "access_url", "capacity")}]


def agent_workload(state: Any, events: Events) -> Iterable[dict[str, Any]]:
    completed = [event["data"] for event in events if event["type"] == "TaskCompleted"]
    is_open = sorted(name for name, task in state.tasks.items() if task.status in {"assigned", "started"})
    confidences = [each["confidence"] for each in completed]
    return [
        {
            **members_of(state, "name", "owner_id", "status", "capacity"),
            "capabilities": sorted(state.capabilities),
            "open_tasks": is_open,
            "room": max(0, state.capacity - len(is_open)),
            "completed": len(completed),
            "failures": sum(event["type"] == "TaskFailed" for event in events),
            "mean_confidence": sum(confidences) / len(confidences) if confidences else None,
            "input_tokens": sum(each["input_tokens"] for each in completed),
            "output_tokens": sum(each["output_tokens"] for each in completed),
        }
    ]


def policies_in_force(state: Any, events: Events) -> Iterable[dict[str, Any]]:
    if state.effective_from is None:
        return []
    times = {
        name: [e["recorded_at"] for e in events if e["type"] == f"Policy{name}"] for name in ("Suspended", "Resumed")
    }
    ends = [*times["Resumed"], None]
    spans = zip(times["Suspended"], ends, strict=False)
    exemptions = {
        name: {"subject": each.subject, "since": each.from_, "until": each.until}
        for name, each in state.exemptions.items()
    }
    targets = [[scope, name] for scope, _, name in (text.partition("/") for text in sorted(state.targets))]
    given = {
        **members_of(state, "name", "enforcement", "status", "effective_from", "effective_until"),
        "suspensions": len(times["Suspended"]),
        "suspended": [{"since": at, "until": end} for at, end in spans if at != end],  # over at once: it never was
        "revoked_at": None,
        "exemptions": exemptions,
        "targets": targets,
    }
    return [{**given, "scope": scope, "id": name} for scope, name in targets]


def workflow_board(state: Any, _: Events) -> Iterable[dict[str, Any]]:
    closed = {name for name, step in state.steps.items() if step.status in CLOSED}
    attempts = {name: step.max_attempts if step.spent else step.attempts for name, step in state.steps.items()}

    def may_start(name: str, step: Any) -> bool:
        is_waiting = step.status == "pending" or (step.status == "failed" and attempts[name] < step.max_attempts)
        return state.status == "running" and is_waiting and closed >= set(step.depends_on)

    columns = ("name", "step_type", "depends_on", "max_attempts", "assignee", "deadline", "status")
    steps = {name: {**members_of(each, *columns), "attempts": attempts[name]} for name, each in state.steps.items()}
    return [
        {
            **members_of(state, "name", "definition", "status", "deadline"),
            "steps": steps,
            "ready": sorted(name for name, step in state.steps.items() if may_start(name, step)),
            "overdue": [],
            "progress": len(closed) / len(state.steps),
        }
    ]


MODELS: dict[str, tuple[str, Callable[[Any, Events], Iterable[dict[str, Any]]]]] = {
    "people_directory": ("person", people_directory),
    "organization_members": ("organization", organization_members),
    "organizations": ("organization", organizations),
    "documents": ("document", documents),
    "locations": ("location", locations),
    "agent_workload": ("agent", agent_workload),
    "policies_in_force": ("policy", policies_in_force),
    "workflow_board": ("workflow", workflow_board),
}
"""Of each read model the kind of its aggregates, and the rows of one."""
OWN_IDS = {"organization_members": "organization_id", "policies_in_force": "policy_id"}


class RowsOf:
    """What rows there must be at any position of the journals."""

    def __init__(self, journals: Journals, partitions: int) -> None:
        self._partitions = partitions
        self._states = journals.states
        self._events: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for event in journals.all():
            self._events[event["kind"], event["aggregate_id"]].append(event)

    def at(self, model: str, positions: Positions) -> list[str]:
        """The rows of what was recorded below an offset of each partition (None: none of it), as sorted texts.

        Who shares an address is in them: all of those whose address is recorded there.
        """
        kind, rows_of = MODELS[model]
        found: list[dict[str, Any]] = []
        for (its_kind, name), events in self._events.items():
            offset = positions[kind][partition_of(name.encode(), self._partitions)]
            version = sum(event["offset"] < (offset or 0) for event in events)
            if its_kind == kind and version:
                own = {"kind": kind, "aggregate_id": name, **({OWN_IDS[model]: name} if model in OWN_IDS else {})}
                state = self._states[kind, name][version - 1]
                found += [{**own, **row} for row in rows_of(state, events[:version])]
        return as_texts(with_sharers(found) if model == "people_directory" else found)


def with_sharers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for email in row["emails"]:
            owners[email].add(row["aggregate_id"])
    return [
        {**row, "shared_with": sorted({who for e in row["emails"] for who in owners[e]} - {row["aggregate_id"]})}
        for row in rows
    ]


def shouted(rows: Iterable[str]) -> list[str]:
    """The rows as the second version of a projection has them, whose names are in capitals."""
    return as_texts({**row, "name": row["name"].upper()} for row in map(msgspec.json.decode, rows))


def without_sharers(rows: Iterable[str]) -> list[str]:
    """Rows without whose look-ups rest on later positions than the rows themselves."""
    return as_texts({**row, "shared_with": None} for row in map(msgspec.json.decode, rows))


def as_texts(rows: Iterable[Any]) -> list[str]:
    return sorted(msgspec.json.encode(row, order="sorted").decode() for row in rows)
