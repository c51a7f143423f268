"""Rows and questions over all partitions of journals in memory."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from annals.agents.ports import StoreDamagedError
from annals.agents.projections import REGISTRY
from annals.agents.projections.asked_columns import MOST_SHARERS
from annals.agents.reading.gathering.cursors import BadCursorError
from annals.agents.reading.ports import NotReadyError, VersionMissingError
from annals.agents.reading.queries import rows as row_queries
from annals.agents.reading.queries.rows import wanted_of
from annals.agents.reading.read_models import row_answers as row_answers_module
from annals.agents.reading.read_models.asking import QUESTIONS
from annals.schemas.kinds import location, organization, person, policy, workflow
from annals.schemas.values.refs import OwnerRef, Ref
from annals.topics.keys import partition_of
from following import until
from projecting import (
    PARTITIONS,
    GlobalStores,
    Journals,
    MemoryShards,
    global_reader,
    people,
    read_to_the_ends,
    row_answers,
)


@asynccontextmanager
async def answering(journals, stores=None):
    reader = global_reader(journals, stores or GlobalStores())
    shards = MemoryShards(journals)
    async with read_to_the_ends(reader, journals):
        yield row_answers(shards, reader), shards


def ids(answer):
    return [row["aggregate_id"] for row in answer.rows]


async def test_who_shares_an_address_is_found_across_partitions():
    journals = Journals()
    for name in ("p-1", "p-2", "p-3", "p-4"):  # in partitions 1, 0 and others
        email = "other@example.org" if name == "p-4" else "Ada@Example.org"
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}", email=email))
    async with answering(journals) as (answers, _):
        found = await answers.ask("people", {"email": "ADA@example.org"})
        assert ids(found) == ["p-1", "p-2", "p-3"]
        assert found.rows[0]["shared_with"] == ["p-2", "p-3"]
        assert found.positions == {"person": [2, 1, 0]} or sum(found.positions["person"]) == 4
        listed = await answers.rows("people_directory", {"name": "ada P-4"}, None, 10)
        assert [(row["aggregate_id"], row["shared_with"]) for row in listed.rows] == [("p-4", [])]
        assert (await answers.rows("people_directory", {"name": "ada nobody"}, None, 10)).rows == []


async def test_who_shares_the_addresses_of_a_page_is_asked_for_together(monkeypatch):
    """Goes red when each address of each row is a question of its own to every partition."""
    monkeypatch.setattr(row_answers_module, "ASKED_TOGETHER", 10)
    journals = Journals()
    for number in range(30):
        journals.append("person", f"p-{number:02}", person.PersonRegistered(name="Ada", email=f"a{number}@example.org"))
        journals.append("person", f"p-{number:02}", person.EmailAdded(email=f"B{number % 15}@example.org"))
    async with answering(journals) as (answers, shards):
        asked = []
        for shard in shards.here.values():

            async def counted(*of, rows=shard.rows, **page):
                asked.append(of)
                return await rows(*of, **page)

            shard.rows = counted
        found = await answers.rows("people_directory", {"name": "ada"}, None, 30)
        assert [row["shared_with"] for row in found.rows] == [[f"p-{(n + 15) % 30:02}"] for n in range(30)]
        assert len(asked) == (1 + 5) * PARTITIONS  # of 45 addresses


async def test_of_very_many_who_share_an_address_the_first_are_named_and_the_answer_says_so(monkeypatch):
    """Goes red when each of them names all others, or is silent about those whom it does not name."""
    journals = Journals()
    for number in range(MOST_SHARERS + 2):
        name = f"p-{number:02}"
        email = "info@example.org" if number else f"few-{PARTITIONS}@example.org"
        journals.append("person", name, person.PersonRegistered(name="Ada", email=f"{name}@example.org"))
        journals.append("person", name, person.EmailAdded(email=email))
    async with answering(journals) as (answers, _):
        just = await answers.ask("people", {"email": "info@example.org"})
        everyone = [f"p-{number:02}" for number in range(1, MOST_SHARERS + 2)]
        assert (ids(just), just.is_truncated) == (everyone, False)
        assert all(row["shared_with"] == sorted({*everyone} - {row["aggregate_id"]}) for row in just.rows)
    for name in ("p-50", "p-51"):
        journals.append("person", name, person.PersonRegistered(name="Ada", email="info@example.org"))
        journals.append("person", name, person.EmailAdded(email="two@example.org"))
    async with answering(journals) as (answers, _):
        many = await answers.ask("people", {"email": "info@example.org"})
        assert (len(many.rows), many.is_end, many.is_truncated) == (MOST_SHARERS + 3, True, True)
        named = [[*everyone, "p-50", "p-51"] for _ in many.rows]
        for row, others in zip(many.rows, named, strict=True):
            others.remove(row["aggregate_id"])
            assert row["shared_with"] == others[:MOST_SHARERS]
        owners, named_by = [], row_answers_module.with_sharers
        monkeypatch.setattr(row_answers_module, "with_sharers", partial(noted, named_by, owners))
        page = await answers.rows("people_directory", {"name": "ada"}, None, 100)
        assert max(map(len, owners)) == MOST_SHARERS + 2  # of 23: no row sorts more
        assert page.is_truncated
        assert [row["shared_with"] for row in page.rows] == [[], *(row["shared_with"] for row in many.rows)]
        one = await answers.ask("people", {"email": "two@example.org"}, None, 1)
        assert (one.rows[0]["shared_with"][0], one.is_truncated) == ("p-01", True)
        alone = await answers.ask("people", {"email": "p-00@example.org"})
        assert (alone.rows[0]["shared_with"], alone.is_truncated) == ([], False)


async def test_addresses_that_many_have_are_looked_for_one_by_one(monkeypatch):
    """Goes red when those that many have leave no room among the rows of a question for those that few have."""
    monkeypatch.setattr(row_answers_module, "SHARED_ROWS", 4)
    journals = Journals()
    for number in range(9):
        name, few = f"p-{number}", f"few-{number // 2}@example.org"
        journals.append("person", name, person.PersonRegistered(name="Ada", email="info@example.org"))
        journals.append("person", name, person.EmailAdded(email=few))
    async with answering(journals) as (answers, _):
        found = await answers.rows("people_directory", {"name": "ada"}, None, 10)
        everyone = [f"p-{number}" for number in range(9)]
        assert [row["shared_with"] for row in found.rows] == [sorted({*everyone} - {one}) for one in everyone]
        assert not found.is_truncated


async def test_who_was_not_found_in_time_to_share_an_address_is_said_to_be_missing(monkeypatch):
    """Goes red when looking for them ends after five seconds, and the answer seems to name them all."""
    journals = Journals()
    for name in ("p-1", "p-2"):
        journals.append("person", name, person.PersonRegistered(name="Ada", email="ada@example.org"))
    async with answering(journals) as (answers, _):
        for seconds, shared, is_cut in ((0.0, [[], []], True), (60.0, [["p-2"], ["p-1"]], False)):
            monkeypatch.setattr(row_answers_module, "SHARED_S", seconds)
            for found in (
                await answers.rows("people_directory", {"name": "ada"}, None, 10),
                await answers.ask("people", {"email": "ada@example.org"}),
            ):
                assert ([row["shared_with"] for row in found.rows], found.is_truncated) == (shared, is_cut)


async def test_pages_have_every_row_once_and_unlisted_ones_never():
    journals = Journals()
    for number in range(9):
        target = policy.Target(scope="all") if number % 2 else policy.Target(scope="person", id="p-1")
        drafted = policy.PolicyDrafted(
            name="P", description="d", owner=OwnerRef(kind="person", id="p"), enforcement="hard", targets=[target]
        )
        journals.append("policy", f"x-{number}", drafted)
        if number != 8:
            activated = policy.PolicyActivated(effective_from="2026-01-01T00:00:00Z")
            journals.append("policy", f"x-{number}", policy.PolicySubmitted(), activated)
    async with answering(journals) as (answers, _):
        found, after = [], None
        while True:
            page = await answers.rows("policies_in_force", {}, after, 2)
            found += ids(page)
            after = page.after
            if page.is_end:
                break
        assert sorted(found) == [f"x-{number}" for number in range(8)]
        bound = await answers.ask("policies", {"subject": "person:p-1", "at": "2026-06-01T00:00:00Z"})
        assert ids(bound) == [f"x-{number}" for number in range(8)]
        other = await answers.ask("policies", {"subject": "person:p-2"})
        assert ids(other) == ["x-1", "x-3", "x-5", "x-7"]
        assert ids(await answers.ask("policies", {"subject": "person:p-1", "at": "2025-12-31T23:59:59Z"})) == []


async def test_deadlines_are_found_strictly_below_a_moment_whatever_their_digits():
    journals = Journals()
    for number, deadline in enumerate(("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z")):
        defined = workflow.WorkflowDefined(
            name="W", definition="d", owner=OwnerRef(kind="person", id="p"), deadline=deadline
        )
        journals.append("workflow", f"w-{number}", defined)
    async with answering(journals) as (answers, _):
        for before, expected in (
            ("2026-01-01T00:00:00.000Z", []),
            ("2026-01-01T00:00:00.50Z", ["w-0"]),
            ("2026-01-01T00:00:01.000000Z", ["w-0", "w-1"]),
        ):
            index = {"deadline_before": before, "status": "draft"}
            assert sorted(ids(await answers.rows("workflow_board", index, None, 10))) == expected
            assert sorted(ids(await answers.rows("workflow_board", {"deadline_before": before}, None, 10))) == expected


async def test_a_tree_of_locations_crosses_partitions():
    journals = Journals()
    for number in range(7):
        parent = {"parent_id": f"l-{(number - 1) // 2}"} if number else {}
        journals.append(
            "location", f"l-{number}", location.LocationDefined(name="L", location_type="logical", **parent)
        )
    async with answering(journals) as (answers, _):
        found = await answers.ask("locations", {"under": "l-1"})
        assert ids(found) == ["l-3", "l-4"]
        assert ids(await answers.ask("locations", {"under": "l-0"})) == [f"l-{number}" for number in range(1, 7)]
        assert (sum(found.positions["location"]), found.missing, found.stale) == (7, [], [])


async def pages_below(answers, under, limit):
    """Yield the ids on each page of what lies under a location."""
    after, is_end = None, False
    while not is_end:
        page = await answers._looked_at(QUESTIONS["locations"], 1, {"under": under}, after, limit)
        yield [row.row["aggregate_id"] for row in page.rows]
        after, is_end = page.after, page.until is None


@pytest.mark.parametrize("walked_again", [row_queries.WALKED_AGAIN, 0])  # down from the root, and up from each row
async def test_a_ring_of_locations_is_walked_once_and_the_root_is_not_below_itself(walked_again, monkeypatch):
    monkeypatch.setattr(row_queries, "WALKED_AGAIN", walked_again)
    monkeypatch.setattr(row_queries, "DEEPEST", 100_000)
    journals = Journals()
    for name, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("d", "b"), ("f", "g"), ("g", "f")):
        journals.append("location", name, location.LocationDefined(name="L", location_type="logical", parent_id=parent))
    async with answering(journals) as (answers, _):
        for under, wanted in (("a", ["b", "c", "d"]), ("f", ["g"])):
            assert [name async for page in pages_below(answers, under, 1) for name in page] == wanted


async def test_the_way_up_a_tree_is_of_bounded_length(monkeypatch):
    """Goes red when a page walks up as far as there are locations, and when a page that ends for it skips a row."""
    journals = Journals()
    for number in range(1, 41):
        parent = {"parent_id": f"l-{number - 1:02}"} if number > 1 else {}
        journals.append(
            "location", f"l-{number:02}", location.LocationDefined(name="L", location_type="logical", **parent)
        )
    monkeypatch.setattr(row_queries, "WALKED_AGAIN", 0)
    monkeypatch.setattr(row_queries, "LOOKED_AT", 5)
    monkeypatch.setattr(row_queries, "DEEPEST", 20)
    gets = []
    above = row_queries._WayUp._above

    def counted(way, at):
        gets.append(at)
        return above(way, at)

    monkeypatch.setattr(row_queries._WayUp, "_above", counted)
    async with answering(journals) as (answers, _):
        for under, wanted in (("l-01", range(2, 22)), ("l-15", range(16, 36)), ("l-40", ())):
            found, before = [], len(gets)
            async for page in pages_below(answers, under, 4):
                assert len(gets) - before <= 5 + 20
                found, before = found + page, len(gets)
            # Deeper ones are found where they come behind their parents.
            assert found[: len(wanted) or None] == [f"l-{number:02}" for number in wanted]


async def test_a_partition_that_does_not_answer_is_named():
    journals = Journals()
    journals.append("organization", "o-1", organization.OrganizationRegistered(name="Lab", organization_type="other"))
    async with answering(journals) as (answers, shards):
        del shards.here["organization", 0]
        found = await answers.rows("organizations", {}, None, 10)
        assert [(each.kind, each.partition) for each in found.missing] == [("organization", 0)]
        assert found.positions["organization"][0] is None
        answers._version_of = lambda name: 9
        missing = (await answers.rows("organizations", {}, None, 10)).missing
        assert {each.reason for each in missing} == {"version_missing", "nobody has it"}
        assert {each.reason for each in (await answers.rows("locations", {}, None, 10)).missing} == {"version_missing"}
        with pytest.raises(VersionMissingError):
            await shards.here["organization", 1].rows("organizations", 9, {}, after=None, limit=1)
        with pytest.raises(LookupError):
            await answers.rows("nothing", {}, None, 1)


async def test_a_partition_that_does_not_say_who_shares_an_address_is_named_though_its_rows_are_there():
    """Goes red when an answer does not rest on who was asked for others: they would be fewer, and nothing told."""
    journals = Journals()
    for name in ("p-1", "p-2", "p-3"):
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}", email="ada@example.org"))
    async with answering(journals) as (answers, shards):
        where = ("person", partition_of(b"p-1", PARTITIONS))
        shard = shards.here[where]
        ask = shard.rows

        async def rows(name, version, index, **page):
            if "email" in index:
                raise NotReadyError("it is gone by now")
            return await ask(name, version, index, **page)

        shard.rows = rows
        found = await answers.rows("people_directory", {"name": "ada"}, None, 10)
        assert sorted(ids(found)) == ["p-1", "p-2", "p-3"]
        assert [(each.kind, each.partition, each.reason) for each in found.missing] == [(*where, "it is gone by now")]
        assert found.positions["person"][where[1]] is None
        assert not found.is_end


async def test_rows_of_a_partition_that_was_missing_come_on_later_pages():
    """Goes red when a page's cursor passes rows of partitions that did not answer."""
    journals = people(*(f"p-{number}" for number in range(1, 8)))
    async with answering(journals) as (answers, shards):
        away = shards.here.pop(("person", 1))  # of p-1, among others
        first = await answers.rows("people_directory", {}, None, 3)
        shards.here["person", 1] = away
        second = await answers.rows("people_directory", {}, first.after, 9)
        assert sorted(ids(first) + ids(second)) == [f"p-{number}" for number in range(1, 8)]
        assert "p-1" in ids(second)
        assert (first.is_end, second.is_end) == (False, True)
        for each in [each for each in shards.here if each[0] == "person"]:
            del shards.here[each]
        nothing = await answers.rows("people_directory", {}, second.after, 9)
        assert (nothing.rows, nothing.is_end, nothing.after) == ([], False, second.after)


