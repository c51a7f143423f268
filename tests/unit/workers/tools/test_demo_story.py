"""The demo's story on the aggregates in memory: every line of it, and that it stops where something is otherwise."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pytest
from msgspec import structs

from annals.agents.reactions import REGISTRY
from annals.agents.reading.found import JournalEvent
from annals.agents.testing.reactions import GivenReaction, given_reaction
from annals.agents.testing.workbench import Workbench
from annals.schemas.canonical import encode
from annals.schemas.cid import cid_text
from annals.schemas.kinds import KINDS, person
from annals.schemas.outcome import ACCEPTED
from annals.workers.cli import main
from annals.workers.settings import environment_without_settings, load_settings
from annals.workers.tools.demo import memory as memories
from annals.workers.tools.demo import run as runs
from annals.workers.tools.demo.memory import Memory, NotOurFolderError, recall, remember
from annals.workers.tools.demo.proofs import each_once
from annals.workers.tools.demo.reacting import ASSIGN_TASKS, Reaction, Reactions
from annals.workers.tools.demo.sequel import sequel
from annals.workers.tools.demo.show import Plain, Show
from annals.workers.tools.demo.story import STORY
from annals.workers.tools.demo.teller import DifferedError, Teller, short

if TYPE_CHECKING:
    from pathlib import Path

    from annals.schemas.envelope import RecordedEvent
    from annals.schemas.outcome import Outcome

# DOMAIN's table; a command that is refused on purpose is followed by its rule.
TABLE = {
    "A lab opens": "DefineLocation SetPlace RegisterOrganization ActivateOrganization UpdateProfile AddUnit DefineRole",
    "Ada and Grace join": "RegisterPerson RegisterPerson RegisterPerson AddEmail SetPrimaryEmail:email_unverified "
    "VerifyEmail SetPrimaryEmail AddMember AddMember MergePerson",
    "A rule for AI": "DraftPolicy SetRule SubmitPolicy ApprovePolicy:own_approval ApprovePolicy ActivatePolicy",
    "An agent is hired": "DeployAgent ActivateAgent:model_missing ConfigureModel GrantCapability ActivateAgent",
    "It does research": "DefineWorkflow StartWorkflow StartStep:dependencies_open StartStep AssignTask StartTask "
    "CompleteTask CompleteStep StartStep DecideStep CompleteWorkflow",
    "The report is out": "CreateDocument SubmitDocument ApproveDocument PublishDocument PublishDocument ShareDocument",
}


class InMemory:
    """The client of a worker, without either: the aggregates answer at once."""

    class Sent:
        def __init__(self, kind: str, envelope: dict[str, Any]) -> None:
            self.kind, self.envelope = kind, envelope

        def key(self) -> bytes:
            return str(self.envelope["aggregate_id"]).encode()

        def value(self) -> bytes:
            return json.dumps(self.envelope).encode()

    def __init__(self) -> None:
        self.bench = Workbench()
        self.told: list[tuple[str, str, str, str]] = []  # kind, type, status, rule
        self.running: dict[str, GivenReaction] = {}

    async def send(self, kind: str, envelope: dict[str, Any]) -> Outcome:
        outcome = self.bench.send(self.Sent(kind, envelope))
        rule = outcome.error.details.get("rule", "") if outcome.error else ""
        self.told.append((kind, envelope["type"], outcome.status, rule))
        if outcome.status == ACCEPTED:
            await self.react(kind, outcome)
        return outcome

    async def react(self, kind: str, outcome: Outcome) -> None:
        """Have those reactions that were resumed see the events, and send what they send."""
        recorded = self.bench.events(kind, outcome.aggregate_id)[outcome.version - len(outcome.events) :]
        events = [JournalEvent(each.version, structs.asdict(each), b"", each.cid, ()) for each in recorded]
        for reaction in self.running.values():
            if reaction.reaction.kind == kind:
                reaction.take(events)
                sent, reaction.commands = reaction.commands, []
                for each in sent:
                    await self.send(each.kind, json.loads(each.value))


class InMemoryReactions(Reactions):
    """The project's own reactions, without a worker."""

    def __init__(self, client: InMemory) -> None:
        self._client = client

    async def resume(self, reaction: Reaction) -> bool:
        is_new = reaction.name not in self._client.running
        self._client.running.setdefault(reaction.name, given_reaction(REGISTRY[reaction.name]))
        return is_new

    async def until(self, kind: str, aggregate_id: str, version: int) -> dict[str, Any]:
        event = self._client.bench.events(kind, aggregate_id)[version - 1]
        return structs.asdict(event) | {"cid": cid_text(event.cid)}


class InMemoryTeller(Teller):
    _client: InMemory

    async def event(self, outcome: Outcome) -> RecordedEvent:
        events = self._client.bench.events(outcome.kind, outcome.aggregate_id)
        return next(event for event in events if cid_text(event.cid) == outcome.events[-1].cid)


