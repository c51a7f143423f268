"""The routes of a projection that is re-keyed: read your own writes, and what cannot be asked of it."""

from contextlib import asynccontextmanager

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.read_models.row_answers import Answer
from annals.workers.api.routes.projections import Expecting, ProjectionRoutes
from api_serving import Audit, serving
from rekeyed_rows import GATHERED, PLACE

ROWS = "/v1/projections/gathering/rows"


class Journal:
    """The journal's shards, which have every event at offset 7 of partition 1 (the `Shards` port)."""

    kind, partition = "person", 1

    def of(self, kind, aggregate_id):
        return self

    kinds = tuple(REGISTRY)

    async def until_version(self, aggregate_id, version, deadline):
        return True

    async def offset_of(self, aggregate_id, version):
        return 7


class Stream:
    """What is copied of the journal, and what is folded of that: a step further each time that it is asked."""

    def __init__(self, copied_after=0, folded_after=0):
        self.copied_after, self.folded_after = copied_after, folded_after
        self.asked = []

    async def ends_with(self, stream, partition, offset):
        self.asked.append((stream.name, partition, offset))
        self.copied_after -= 1
        return None if self.copied_after >= 0 else [3, 0]

    async def rows(self, name, index, after, limit, version=None):
        self.folded_after -= 1
        positions = {PLACE: [2 if self.folded_after >= 0 else 3, 0]}
        return Answer([], is_end=True, after=None, positions=positions, missing=[], stale=[], version=1)


@asynccontextmanager
async def asking(stream):
    expecting = Expecting(Journal(), stream)
    routes = ProjectionRoutes(None, None, stream, expecting, {"gathering": (GATHERED,)}).routes()
    async with serving(routes, audit=Audit()) as api:
        yield api


async def test_an_expected_event_is_waited_for_until_it_is_copied_and_folded():
    stream = Stream(copied_after=2, folded_after=2)
    async with asking(stream) as api:
        status, _, body = await api("GET", f"{ROWS}?expect=person/p-1@1&wait=30")
        assert (status, body["positions"]) == (200, {PLACE: [3, 0]})
    assert stream.asked == [("gathering", 1, 7)] * 3
    assert stream.folded_after == -1


async def test_what_is_not_copied_or_not_folded_in_time_is_named():
    async with asking(Stream(copied_after=1_000_000)) as api:
        status, _, problem = await api("GET", f"{ROWS}?expect=person/p-1@1&wait=0")
        assert (status, problem["code"]) == (504, "timeout")
        assert problem["position"] == {"kind": "person", "partition": 1, "offset": 7}
        assert "offset 7 of person-1 is not copied yet" in problem["detail"]
    async with asking(Stream(folded_after=1_000_000)) as api:
        status, _, problem = await api("GET", f"{ROWS}?expect=person/p-1@1&wait=0")
        assert (status, problem["position"]) == (504, {"kind": PLACE, "partition": 0, "offset": 2})


async def test_rows_of_one_aggregate_are_not_built_anew():
    async with asking(Stream()) as api:
        status, _, problem = await api("POST", "/v1/projections/gathering/rebuild?aggregate=person/p-1")
        assert (status, [each["path"] for each in problem["errors"]]) == (400, ["aggregate"])
        assert "its rows are built anew together" in problem["errors"][0]["message"]