async def test_a_page_of_a_version_that_nobody_has_any_more_is_refused():
    """Goes red when it is an end without rows: whoever asks has then seen the first pages alone."""
    async with answering(people("p-1")) as (answers, _):
        for name in ("people_directory", "locations"):
            with pytest.raises(BadCursorError, match="version 9 of"):
                await answers.rows(name, {}, [b"a", None, None], 9, 9)
            with pytest.raises(BadCursorError, match="number of partitions"):
                await answers.rows(name, {}, [None], 9, 1)


async def test_a_page_of_which_nothing_was_shown_yet_is_of_the_version_that_answers_now():
    """Goes red when `next` of a page where no partition has its version is refused: nothing of that one was seen."""
    journals = people("p-1")
    journals.append("location", "l-1", location.LocationDefined(name="Here", location_type="logical"))
    async with answering(journals) as (answers, _):
        version_of = answers._version_of
        for name, expected in (("people_directory", ["p-1"]), ("locations", ["l-1"])):
            answers._version_of = lambda _: 9
            first = await answers.rows(name, {}, None, 9)
            again = await answers.rows(name, {}, first.after, 9, first.version)
            assert (first.version, first.is_end, first.rows) == (9, False, [])
            assert again == first
            answers._version_of = version_of
            page = await answers.rows(name, {}, again.after, 9, again.version)
            assert (ids(page), page.version) == (expected, 1)
            with pytest.raises(BadCursorError, match="version 9 of"):
                await answers.rows(name, {}, page.after, 9, 9)


