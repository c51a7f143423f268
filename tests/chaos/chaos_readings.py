"""What readers must answer: the journals read whole by a plain consumer, and folded without any store."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.reading.queries.aggregates import named
from annals.schemas.canonical import decode
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.kinds import agent, document, location, organization, person, policy, workflow
from annals.schemas.values.refs import ActorRef, OwnerRef, ReaderRef

if TYPE_CHECKING:
    from annals.schemas.messages import Message
    from annals.workers.settings import Settings

Key = tuple[str, str]


def story(number: int) -> list[tuple[str, str, Message]]:
    """Commands that give every projection rows, and the aggregates that they are to."""
    ada, grace, org, place = f"ada-{number}", f"grace-{number}", f"org-{number}", f"place-{number}"
    rule, scout, paper, work = f"rule-{number}", f"scout-{number}", f"paper-{number}", f"work-{number}"
    owner, mail = OwnerRef(kind="person", id=ada), f"ada-{number}@example.org"
    step = workflow.PlannedStep(name="S", step_type="agent", assignee=ActorRef(kind="agent", id=scout), max_attempts=2)
    created = document.CreateDocument(
        title="D", document_type="report", owner=owner, content_cid=cid_text(cid_of(b"\xa0")), size_bytes=1,
        media_type="text/plain", tags=["t"],
    )  # fmt: skip
    targets = [policy.PolicyTarget(scope="person", id=ada)]
    draft = policy.DraftPolicy(name="P", description="d", owner=owner, enforcement="hard", targets=targets)
    return [
        ("person", ada, person.RegisterPerson(name=f"Ada {number}")),
        ("person", ada, person.AddEmail(email=mail)),
        ("person", ada, person.VerifyEmail(email=mail)),
        ("person", ada, person.SetPrimaryEmail(email=mail)),
        ("person", grace, person.RegisterPerson(name=f"Grace {number}")),
        ("organization", org, organization.RegisterOrganization(name=f"O {number}", organization_type="other")),
        ("organization", org, organization.ActivateOrganization()),
        ("organization", org, organization.DefineRole(role_id="r", title="R")),
        ("organization", org, organization.AddMember(person_id=ada, role_id="r", since="2026-11-21")),
        ("location", place, location.DefineLocation(name="L", location_type="logical")),
        ("location", place, location.SetParent(parent_id=f"place-{number + 1}")),
        ("agent", scout, agent.DeployAgent(name="scout", agent_type="researcher", owner_id=ada, capacity=2)),
        ("agent", scout, agent.ConfigureModel(provider="acme", model="Large 1", temperature=0.2)),
        ("agent", scout, agent.GrantCapability(capability="search")),
        ("agent", scout, agent.ActivateAgent()),
        ("policy", rule, draft),
        ("policy", rule, policy.SetRule(rule_id="x", text="t", severity="high")),
        ("policy", rule, policy.SubmitPolicy()),
        ("policy", rule, policy.ApprovePolicy(approver_id=grace)),
        ("policy", rule, policy.ActivatePolicy(effective_from="2026-11-21T00:00:00Z")),
        ("document", paper, created),
        ("document", paper, document.SubmitDocument(reviewer_ids=[grace])),
        ("document", paper, document.ApproveDocument(reviewer_id=grace)),
        ("document", paper, document.PublishDocument()),
        ("document", paper, document.ShareDocument(grantee=ReaderRef(kind="organization", id=org), access="read")),
        ("workflow", work, workflow.DefineWorkflow(name="W", definition="w", owner=owner, steps={"s": step})),
        ("workflow", work, workflow.StartWorkflow()),
        ("workflow", work, workflow.StartStep(step_id="s")),
    ]  # fmt: skip


class Journals:
    """All journals as they are.

    events: as readers answer them, by kind and partition, in the order of offsets; ends: behind the last ones.
    """

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._settings = settings
        self._partitions = partitions
        self.events: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.ends: dict[str, list[int]] = {}
        self.states: dict[Key, list[Any]] = defaultdict(list)
        self.heads: dict[Key, list[str]] = defaultdict(list)
        asyncio.run(self._read())
        for each in self.all():
            self._fold(each)

    def all(self) -> list[dict[str, Any]]:
        return [event for events in self.events.values() for event in events]

    def found(self, **asked: str) -> list[dict[str, Any]]:
        """What is asked for, merged by time, kind and partition; since and until: `recorded_at`, compared as text."""
        since, until = asked.pop("since", ""), asked.pop("until", "~")
        wanted = (
            [
                event
                for event in events
                if since <= event["recorded_at"] < until
                and all(event[member] == value for member, value in asked.items())
            ]
            for events in self.events.values()
        )
        place = itemgetter("recorded_at", "kind", "partition")
        return list(heapq.merge(*wanted, key=place))  # of the partitions' next events always the least

    async def _read(self) -> None:
        async with AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer:
            for kind in DECIDERS:
                topic = f"{self._settings.topic_prefix}events.{kind}"
                wheres = [TopicPartition(topic, at) for at in range(self._partitions)]
                consumer.assign(wheres)
                ends = await consumer.end_offsets(wheres)
                for where in wheres:
                    self.events[kind, where.partition] = []
                while any([await consumer.position(where) < ends[where] for where in wheres]):
                    for where, records in (await consumer.getmany(timeout_ms=500)).items():
                        self.events[kind, where.partition] += [_event(record) for record in records]
                of_kind = [self.events[kind, at] for at in range(self._partitions)]
                self.ends[kind] = [events[-1]["offset"] + 1 if events else 0 for events in of_kind]

    def _fold(self, event: dict[str, Any]) -> None:
        """By the decider alone; chains are checked on the way."""
        key, decider = (event["kind"], event["aggregate_id"]), DECIDERS[event["kind"]]
        states, heads = self.states[key], self.heads[key]
        assert event["version"] == len(heads) + 1, f"a version of {key} is missing or doubled"
        assert event["previous"] == ({"/": heads[-1]} if heads else None), f"the chain of {key} is broken"
        typed = decider.read_event(event["type"], event["schema_version"], event["data"])
        states.append(decider.evolve(states[-1] if states else decider.initial, typed))
        heads.append(event["cid"])

    def state(self, key: Key, version: int) -> dict[str, Any]:
        """What is answered of an aggregate at a version, but for what depends on the moment."""
        state = self.states[key][version - 1]
        said = {"version": version, "head": self.heads[key][version - 1], "status": state.status, "state": named(state)}
        return dict(msgspec.json.decode(msgspec.json.encode(said)))


def _event(record: Any) -> dict[str, Any]:
    event = decode(record.value)
    previous = None if event["previous"] is None else {"/": cid_text(event["previous"])}
    place = {"cid": cid_text(cid_of(record.value)), "partition": record.partition, "offset": record.offset}
    return {**event, "previous": previous, **place}
