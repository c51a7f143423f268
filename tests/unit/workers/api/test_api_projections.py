"""The routes of projections and questions, over journals in memory."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import quote

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.jobs import Jobs
from annals.agents.reading.ports import Member
from annals.agents.reading.queries import rows as row_queries
from annals.agents.reading.read_models import row_answers
from annals.agents.reading.read_models.read_models import ReadModels
from annals.agents.reading.read_models.row_answers import RowAnswers
from annals.agents.reading.read_models.service import ProjectionService
from annals.schemas.kinds import agent, document, location, organization, person, workflow
from annals.schemas.values.refs import OwnerRef, ReaderRef
from annals.topics.keys import partition_of
from annals.workers.api.routes.jobs import JobRoutes
from annals.workers.api.routes.projections import Expecting, ProjectionRoutes
from annals.workers.api.routes.questions import QuestionRoutes
from annals.workers.settings import Settings
from api_serving import Audit, serving
from following import Clock
from jobs_in_memory import JobRecordsInMemory, numbered
from projecting import (
    PARTITIONS,
    VERSIONS,
    GlobalStores,
    Group,
    Here,
    Journals,
    MemoryShards,
    ScratchStores,
    Topic,
    global_reader,
    read_to_the_ends,
)

ME = Member("me", None, {}, {name: versions[-1].version for name, versions in VERSIONS.items()})
CID = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
OWNER = OwnerRef(kind="person", id="p")


@asynccontextmanager
async def serving_projections(journals, timeout_s=30):
    """An API over journals, the shards behind it, and what has their rows built."""
    reader = global_reader(journals, GlobalStores())
    shards, topic = MemoryShards(journals), Topic()
    models = ReadModels(VERSIONS, DECIDERS, topic, Group(ME), Clock())
    sources = {"local": LocalRows(shards, timeout_s), "global": reader}
    answers = RowAnswers(VERSIONS, sources, models.version_of, Clock(), timeout_s)
    partitions = dict.fromkeys(DECIDERS, PARTITIONS)
    every = EveryJournal(journals)
    service = ProjectionService(models, topic, sources, DECIDERS, every, partitions, Clock(), ScratchStores())
    jobs = Jobs(JobRecordsInMemory(), Group(ME), service.works(), Clock(), numbered())
    expecting = Expecting(shards, None)
    routes = [
        *ProjectionRoutes(service, jobs, answers, expecting, VERSIONS).routes(),
        *QuestionRoutes(answers, expecting).routes(),
        *JobRoutes(jobs, None).routes(),
    ]
    try:
        settings = Settings(api_port=0, api_timeout_s=timeout_s)
        async with read_to_the_ends(reader, journals), serving(routes, settings, audit=Audit()) as api:
            yield api, shards, topic
    finally:
        await jobs.close()


class EveryJournal(Journals):
    """The same journals, of all kinds."""

    def __init__(self, journals):
        self.kinds, self.records_of = tuple(DECIDERS), journals.records_of


def ids(body):
    return [row["aggregate_id"] for row in body["rows"]]


async def get(api, path, status=200):
    found, _, body = await api("GET", path)
    assert found == status, body
    return body


async def test_the_questions_are_answered_with_what_they_rest_on():
    journals = Journals()
    journals.append("person", "p-1", person.PersonRegistered(name="Ada", email="Ada@Example.org"))
    journals.append(
        "organization",
        "o-1",
        organization.OrganizationRegistered(name="The Lab", organization_type="other"),
        organization.OrganizationActivated(),
        organization.RoleDefined(role_id="r", title="R"),
        organization.MemberAdded(person_id="p-1", role_id="r", since="2026-01-01"),
    )
    journals.append(
        "agent",
        "g-1",
        agent.AgentDeployed(name="helper", agent_type="analyst", owner_id="p-1", capacity=1),
        agent.CapabilityGranted(capability="vision"),
        agent.AgentActivated(),
    )
    journals.append("location", "l-1", location.LocationDefined(name="L", location_type="logical"))
    journals.append("location", "l-2", location.LocationDefined(name="M", location_type="logical", parent_id="l-1"))
    async with serving_projections(journals) as (api, _, _):
        body = await get(api, "/v1/questions/people?email=ADA%40example.org")
        assert (ids(body), body["missing"], body["stale"]) == (["p-1"], [], [])
        assert body["positions"] == {"person": [0, 1, 0]}
        assert body["lag"] == {"events": 0, "seconds": 0.0}
        assert (await get(api, "/v1/projections/people_directory/rows"))["lag"] == {"events": 0, "seconds": 0.0}
        assert body["rows"][0]["shared_with"] == []
        assert ids(await get(api, "/v1/questions/members?organization_id=o-1&role_id=r")) == ["o-1"]
        assert ids(await get(api, "/v1/questions/members?organization_id=o-1&role_id=s")) == []
        assert ids(await get(api, "/v1/questions/memberships?person_id=p-1")) == ["o-1"]
        assert ids(await get(api, "/v1/questions/organizations?name=the%20LAB")) == ["o-1"]
        assert ids(await get(api, "/v1/questions/organizations?name=lab")) == []
        assert ids(await get(api, "/v1/questions/agents?capability=vision")) == ["g-1"]
        assert ids(await get(api, "/v1/questions/agents?capability=vision&capability=fly")) == []
        assert ids(await get(api, "/v1/questions/locations?under=l-1")) == ["l-2"]
        assert ids(await get(api, "/v1/questions/policies?subject=person:p-1&at=2026-01-01T00:00:00Z")) == []
        assert ids(await get(api, "/v1/questions/steps?due=ready")) == []
        assert ids(await get(api, "/v1/questions/documents?tag=t&grantee=person:p-1")) == []
        for wrong in (
            "people",
            "people?mail=x",
            "policies?subject=p-1",
            "steps?due=never",
            "steps?due=ready&due=ready",
        ):
            body = await get(api, f"/v1/questions/{wrong}", 400)
            assert body["code"] == "invalid_request"
        scopes = "organization, unit, role, person, agent, location, document_tag, operation"
        subject = f"subject: must be `kind:id`, as `person:p-1`; kinds are {scopes}, policy, document, workflow"
        grantee = "grantee: must be `kind:id`, as `person:p-1`; kinds are person, organization, agent"
        for wrong, told in (
            ("policies?subject=p-1", subject),
            ("policies?subject=persn:p-1", subject),
            ("policies?subject=person:", subject),
            ("policies?subject=all:x", subject),
            ("documents?tag=t&grantee=persn:p-1", grantee),
            ("documents?tag=t&grantee=person:", grantee),
            ("documents?tag=t&grantee=location:l", grantee),
            ("steps?due=never", "due: must be ready or overdue"),
        ):
            assert (await get(api, f"/v1/questions/{wrong}", 400))["detail"] == told
        await get(api, "/v1/questions/nothing", 404)


async def test_documents_and_steps():
    journals = Journals()
    created = document.DocumentCreated(
        title="D", document_type="report", owner=OWNER, content_cid="bafyr4i", size_bytes=1, media_type="text/plain",
        confidentiality="internal", tags=["t"],
    )  # fmt: skip
    shared = document.DocumentShared(grantee=ReaderRef(kind="agent", id="g:1"), access="read")
    journals.append("document", "d-1", created, document.DocumentPublished(), shared)
    step = workflow.PlannedStep(name="S", step_type="manual", depends_on=[], optional=False, max_attempts=1)
    defined = workflow.WorkflowDefined(
        name="W", definition="d", owner=OWNER, deadline="2026-01-01T00:00:00Z", steps={"s": step}
    )
    journals.append("workflow", "w-1", defined, workflow.WorkflowStarted())
    async with serving_projections(journals) as (api, _, _):
        assert ids(await get(api, "/v1/questions/documents?tag=t&grantee=agent:g:1")) == ["d-1"]
        assert ids(await get(api, "/v1/questions/documents?tag=t&grantee=agent:g")) == []
        ready, overdue = [await get(api, f"/v1/questions/steps?due={due}") for due in ("ready", "overdue")]
        assert (ready["rows"][0]["ready"], overdue["rows"][0]["overdue"]) == (["s"], ["s"])
        rows = await get(api, "/v1/projections/documents/rows?grantee=agent:g:1&tag=t&status=published")
        assert (ids(rows), rows["next"]) == (["d-1"], None)


async def test_a_page_with_a_partition_missing_is_not_the_last_one():
    """Goes red when `next` is null, or passes the partition: its rows would be on no page."""
    journals = Journals()
    for number in range(1, 8):
        journals.append("person", f"p-{number}", person.PersonRegistered(name=f"Ada {number}"))
    async with serving_projections(journals) as (api, shards, _):
        away = shards.here.pop(("person", 1))
        first = await get(api, "/v1/projections/people_directory/rows")
        assert ids(first)[-1] == "p-7"
        assert [each["partition"] for each in first["missing"]] == [1]
        shards.here["person", 1] = away
        second = await get(api, first["next"])
        assert (sorted(ids(first) + ids(second)), second["next"]) == ([f"p-{number}" for number in range(1, 8)], None)
        for each in [each for each in shards.here if each[0] == "person"]:
            del shards.here[each]
        again = await get(api, first["next"])
        assert (again["rows"], again["next"]) == ([], first["next"])


async def test_rows_are_paged_by_an_opaque_cursor_and_refuse_what_is_not_theirs():
    journals = Journals()
    for number in range(5):
        journals.append("person", f"p-{number}", person.PersonRegistered(name=f"Ada {number}"))
    async with serving_projections(journals) as (api, _, _):
        path, found = "/v1/projections/people_directory/rows?name=ada&limit=2", []
        while path is not None:
            body = await get(api, path)
            found += ids(body)
            last, path = path, body["next"]
        assert found == [f"p-{number}" for number in range(5)]
        assert "name=ada" in last
        assert "limit=2" in last
        other = last.replace("name=ada", "name=bob")
        assert (await get(api, other, 400))["code"] == "bad_cursor"
        assert (await get(api, "/v1/projections/people_directory/rows?cursor=x", 400))["code"] == "bad_cursor"
        body = await get(api, "/v1/projections/people_directory/rows?owner=person:p", 400)
        assert (body["code"], body["errors"][0]["path"]) == ("invalid_request", "owner")
        await get(api, "/v1/projections/people_directory/rows?limit=0", 400)
        for name, wrong in (
            ("people_directory", "name="),
            ("people_directory", "email="),
            ("locations", "parent_id="),
            ("organizations", "name=%20"),
            ("workflow_board", "deadline_before=soon"),
            ("workflow_board", "deadline_before=9999-12-31T23:59:60-00:01"),
        ):
            body = await get(api, f"/v1/projections/{name}/rows?{wrong}", 400)
            assert body["errors"][0]["path"] == wrong.partition("=")[0]
        await get(api, "/v1/projections/workflow_board/rows?deadline_before=2026-01-01T00:00:00%2B05:00")
        await get(api, "/v1/projections/nothing/rows", 404)
        await get(api, "/v1/projections/nothing", 404)


REFERENCE = "`kind:id`, as `person:p-1`; kinds are"
DOCUMENT = "one of draft, in_review, approved, superseded, archived, deleted, published."
ORGANIZATION = "one of pending, active, inactive, suspended, dissolved, merged."
SCOPE = "one of all, organization, unit, role, person, agent, location, document_tag, operation."


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("documents", "status=publishd", f"{DOCUMENT} Is published meant?"),
        ("documents", "owner=persn:p", f"{REFERENCE} person, organization. Is person meant?"),
        ("documents", "owner=agent:p", f"{REFERENCE} person, organization."),
        ("documents", "owner=p", f"{REFERENCE} person, organization."),
        ("documents", "grantee=location:l", f"{REFERENCE} person, organization, agent. Is organization meant?"),
        ("organizations", "status=actve", f"{ORGANIZATION} Is active meant?"),
        ("organizations", "status=", ORGANIZATION),
        ("workflow_board", "status=RUNNING", "one of draft, running, paused, completed, failed, cancelled."),
        ("workflow_board", "assignee=organization:o", f"{REFERENCE} person, agent."),
        ("locations", "location_type=phsical", "one of physical, virtual, logical, hybrid. Is physical meant?"),
        ("locations", "country=de", "a country of ISO 3166-1 (alpha-2), as DE."),
        ("policies_in_force", "scope=polcy", SCOPE),
    ],
)
async def test_rows_are_found_by_no_word_that_no_row_has(name, wrong, told):
    """Goes red when a misspelt word is answered by an empty page: it looks like an answer."""
    async with serving_projections(Journals()) as (api, _, _):
        body = await get(api, f"/v1/projections/{name}/rows?{wrong}", 400)
        assert (body["code"], body["detail"]) == ("invalid_request", f"{wrong.partition('=')[0]}: must be {told}")


def test_the_statuses_that_rows_are_found_by_are_those_of_the_kind():
    for name, kind in (("documents", "document"), ("organizations", "organization"), ("workflow_board", "workflow")):
        take = VERSIONS[name][-1].values["status"]
        assert [take(status) for status in DECIDERS[kind].machine.statuses]
        with pytest.raises(ValueError, match="one of") as error:
            take("absent")
        words = str(error.value).removeprefix("must be one of ").rstrip(".").split(", ")
        assert set(words) == set(DECIDERS[kind].machine.statuses)


async def test_rows_wait_for_what_their_asker_wrote():
    journals = Journals()
    journals.append("person", "p/1", person.PersonRegistered(name="Ada"))
    async with serving_projections(journals) as (api, shards, _):
        shard = shards.of("person", "p/1")
        path = f"/v1/questions/people?email=a%40example.org&expect={quote('person/p/1@2', safe='')}"
        body = await get(api, f"{path}&wait=0", 504)
        assert (body["code"], body["position"]["kind"]) == ("timeout", "person")
        journals.append("person", "p/1", person.EmailAdded("a@example.org"))
        shard.read(journals)
        assert ids(await get(api, path)) == ["p/1"]
        await get(api, "/v1/questions/steps?due=ready&expect=nothing", 400)
        for path in ("/v1/questions/steps?due=ready", "/v1/projections/people_directory/rows?limit=1"):
            body = await get(api, f"{path}&expect=nothing&expect=person/p@0", 400)
            assert [error["path"] for error in body["errors"]] == ["expect", "expect"]
            body = await get(api, path + "&expect=person/p@1" * 21, 400)
            assert body["detail"] == "expect: at most 20 events are waited for"


async def test_projections_are_listed_rebuilt_and_verified():
    journals = Journals()
    journals.append("person", "p-1", person.PersonRegistered(name="Ada"))
    async with serving_projections(journals) as (api, shards, topic):
        models = ReadModels(VERSIONS, DECIDERS, topic, Group(ME), Clock())
        listed = (await get(api, "/v1/projections"))["projections"]
        assert [each["name"] for each in listed] == list(VERSIONS)
        one = await get(api, "/v1/projections/people_directory")
        assert (one["version"], one["status"], one["lag"]) == (1, "current", {"events": 0, "seconds": 0})
        assert one["positions"] == {"person": [0, 1, 0]}
        assert (await get(api, "/v1/projections/locations"))["positions"] == {"location": [0, 0, 0]}
        for verb in ("verify", "rebuild", "rebuild?aggregate=person/p-1"):
            status, headers, body = await api("POST", f"/v1/projections/people_directory/{verb}")
            assert status == 202, body
            job = headers["location"]
            if verb == "rebuild":  # nothing is built anew yet, and nothing is stale
                one = await get(api, "/v1/projections/people_directory")
                assert (one["status"], one["rebuilding"]["total"]) == ("current", {"person": [0, 1, 0]})
            async with asyncio.timeout(30):
                while (body := await get(api, job))["status"] == "running":
                    models.apply(Here(shards))
                    for shard in Here(shards).all():
                        shard.read(journals)
                    await asyncio.sleep(0.01)
            assert body["status"] == "done", body
            if verb == "verify":
                assert (body["result"]["rows"], body["result"]["differences"]) == (1, [])
        assert (topic.records["people_directory"].rebuilds, one["rebuilding"]["positions"]) == (
            1,
            {"person": [0, 0, 0]},
        )
        assert (await get(api, "/v1/projections/people_directory"))["rebuilding"] is None
        assert (await api("POST", "/v1/projections/people_directory/rebuild?aggregate=agent/g"))[0] == 400
        before = topic.records["people_directory"]
        status, _, body = await api("POST", "/v1/projections/people_directory/rebuild?aggregate=person/p-2")
        assert (status, body["detail"]) == (404, "there is no person 'p-2', and so it has no rows")
        assert topic.records["people_directory"] == before
        status, _, body = await api("GET", "/v1/projections/people_directry")
        assert (status, body["detail"].rpartition(".")[2]) == (404, " Is people_directory meant?")
        assert (await api("POST", "/v1/projections/people_directory/drop?version=1"))[0] == 409
        assert (await api("POST", "/v1/projections/people_directory/turn-back"))[0] == 409
        assert (await api("POST", "/v1/projections/people_directory/resume"))[0] == 200
        await get(api, "/v1/jobs/none", 404)


def test_every_question_of_the_contract_has_a_route_and_every_parameter_its_struct():
    from annals.agents.reading.read_models.asking import QUESTIONS
    from annals.workers.api.routes.questions import PARAMETERS

    assert list(PARAMETERS) == list(QUESTIONS)
    for name, question in QUESTIONS.items():
        fields = {each.encode_name: each.required for each in msgspec.structs.fields(PARAMETERS[name])}
        assert {key for key, required in fields.items() if required} == set(question.required)
        assert set(fields) - set(question.required) == {*question.optional, "limit", "cursor", "expect", "wait"}


@pytest.mark.parametrize("name", list(VERSIONS))
def test_rows_are_found_by_the_parameters_of_the_contract(name):
    projection = VERSIONS[name][-1]
    assert (
        projection.parameters
        == {
            "people_directory": ("email", "name"),
            "organization_members": ("organization_id", "person_id"),
            "documents": ("owner", "tag", "status", "grantee"),
            "policies_in_force": ("scope", "id"),
            "locations": ("parent_id", "country", "location_type"),
            "organizations": ("name", "parent_id", "status"),
            "agent_workload": ("owner_id",),
            "workflow_board": ("status", "assignee", "deadline_before"),
        }[name]
    )


async def pages_of(api, path, limit, most=None):
    """The ids on all pages of a question, and how many pages there are."""
    found, pages, following = [], 0, f"{path}&limit={limit}"
    while following:
        body = await get(api, following)
        assert len(body["rows"]) <= limit
        assert body["truncated"] is (body["next"] is not None)
        found, pages, following = found + ids(body), pages + 1, body["next"]
    return found, pages


async def test_questions_are_answered_in_pages(monkeypatch):
    monkeypatch.setattr(row_answers, "MOST_ASKED", 2)
    journals = Journals()
    for number in range(9):
        created = document.DocumentCreated(
            title="T", document_type="note", owner=OWNER, content_cid=CID, size_bytes=1, media_type="text/plain",
            tags=["t"], confidentiality="public" if number in {0, 8} else "restricted",
        )  # fmt: skip
        journals.append("document", f"d-{number}", created, document.DocumentPublished())
        under = {"parent_id": f"l-{(number - 1) // 2}"} if number else {}
        place = location.LocationDefined(name="L", location_type="logical", **under)
        journals.append("location", f"l-{number}", place)
    async with serving_projections(journals) as (api, shards, _):
        mine = "/v1/questions/documents?tag=t&grantee=person:p"
        assert await pages_of(api, mine, 4) == ([f"d-{number}" for number in range(9)], 3)
        found, pages = await pages_of(api, "/v1/questions/documents?tag=t&grantee=person:x", 1)
        assert (found, pages > 3) == (["d-0", "d-8"], True)
        assert (await pages_of(api, "/v1/questions/documents?tag=t&grantee=person:x", 2))[0] == ["d-0", "d-8"]
        monkeypatch.setattr(row_answers, "MOST_ASKED", 20)
        for seconds, most in ((60.0, 2), (0.0, 9)):  # where looking takes long, a page ends with what was found
            monkeypatch.setattr(row_answers, "LOOKED_S", seconds)
            found, pages = await pages_of(api, "/v1/questions/documents?tag=t&grantee=person:x", 1)
            assert (found, pages) == (["d-0", "d-8"], most)
        whole = await get(api, mine)
        assert (len(whole["rows"]), whole["next"], whole["truncated"]) == (9, None, False)
        for walked_again in (1_000, 0):  # down from the root, and up from each row
            monkeypatch.setattr(row_queries, "WALKED_AGAIN", walked_again)
            assert await pages_of(api, "/v1/questions/locations?under=l-1", 3) == (["l-3", "l-4", "l-7", "l-8"], 2)
        cursor = (await get(api, mine + "&limit=4"))["next"].partition("cursor=")[2]
        for wrong in ("cursor=x", f"cursor={cursor}&tag=u"):
            other = mine.replace("tag=t&", "") if "tag=u" in wrong else mine
            assert (await get(api, f"{other}&{wrong}", 400))["code"] == "bad_cursor"
        assert (await get(api, mine + "&limit=1001", 400))["code"] == "invalid_request"
        away = partition_of(b"d-0", PARTITIONS)
        first = shards.here.pop(("document", away))
        body = await get(api, mine + "&limit=9")
        assert ("d-0" in ids(body), body["next"] is not None) == (False, True)
        shards.here["document", away] = first  # it kept its place
        assert sorted(ids(body) + ids(await get(api, body["next"]))) == [f"d-{number}" for number in range(9)]


@pytest.mark.parametrize("path", ["projections/people_directory/rows?name=ada", "questions/people?email=a@example.org"])
async def test_a_request_of_little_time_has_the_rows_that_come(path):
    """Goes red when a partition is waited for as if there were half a minute: 504, and nothing of the others."""
    journals = Journals()
    for number in range(9):
        journals.append("person", f"p-{number}", person.PersonRegistered(name="Ada", email="a@example.org"))
    async with serving_projections(journals, timeout_s=3) as (api, shards, _):
        away = partition_of(b"p-0", PARTITIONS)
        shards.here["person", away].rows = never
        body = await get(api, f"/v1/{path}")
        assert [each["reason"] for each in body["missing"]] == ["timeout"]
        assert body["next"]
        assert ids(body) == [f"p-{n}" for n in range(9) if partition_of(b"p-%d" % n, PARTITIONS) != away]


async def never(*_, **__):
    await asyncio.Event().wait()


async def test_rows_say_that_not_all_who_share_an_address_are_named():
    journals = Journals()
    for number in range(22):
        journals.append("person", f"p-{number:02}", person.PersonRegistered(name="Ada", email="a@example.org"))
    async with serving_projections(journals) as (api, _, _):
        body = await get(api, "/v1/projections/people_directory/rows?name=ada")
        assert (body["truncated"], body["next"], len(body["rows"][0]["shared_with"])) == (True, None, 20)
        body = await get(api, "/v1/questions/people?email=a@example.org")
        assert (body["truncated"], body["next"], len(body["rows"])) == (True, None, 22)
        assert (await get(api, "/v1/projections/locations/rows"))["truncated"] is False


@pytest.mark.parametrize(("name", "value"), [("MOST_ROWS", 4), ("WHOLE_S", 0.0)])
async def test_an_answer_of_more_rows_than_are_looked_at_goes_on_behind_them(name, value, monkeypatch):
    """Goes red when what is behind the first 100,000 rows, or 5 seconds of looking, cannot be had."""
    monkeypatch.setattr(row_answers, name, value)
    monkeypatch.setattr(row_answers, "PAGE", 4)
    monkeypatch.setattr(row_queries, "LOOKED_AT", 4)
    journals = Journals()
    for number in range(9):
        journals.append("person", f"p-{number}", person.PersonRegistered(name="A", email="a@example.org"))
        journals.append("location", f"l-{number}", location.LocationDefined(
            name="L", location_type="logical", parent_id="l"))  # fmt: skip
    monkeypatch.setattr(row_queries, "WALKED_AGAIN", 0)
    async with serving_projections(journals) as (api, _, _):
        for path, letter in (("people?email=a@example.org", "p"), ("locations?under=l", "l")):
            found, pages, following = [], 0, f"/v1/questions/{path}"
            while following:
                body = await get(api, following)
                assert body["truncated"] is (body["next"] is not None)
                found, pages, following = found + ids(body), pages + 1, body["next"]
            assert pages > 1
            assert found == [f"{letter}-{number}" for number in range(9)]