@pytest.mark.parametrize(
    ("name", "index"),
    [("people_directory", {"name": "ada 8"}), ("locations", {"location_type": "logical", "parent_id": "8"})],
)
async def test_a_page_without_rows_is_gone_on_behind(name, index, monkeypatch):
    """Goes red when a rare value ends the pages, or an answer, before what has it."""
    monkeypatch.setattr(row_queries, "LOOKED_AT", 1)
    monkeypatch.setattr(row_queries, "FIRST_ROWS", 1)
    monkeypatch.setattr(row_queries, "ROWS_AT_ONCE", 1)
    journals = people(*map(str, range(9)))
    for number in range(9):
        place = location.LocationDefined(name="X", location_type="logical", parent_id=str(number))
        journals.append("location", f"x-{number}", place)
    async with answering(journals) as (answers, _):
        found, after, version, pages, is_end = [], None, None, 0, False
        while not is_end:
            page = await answers.rows(name, index, after, 10, version)
            found += ids(page)
            after, version, is_end, pages = page.after, page.version, page.is_end, pages + 1
    assert found == ["8" if name == "people_directory" else "x-8"]
    assert pages > 1


def test_references_are_asked_with_a_colon_or_a_slash():
    for text in ("person:a/b", "person/a/b"):
        assert wanted_of(REGISTRY["documents"], {"owner": text})[0].value == "person/a/b"
    assert wanted_of(REGISTRY["documents"], {"owner": "person/a:b"})[0].value == "person/a:b"