def teller(client: InMemory, memory: Memory | None = None, chapter: int = 1, show: Show | None = None) -> Teller:
    settings = load_settings(environment={})
    return InMemoryTeller(client, InMemoryReactions(client), settings, show or Show(), memory or Memory(), chapter)


def tell_story(client: InMemory, memory: Memory | None = None) -> Teller:
    telling = teller(client, memory)
    for scene in STORY:
        asyncio.run(scene.tell(telling))
    return telling


def test_the_story_is_the_domains_line_by_line() -> None:
    client, kinds = InMemory(), set()
    telling = teller(client)
    for scene in STORY:
        del client.told[:]
        asyncio.run(scene.tell(telling))
        assert " ".join(f"{name}:{rule}" if rule else name for _, name, _, rule in client.told) == TABLE[scene.title]
        kinds |= {kind for kind, _, _, _ in client.told}
    assert [scene.title for scene in STORY] == list(TABLE)
    assert kinds == set(KINDS)


def test_a_document_that_is_published_twice_is_published_once() -> None:
    client = InMemory()
    tell_story(client)
    types = [event.type for event in client.bench.events("document", "report")]
    assert types.count("DocumentPublished") == 1


def test_a_story_told_again_is_answered_by_the_events_of_then() -> None:
    client = InMemory()
    first = tell_story(client)
    del client.told[:]
    again = tell_story(client, Memory(1, 1, first.versions, first.answers))
    assert {status for _, _, status, _ in client.told} == {"duplicate"}
    assert again.answers == first.answers
    assert again.versions == first.versions


def test_a_story_that_leads_to_other_events_than_then_differs() -> None:
    client = InMemory()
    first = tell_story(client)
    answers = first.answers | {next(iter(first.answers)): "bafyother"}
    with pytest.raises(DifferedError, match=r"led to .* and then to bafyother"):
        tell_story(client, Memory(1, 1, first.versions, answers))


def test_a_journal_that_has_lost_the_story_differs() -> None:
    first = tell_story(InMemory())
    with pytest.raises(DifferedError, match="DefineLocation of location lab should be duplicate"):
        tell_story(InMemory(), Memory(1, 1, first.versions, first.answers))


def test_what_joins_workflow_and_agent_is_sent_by_reactions_alone() -> None:
    client = InMemory()
    telling = tell_story(client)
    assert [(each["reaction"], each["type"]) for each in telling.reacted] == [
        ("assign-tasks", "TaskAssigned"),
        ("complete-steps", "StepCompleted"),
    ]
    for each in telling.reacted:
        event = client.bench.events(each["kind"], each["aggregate_id"])[each["version"] - 1]
        cause = next(
            cause
            for kind, aggregate_id in (("workflow", "research-1"), ("agent", "scout"))
            for cause in client.bench.events(kind, aggregate_id)
            if cid_text(cause.cid) == each["causation_id"]
        )
        assert cause.type == {"assign-tasks": "StepStarted", "complete-steps": "TaskCompleted"}[each["reaction"]]
        assert (event.causation_id, event.actor) == (each["causation_id"], None)


def test_what_a_reaction_leads_to_must_be_caused_by_its_event() -> None:
    client = InMemory()
    telling = teller(client)
    for scene in STORY[:4]:
        asyncio.run(scene.tell(telling))
    other = client.bench.events("agent", "scout")[0]
    telling.versions["agent/scout"] = (3, "")
    with pytest.raises(DifferedError, match="assign-tasks should react to AgentDeployed"):
        asyncio.run(telling.reaction(ASSIGN_TASKS, other, "scout"))


def test_an_interrupted_story_goes_on_where_it_was() -> None:
    client = InMemory()
    asyncio.run(STORY[0].tell(teller(client)))
    asyncio.run(STORY[1].tell(teller(client)))
    resumed = tell_story(client, Memory(runs=0, begun=1))
    assert resumed.versions["document/report"][0] == 5


def test_each_later_run_makes_the_chains_longer() -> None:
    client = InMemory()
    first = tell_story(client)
    lengths = first.versions
    for run in (2, 3, 4, 5):
        telling = teller(client, Memory(run - 1, run, lengths, first.answers), run)
        asyncio.run(sequel(run).tell(telling))
        assert telling.versions[f"workflow/research-{run}"][0] == 7
        for name in ("person/p-1", "organization/institute", "policy/ai-rules", "agent/scout", "document/report"):
            assert telling.versions[name][0] > lengths[name][0]
        lengths = lengths | telling.versions


class Says:
    """A client that answers whatever it is told to."""

    ANSWER: ClassVar[dict[str, Any]] = {"command_id": "c", "kind": "person", "aggregate_id": "p-1", "version": 1}

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    async def send(self, kind: str, envelope: dict[str, Any]) -> Outcome:
        return self.outcome


