"""No body, and no record of a stranger, holds the event loop longer than a moment, however its members are filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

import msgspec
import pytest

from annals.agents.publishing.administration import Refused, definition_of
from annals.schemas.ack import LARGEST_BYTES, Ack, read_ack
from annals.schemas.job_record import MOST_BYTES, JobRecord, decode_job
from annals.schemas.outcome import Outcome, decode_outcome
from annals.schemas.subscription import Definition, Record
from annals.schemas.values.constraints import marks_of, type_hints
from annals.workers.api.choosing import read_body
from annals.workers.api.http.problems import Problem
from annals.workers.api.routes import dead_letters, jobs, parked
from annals.workers.api.routes.subscriptions import read_object
from annals.workers.publishing.subscriptions_topic import subscription_of
from annals.workers.registry import deciders
from costs import MEGABYTE, TEXTS, UNITS, collected_as_in_a_worker, costs_little, many, names, quoted, slowness_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILTER = b'{"exact":{"type":"x"}}'
LONG_EXPRESSION = b"data.name == '" + b"a" * 1_900 + b"' && x"


def _put(body: bytes) -> Any:
    return definition_of("a", read_object(body, "invalid_subscription"), deciders())


def _record(value: bytes) -> Any:
    return subscription_of(b"a", value)


READ: dict[str, tuple[type[msgspec.Struct], Callable[[bytes], Any]]] = {
    "subscription": (Definition, _put),
    "replay": (jobs.ReplayRequest, jobs._read),
    "parked": (parked.ParkedDiscard, lambda body: read_body(body, parked.DISCARDS)),
    "dead letters": (dead_letters.DeadLetterDiscard, lambda body: read_body(body, dead_letters.DISCARDS)),
    "ack": (Ack, read_ack),
    "record of a job": (JobRecord, lambda value: decode_job(b"a", value)),
    "record of a subscription": (Record, _record),
    "outcome": (Outcome, decode_outcome),
}
WELL: dict[str, dict[str, Any]] = {
    "record of a job": {"id": "a", "kind": "replay", "subject": "", "status": "running", "started_at": "x"},
    "record of a subscription": {"definition": {"name": "a"}, "incarnation": 1, "begin": {}},
}


SIZES = {"record of a job": MOST_BYTES - 500, "ack": LARGEST_BYTES - 500}


@pytest.fixture(scope="module")
def slowness() -> float:
    return slowness_now()


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    with collected_as_in_a_worker():
        yield


def _costs_little(what: str, body: bytes, slowness: float) -> str:
    assert len(body) <= 1 << 20

    def read() -> str:
        try:
            READ[what][1](body)
        except Refused as refused:
            return str(refused)[:200]
        except Problem as problem:
            return problem.body("r")[:200].decode(errors="replace")
        except ValueError as error:
            return str(error)[:200]
        return "read"

    return str(costs_little(read, slowness, f"{what}: {body[:120]!r}"))


def _with(what: str, member: str, fill: bytes) -> bytes:
    rest = {name: value for name, value in WELL.get(what, {}).items() if name != member}
    return b'{"%b":%b%b}' % (member.encode(), fill, b"".join(
        b',"%b":%b' % (name.encode(), msgspec.json.encode(value)) for name, value in rest.items()
    ))  # fmt: skip


def _members() -> Iterator[tuple[str, str]]:
    for what, (struct, _) in READ.items():
        for field in msgspec.structs.fields(struct):
            yield what, field.encode_name


@pytest.mark.parametrize(("what", "member"), list(_members()))
def test_a_member_that_fills_the_body_costs_a_moment(what: str, member: str, slowness: float) -> None:
    size = SIZES.get(what, MEGABYTE)
    for fill in _fills(type_hints(READ[what][0])[member], size):
        _costs_little(what, _with(what, member, fill), slowness)


def _fills(annotation: Any, size: int) -> Iterator[bytes]:
    """What a member is filled with: by its type, and some that it does not take."""
    bare = marks_of(annotation)[0]
    shape = get_origin(bare) or bare
    yield from (many("1e-320", size), names("k%d", size), quoted("a" * (size - 500)))
    if shape in {list, dict, Any}:
        yield from (many(unit, size) for unit in UNITS)
        yield names("K %d", size)
    if shape in {str, Any}:
        yield from (quoted(text[: (size - 500) * len(text) // MEGABYTE]) for text in TEXTS)


def _listed(item: bytes, size: int = 900_000) -> bytes:
    return b"[" + b",".join([item] * (size // (len(item) + 1))) + b"]"


def _numbered(pattern: bytes, size: int = 900_000) -> bytes:
    return b"{" + b",".join(pattern % number for number in range(size // (len(pattern) + 4))) + b"}"


INSIDE = {
    "filters": [
        _listed(FILTER),
        b'[{"all":%b}]' % _listed(FILTER),
        b'[{"any":%b}]' % many("{}"),
        b'[{"not":{"any":%b}}]' % many("null"),
        b'[{"all":[{"any":%b}]}]' % _listed(b'{"cel":"true"}'),
        b'[{"exact":%b}]' % names("k%d"),
        b'[{"exact":{"type":%b}}]' % quoted(TEXTS[1]),
        b'[{"cel":%b}]' % quoted(TEXTS[1]),
        b'[{"all":' * 8 + _listed(FILTER) + b"}]" * 8,
        b"[" + b",".join([b'{"all":[%b]}' % FILTER] * 30_000) + b"]",
    ],
    "start": [
        b'{"positions":%b}' % _numbered(b'"k%d":[0]'),
        b'{"positions":{"person":%b}}' % many("1"),
        b'{"positions":%b}' % _numbered(b'"k%d":{}'),
        *(b'{"time":%b}' % quoted(text) for text in TEXTS),
    ],
    "schema_version": [names("K%d"), _numbered(b'"k%d":{}')],
    "types": [b"[" + b",".join(b'"%b%d"' % (b"PersonRegistered" * 15, n) for n in range(1_000)) + b"]",
              b"[" + b",".join(b'"PersonRegistere%d"' % n for n in range(1_000)) + b"]"],
    "kinds": [b"[" + b",".join(b'"perso%d"' % n for n in range(100)) + b"]"],
    "webhook": [b'{"url":%b,"secrets":["a"]}' % quoted(text[:2_000]) for text in TEXTS],
    "retry": [names("k%d")],
}  # fmt: skip


@pytest.mark.parametrize("member", INSIDE)
def test_what_is_inside_of_a_subscription_costs_a_moment(member: str, slowness: float) -> None:
    for fill in INSIDE[member]:
        said = _costs_little("subscription", _with("subscription", member, fill), slowness)
        assert member in said or said == "read", said
        definition = b'{"name":"a","%b":%b}' % (member.encode(), fill)
        _costs_little("record of a subscription", _with("record of a subscription", "definition", definition), slowness)


@pytest.mark.parametrize("filters", [b"[]", _listed(FILTER, 2_000), b'[{"cel":"true"}]'])
def test_many_former_definitions_cost_a_moment(filters: bytes, slowness: float) -> None:
    former = b'{"definition":{"name":"a","filters":%b},"until":{"person":[1]}}' % filters
    _costs_little("record of a subscription", _with("record of a subscription", "former", _listed(former)), slowness)


def test_details_of_an_outcome_cost_a_moment(slowness: float) -> None:
    for fill in (many("1e-320"), names("k%d")):
        error = b'{"code":"x","message":"","details":{"a":%b}}' % fill
        rest = b'"command_id":"c","kind":"person","aggregate_id":"a","status":"rejected","version":0,"head":null'
        rest += b',"events":[]'
        assert _costs_little("outcome", b'{%b,"error":%b}' % (rest, error), slowness) == "read"


@pytest.mark.parametrize("unit", ['"perso"', '"x"'])
@pytest.mark.parametrize("member", ["kinds", "types"])
def test_names_that_there_are_not_are_not_all_held_to_what_was_meant(member: str, unit: str, slowness: float) -> None:
    """Goes red when a replay's list has no bound: what was meant was looked for 100,000 times."""
    said = _costs_little("replay", _with("replay", member, many(unit)), slowness)
    assert f"{member}: expected array of length <= " in said


def test_positions_of_a_replay_are_bounded(slowness: float) -> None:
    for positions in (_numbered(b'"k%d":[0]'), b'{"person":%b}' % many("null")):
        assert "positions" in _costs_little("replay", _with("replay", "positions", positions), slowness)


@pytest.mark.parametrize("filters", [
    [{"exact": {"type": "x"}}] * 101,
    [{"all": [{"exact": {"type": "x"}}] * 100}],
    [{"all": [{"any": [None] * 100}]}],
])  # fmt: skip
def test_a_subscription_has_at_most_a_hundred_filters(filters: list[Any]) -> None:
    with pytest.raises(Refused) as refused:
        _put(msgspec.json.encode({"filters": filters}))
    assert (refused.value.status, refused.value.code) == (422, "invalid_subscription")
    assert [path for path, _ in refused.value.errors] == ["filters"]