async def test_a_damaged_store_of_global_rows_that_a_question_meets_is_built_anew(monkeypatch):
    def damaged():
        raise StoreDamagedError("a block of it is damaged")

    journals, stores = Journals(), GlobalStores()
    journals.append("location", "l-1", location.LocationDefined(name="Here", location_type="logical"))
    async with answering(journals, stores) as (answers, _):
        assert ids(await answers.rows("locations", {"location_type": "logical"}, None, 10)) == ["l-1"]
        first = stores.store
        monkeypatch.setattr(first, "view", damaged)
        found = await answers.rows("locations", {"location_type": "logical"}, None, 10)
        assert {each.reason for each in found.missing} == {"global projections: the store is damaged and is built anew"}
        await until(lambda: stores.store is not first)
        async with asyncio.timeout(60):
            while not (  # noqa: ASYNC110 - what is waited for tells nobody
                found := await answers.rows("locations", {"location_type": "logical"}, None, 10)
            ).rows:
                await asyncio.sleep(0.01)
        assert ids(found) == ["l-1"]


async def test_who_is_bound_at_a_time_is_told_by_what_held_then_and_not_by_what_holds_now():
    journals = Journals()
    target = policy.Target(scope="person", id="p-1")
    drafted = policy.PolicyDrafted(
        name="P", description="d", owner=OwnerRef(kind="person", id="p"), enforcement="hard", targets=[target]
    )
    exempted = policy.ExemptionGranted(
        exemption_id="e", subject=Ref("person", "p-1"), from_="2026-01-05T00:00:00Z", until="2027-01-01T00:00:00Z",
        granted_by="p", reason="r",
    )  # fmt: skip
    journals.append("policy", "x", drafted, policy.PolicySubmitted())
    journals.append("policy", "x", policy.PolicyActivated(effective_from="2026-01-02T00:00:00.1234565Z"))
    for day, message in (
        ("04", exempted),
        ("06", policy.PolicySuspended(reason="r")),
        ("08", policy.PolicyResumed()),
        ("09", policy.ExemptionRevoked(exemption_id="e", reason="r")),
        ("10", policy.PolicyRevoked(reason="r")),
    ):
        journals.append("policy", "x", message, at=f"2026-01-{day}T00:00:00.000000Z")
    journals.append("policy", "y", drafted, policy.PolicyRevoked(reason="never in force"))
    async with answering(journals) as (answers, _):

        async def bound(at: str) -> list[str]:
            return ids(await answers.ask("policies", {"subject": "person:p-1", "at": at}))

        assert await bound("2026-01-02T00:00:00.1234564Z") == []
        assert await bound("2026-01-02T00:00:00.1234565Z") == ["x"]
        assert await bound("2026-01-05T23:59:59.999999Z") == ["x"]
        assert await bound("2026-01-06T00:00:00Z") == []
        assert await bound("2026-01-07T00:00:00Z") == []
        assert await bound("2026-01-08T00:00:00Z") == ["x"]
        assert await bound("2026-01-09T23:59:59Z") == ["x"]
        assert await bound("2026-01-10T00:00:00Z") == []
        assert ids(await answers.ask("policies", {"subject": "person:p-1"})) == []
        (row,) = (await answers.ask("policies", {"subject": "person:p-1", "at": "2026-01-08T00:00:00Z"})).rows
        assert row["exemptions"]["e"]["until"] == "2026-01-09T00:00:00.000000Z"