def outcome_of(*commands: Any) -> Outcome:
    client = InMemory()
    for number, message in enumerate(commands):
        envelope = {"id": str(number), "type": type(message).__name__, "aggregate_id": "p-1", "data": {"name": "Ada"}}
        found = asyncio.run(client.send("person", envelope))
    return found


REGISTER = person.RegisterPerson(name="Ada")


def test_what_should_be_refused_and_is_not_differs() -> None:
    telling = teller(Says(outcome_of(REGISTER)))
    with pytest.raises(DifferedError, match="should be refused by email_unverified"):
        asyncio.run(telling.refuse("person", "p-1", REGISTER, "email_unverified"))


def test_what_should_lead_to_an_event_and_does_not_differs() -> None:
    telling = teller(Says(outcome_of(REGISTER, REGISTER)))  # already true
    with pytest.raises(DifferedError, match="should be accepted or duplicate with one event"):
        asyncio.run(telling.tell("person", "p-1", REGISTER))


def test_what_should_be_a_duplicate_and_is_not_differs() -> None:
    accepted = outcome_of(REGISTER)
    with pytest.raises(DifferedError, match="sent twice should be a duplicate"):
        asyncio.run(teller(Says(accepted)).again(accepted, REGISTER))


def record(command_id: str) -> tuple[int, bytes, bytes, list[Any]]:
    return 0, b"p-1", encode({"command_id": command_id}), []


def test_commands_are_counted_in_the_journal() -> None:
    each_once([record("a"), record("b"), record("other")], ["a", "b"])
    with pytest.raises(DifferedError, match=r"1 commands were answered and have no event: \['b'\]"):
        each_once([record("a")], ["a", "b"])
    with pytest.raises(DifferedError, match=r"1 commands have more than one event: \['a'\]"):
        each_once([record("a"), record("a"), record("b")], ["a", "b"])


def test_a_folder_remembers_from_run_to_run(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert recall(folder) == Memory()
    kept = Memory(1, 1, {"person/p-1": (4, "bafy")}, {"demo-1.x": "bafy"})
    remember(folder, kept)
    assert recall(folder) == kept
    assert [path.name for path in folder.iterdir()] == [memories.FILE]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotOurFolderError, match="is not empty, and no demo's"):
        recall(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_memory_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / memories.FILE).write_text("[]")
    with pytest.raises(NotOurFolderError, match=r"demo\.json cannot be read"):
        recall(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotOurFolderError, match="cannot be used"):
        recall(tmp_path / "file" / "folder")


def test_plain_lines_have_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    show = Plain()
    with show.waiting("for nothing") as status:
        status.update("still")
    show.scene("Title", "meaning")
    show.line("no", ("refused", "yellow"))
    assert capsys.readouterr().out == "\nTitle\n  meaning\n  ✗ refused\n"


def test_a_cid_is_shown_by_its_end() -> None:
    cid = "bafyr4ibiuduipdrn2mgtkrylunnsi7tyrrwi2v5clyjxiemgtkwayv5wxq"
    assert short(cid) == "…wayv5wxq"
    assert short(f"its previous is {cid}") == "its previous is …wayv5wxq"
    assert short("nothing to shorten") == "nothing to shorten"


@pytest.mark.parametrize(("differed", "status"), [(None, 0), ("a head that was kept is not there", 1)])
def test_the_exit_status_says_whether_everything_held(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], differed: str | None, status: int
) -> None:
    class Stage:
        memory, settings, folder, is_kept = Memory(), None, "folder", False

        def __init__(self, data_dir: Path | None) -> None:
            assert data_dir is None

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            return

    def tell(self: Any) -> None:
        if differed is not None:
            raise DifferedError(differed)

    monkeypatch.setattr(runs, "Stage", Stage)
    monkeypatch.setattr("annals.workers.tools.demo.run._Run.run", tell)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for arguments in (["demo"], ["demo", "--json"]):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == status
            shown = capsys.readouterr().out
            assert ("Everything held" in shown or '"differed":null' in shown) is (differed is None)
            assert differed is None or differed in shown
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_download_is_shown_jar_by_jar() -> None:
    told: list[str] = []

    class Status:
        def update(self, status: str) -> None:
            told.append(status)

    progress = runs._Progress(Status())
    progress(3, 31)
    progress(31, 31)
    assert told == [
        "Fetching Apache Kafka from Maven Central, the first time only: 3 of 31 jars",
        "Starting Apache Kafka",
    ]


def test_a_process_can_be_given_an_environment_without_settings() -> None:
    given = {"PATH": "/bin", "ANNALS_PARTITIONS": "7", "ANNALS_TEST_BOOTSTRAP": "x:1"}
    assert environment_without_settings(given) == {"PATH": "/bin", "ANNALS_TEST_BOOTSTRAP": "x:1"}
