"""The route of answers: which of them is written, and under which key."""

import json

import pytest

from annals.agents.publishing.administration import Refused
from annals.schemas.ack import LARGEST_BYTES, Ack, read_ack
from annals.schemas.cid import cid_text
from annals.workers.api.routes.acks import AckRoutes
from api_serving import reading, serving
from chained import chain

PATH = "/v1/subscriptions/billing/acks"
HEADERS = {"content-type": "application/json"}
ADA = chain("p-1", 2)
CID = cid_text(ADA[1].cid)


class Acks:
    """Takes answers of one subscription (the `Acks` port)."""

    def __init__(self):
        self.sent = []

    async def kinds(self, name):
        if name == "stream":
            raise Refused(409, "not_acknowledged", "it takes no answers")
        if name != "billing":
            raise Refused(404, "not_found", "there is none")
        return ["person"]

    async def send(self, name, kind, aggregate_id, value):
        self.sent.append((name, aggregate_id, read_ack(value)))


class OfKinds:
    """The shards of some kinds, of those that are here."""

    def __init__(self, shards):
        self.shards = shards

    def of_kinds(self, kinds):
        return [shard for shard in self.shards.all() if shard.kind in kinds]


@pytest.fixture
async def asked():
    acks = Acks()
    async with reading(person=ADA) as (shards, _), serving(AckRoutes(acks, OfKinds(shards)).routes()) as api:

        async def ask(path=PATH, size=0, **members):
            body = {"cid": CID, "attempt": 2, "verdict": "ack", **members}
            status, _, said = await api("POST", path, data=json.dumps(body).ljust(size), headers=HEADERS)
            return status, said.get("code"), acks.sent

        yield ask


async def test_an_answer_is_written_under_the_key_of_its_event(asked):
    status, _, sent = await asked(verdict="nack", reason="busy", delay_ms=5)
    assert status == 202
    assert sent == [("billing", "p-1", Ack(CID, "nack", 2, "busy", 5, kind="person"))]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"verdict": "perhaps"}, (422, "invalid_ack")),
        ({"cid": "x"}, (422, "invalid_ack")),
        ({"attempt": 0}, (422, "invalid_ack")),
        ({"colour": "red"}, (422, "invalid_ack")),
        ({"cid": cid_text(chain("p-9", 1)[0].cid)}, (404, "not_found")),
        ({"kind": "agent"}, (404, "not_found")),
        ({"path": "/v1/subscriptions/none/acks"}, (404, "not_found")),
        ({"path": "/v1/subscriptions/stream/acks"}, (409, "not_acknowledged")),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_not_written(asked, members, expected):
    status, code, sent = await asked(**members)
    assert ((status, code), sent) == (expected, [])


async def test_one_that_is_larger_than_any_answer_needs_is_not_read(asked):
    status, code, sent = await asked(size=LARGEST_BYTES + 1)
    assert ((status, code), sent) == ((413, "too_large"), [])
    status, _, sent = await asked(size=LARGEST_BYTES)
    assert (status, len(sent)) == (202, 1)