async def test_an_answer_of_more_rows_than_are_looked_at_says_so(monkeypatch):
    journals = Journals()
    for number in range(9):
        journals.append("person", f"p-{number}", person.PersonRegistered(name="Ada", email="a@example.org"))
    monkeypatch.setattr("annals.agents.reading.read_models.row_answers.PAGE", 2)
    async with answering(journals) as (answers, _):
        whole = await answers.ask("people", {"email": "a@example.org"})
        assert (len(whole.rows), whole.is_truncated, len(whole.rows[0]["shared_with"])) == (9, False, 8)
        monkeypatch.setattr("annals.agents.reading.read_models.row_answers.MOST_ROWS", 4)
        part = await answers.ask("people", {"email": "a@example.org"})
        assert (len(part.rows), part.is_truncated) == (4, True)


async def test_an_answer_of_more_bytes_than_it_may_have_goes_on_behind_them(monkeypatch):
    """Goes red when an answer without a limit has 100,000 rows however large these are."""
    journals = Journals()
    for number in range(9):
        journals.append("person", f"p-{number}", person.PersonRegistered(name="A" * 300, email="a@example.org"))
    monkeypatch.setattr(row_answers_module, "PAGE", 2)
    monkeypatch.setattr(row_answers_module, "MOST_BYTES", 1_000)
    async with answering(journals) as (answers, _):
        part = await answers.ask("people", {"email": "a@example.org"})
        assert (ids(part), part.is_end, part.is_truncated) == (["p-0", "p-1", "p-2", "p-3"], False, True)
        rest = await answers.ask("people", {"email": "a@example.org"}, part.after, None, part.version)
        assert ids(rest) == ["p-4", "p-5", "p-6", "p-7"]


class Slow:
    """A clock by which whatever is done takes long."""

    def __init__(self, clock):
        self.now, self.ticks = clock.now, 0.0

    def monotonic(self):
        self.ticks += 1.0
        return self.ticks


@pytest.mark.parametrize(
    ("question", "given", "per_row"),
    [("steps", {"due": "ready"}, 3), ("steps", {"due": "overdue"}, 3), ("people", {"email": "a@example.org"}, 5)],
)
async def test_while_an_answer_of_many_rows_is_made_others_have_their_turn(question, given, per_row, monkeypatch):
    """Goes red when all rows are looked at, or told, in one turn: 2,200 workflows of 100 steps took 1 s."""
    journals, number = Journals(), 40
    about = {"name": "w", "definition": "d", "owner": OwnerRef("person", "p"), "deadline": "2026-01-01T00:00:00Z"}
    defined = workflow.WorkflowDefined(**about, steps={"s": workflow.PlannedStep(name="s", step_type="task")})
    for at in range(number):
        journals.append("workflow", f"x-{at:02}", defined)
        journals.append("workflow", f"x-{at:02}", workflow.WorkflowStarted())
        journals.append("person", f"x-{at:02}", person.PersonRegistered(name="Ada", email="a@example.org"))
        journals.append("person", f"x-{at:02}", person.EmailAdded(email=f"b{at}@example.org"))
    monkeypatch.setattr(row_answers_module, "AT_ONCE", 1)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with answering(journals) as (answers, _), asyncio.TaskGroup() as group:
        answers._clock = Slow(answers._clock)
        task = group.create_task(others())
        found = await answers.ask(question, given)
        task.cancel()
    assert ids(found) == [f"x-{at:02}" for at in range(number)]
    assert turns > per_row * number


def noted(named_by, owners, rows, of):
    owners.extend(of.values())
    return named_by(rows, of)
