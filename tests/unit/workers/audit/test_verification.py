"""Verification of plain records: what is altered is caught and named, what is only void or foreign is counted."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.topics.keys import partition_of
from annals.topics.wire import encode_headers
from annals.workers.audit.chains import Chains, JournalId
from annals.workers.audit.report import MOST_LISTED, Broken, Report
from annals.workers.audit.scan import Survey, survey
from annals.workers.audit.verify import verify_records
from chained import TRACE, Sealed, chain, sealed
from chained import records as decoded

ALONE = JournalId("person", "events.person", 0, 1)
MANY = JournalId("person", "events.person", 1, 3)  # where p-1 belongs


@pytest.fixture(params=["decoded", "as they stand"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is made with headers in both forms: as a program has them, and as Kafka has them."""
    monkeypatch.setattr(f"{__name__}.AS_THEY_STAND", request.param != "decoded")


AS_THEY_STAND = False


def records(events: list[Sealed], start: int = 0) -> list[Any]:
    found = decoded(events, start)
    return [(*each[:3], encode_headers(each[3])) for each in found] if AS_THEY_STAND else found


def verified(events: list[Sealed], place: JournalId = ALONE, *, tolerates_void: bool = False) -> Report:
    return verify_records(place, records(events), Report(tolerates_void))


def reasons(report: Report) -> list[tuple[int | None, int | None, str]]:
    """Where something is wrong: offset, version, and what, in a word or two."""
    return [(place.offset, place.version, place.reason.split(":")[0]) for place in report.broken]


def test_an_untouched_chain_counts_whole() -> None:
    report = verified(chain("p-1", 7))
    assert (report.events, report.aggregates, report.void, report.foreign, report.broken) == (7, 1, 0, 0, [])
    assert report.is_good


def test_chains_of_several_aggregates_may_be_mixed() -> None:
    mixed = [each for pair in zip(chain("p-1", 5), chain("p-2", 5), strict=True) for each in pair]
    report = verified(mixed)
    assert (report.events, report.aggregates, report.broken) == (10, 2, [])


def test_nothing_is_nothing_and_good() -> None:
    report = verified([])
    assert report.as_json() == {"events": 0, "aggregates": 0, "void": 0, "foreign": 0, "broken": []}


def test_a_changed_member_is_named_by_its_header_and_voids_what_follows() -> None:
    events = chain("p-1", 5)
    forged = sealed("p-1", 3, events[1].cid, data={"name": "Mallory"})
    report = verified([*events[:2], forged.but(headers=events[2].headers), *events[3:]])
    assert (report.events, report.void) == (3, 2)
    assert reasons(report) == [(2, 3, "headers differ from the block"), (3, 4, "void"), (4, 5, "void")]
    assert "ce_id" in report.broken[0].reason


@pytest.mark.parametrize("at", range(0, 250, 7))
def test_a_flipped_bit_is_caught_wherever_it_is(at: int) -> None:
    events = chain("p-1", 4)
    block = bytearray(events[1].value or b"")
    block[at % len(block)] ^= 1
    report = verified([events[0], events[1].but(value=bytes(block)), *events[2:]])
    assert not report.is_good
    assert report.broken[0].offset == 1 or report.broken[0].reason.startswith("gap")


@pytest.mark.parametrize("dropped", range(4))
def test_a_dropped_event_is_a_gap_at_the_next_one(dropped: int) -> None:
    events = chain("p-1", 5)
    report = verified([each for number, each in enumerate(events) if number != dropped])
    assert reasons(report) == [(dropped, dropped + 2, "gap")]
    assert (report.events, report.void) == (dropped, 0)


def test_a_dropped_end_shows_only_against_a_kept_head() -> None:
    assert verified(chain("p-1", 5)[:4]).is_good


@pytest.mark.parametrize("at", range(4))
def test_swapped_events_are_a_gap(at: int) -> None:
    events = chain("p-1", 5)
    events[at], events[at + 1] = events[at + 1], events[at]
    report = verified(events)
    assert reasons(report) == [(at, at + 2, "gap")]
    assert report.events == at


def test_after_a_gap_nothing_of_that_aggregate_is_judged_and_everything_of_others_is() -> None:
    broken, whole = chain("p-1", 6), chain("p-2", 3)
    report = verified([broken[0], broken[2], broken[1], *broken[3:], *whole])
    assert reasons(report) == [(1, 3, "gap")]
    assert (report.events, report.aggregates) == (4, 2)


def test_a_doubled_event_is_void_and_the_chain_goes_on() -> None:
    events = chain("p-1", 4)
    report = verified([*events[:3], events[2], events[3]])
    assert (report.events, report.void, reasons(report)) == (4, 1, [(3, 3, "void")])


def test_the_loser_of_two_writers_is_void_with_all_that_follow_it() -> None:
    events = chain("p-1", 4)
    loser = sealed("p-1", 3, events[1].cid, data={"name": "loser"})
    followers = chain("p-1", 2, after=loser)
    report = verified([*events[:3], loser, *followers, events[3]])
    assert (report.events, report.void) == (4, 3)
    assert [reason for _, _, reason in reasons(report)] == ["void"] * 3


def test_void_records_of_one_aggregate_are_known_before_those_that_link_to_them() -> None:
    first, other = chain("p-1", 3), chain("p-2", 1)
    loser = sealed("p-1", 2, first[0].cid, data={"name": "loser"})
    stray = sealed("p-2", 5, loser.cid)
    # In one chunk, where the run of p-2 begins before the void record and ends behind it.
    report = verified([first[0], first[1], *other, loser, stray])
    assert (report.events, report.void) == (3, 2)


def test_tolerated_void_and_foreign_records_are_counted_and_pass() -> None:
    events = chain("p-1", 3)
    report = verified([*events, events[1], events[0].but(value=b"no block")], tolerates_void=True)
    assert (report.void, report.foreign, report.broken, report.is_good) == (1, 1, [], True)


def test_a_gap_is_never_tolerated() -> None:
    events = chain("p-1", 3)
    assert not verified([events[0], events[2]], tolerates_void=True).is_good


FOREIGN: dict[str, Callable[[Sealed], Sealed]] = {
    "no block": lambda event: event.but(value=b"\xff"),
    "a null value": lambda event: event.but(value=None),
    "another's key": lambda event: event.but(key=b"p-7"),
    "no key": lambda event: event.but(key=None),
    "trailing bytes": lambda event: event.but(value=(event.value or b"") + b"\x00"),
    "another kind": lambda event: sealed("p-1", event.version, None, kind="organization"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_record_is_passed_over_and_named(name: str) -> None:
    events = chain("p-1", 3)
    report = verified([events[0], FOREIGN[name](events[1]), *events[1:]])
    assert (report.events, report.void, report.foreign) == (3, 0, 1)
    assert reasons(report) == [(1, None, "foreign")]


def test_a_key_in_a_partition_that_is_not_its_own_is_foreign_at_every_version() -> None:
    lost = next(f"p-{number}" for number in range(99) if partition_of(f"p-{number}".encode(), 3) != 1)
    report = verified([*chain("p-1", 2), *chain(lost, 2), sealed(lost, 7, None)], MANY)
    assert (report.events, report.void, report.foreign) == (2, 0, 3)
    assert "belongs to partition" in report.broken[0].reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_id", b"bafy"),
        ("ce_type", b"annals.person.PersonRegistered.v1"),
        ("ce_subject", b"p-2"),
        ("ce_time", b"2026-11-21T09:30:00.123457Z"),
        ("ce_sequence", b"00000000000000000003"),
        ("ce_actor", b"somebody"),
        ("ce_commandcausationid", b"other"),
        ("content-type", None),
    ],
)
def test_a_header_that_differs_is_named_and_the_event_counts(name: str, value: bytes | None) -> None:
    events = chain("p-1", 3, causation_id="cause")
    report = verified([events[0], events[1].with_header(name, value), events[2]])
    assert report.events == 3
    assert reasons(report) == [(1, 2, "headers differ from the block")]
    assert name in report.broken[0].reason


@pytest.mark.parametrize("name", ["ce_id", "ce_commandcausationid", "ce_actor", "ce_dataschema"])
def test_a_missing_header_is_named(name: str) -> None:
    (event,) = chain("p-1", 1, causation_id="cause")
    report = verified([event.but(headers=[each for each in event.headers if each[0] != name])])
    assert [name in place.reason for place in report.broken] == [True]


def test_an_event_without_any_header_is_named() -> None:
    report = verified([chain("p-1", 1)[0].but(headers=[])])
    assert (report.events, len(report.broken)) == (1, 1)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"actor": None},
        {"causation_id": "cause"},
        {"causation_id": "c" * 256, "actor": None, "command_id": "é" * 128},
        {"actor": "é" * 1_200, "causation_id": ""},
        {"command_id": "100 %b"},
        {"traceparent": b"00-0a-0b-01"},
        {"actor": None, "causation_id": "cause", "traceparent": b""},
        {"via": b"hr,payroll"},
        {"traceparent": b"00-0a-0b-01", "via": b"hr"},
    ],
)
def test_headers_that_may_be_there_are_no_difference(how: dict[str, object]) -> None:
    assert verified(chain("p-1", 3, **how)).is_good


def test_headers_in_another_order_or_beside_others_are_no_difference() -> None:
    events = chain("p-1", 2)
    event_from = events[0].but(headers=[*reversed(events[0].headers), ("x-mine", b"1")])
    assert verified([event_from, events[1]]).is_good


def test_a_header_that_is_there_twice_is_named() -> None:
    (event,) = chain("p-1", 1)
    report = verified([event.but(headers=[*event.headers, ("ce_actor", b"other")])])
    assert "ce_actor" in report.broken[0].reason


@pytest.mark.parametrize("raw", [b"", b"\x18", b"\x80\x80", b"\x01", b"\x02\x04a", b"\x02\x02a\x01more"])
def test_headers_that_cannot_be_read_are_named(raw: bytes) -> None:
    (event,) = chain("p-1", 1)
    report = verify_records(ALONE, [(0, event.key, event.value, raw)])
    assert (report.events, reasons(report)) == (1, [(0, 1, "headers differ from the block")])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, 2**16), bit=st.integers(0, 7), traced=st.booleans())
def test_a_bit_flipped_anywhere_in_the_headers_is_named_or_is_in_the_trace(at: int, bit: int, *, traced: bool) -> None:
    (event,) = chain("p-1", 1, causation_id="cause", traceparent=TRACE if traced else None)
    raw = bytearray(encode_headers(event.headers))
    at %= len(raw)
    in_the_trace = traced and at >= raw.index(b"traceparent") - 1
    raw[at] ^= 1 << bit
    report = verify_records(ALONE, [(0, event.key, event.value, bytes(raw))])
    assert report.is_good <= in_the_trace


def test_the_headers_of_a_record_that_does_not_count_are_not_compared() -> None:
    events = chain("p-1", 2)
    report = verified([*events, events[0].with_header("ce_actor", b"x")], tolerates_void=True)
    assert (report.void, report.broken) == (1, [])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_it_does_not_matter_how_a_journal_is_cut_into_chunks(size: int) -> None:
    events = [each for pair in zip(chain("p-1", 8), chain("p-2", 8), strict=True) for each in pair]
    events[6:6] = [events[2], sealed("p-1", 3, events[2].cid, data={}), events[0].but(value=b"?")]
    del events[12]
    whole, report = verified(events), Report()
    chains = Chains(ALONE, report)
    for start in range(0, len(events), size):
        chains.add(survey("person", 0, 1, records(events[start : start + size], start)))
    assert report == whole


def test_a_negative_version_is_void_and_told() -> None:
    report = verified([*chain("p-1", 1), sealed("p-1", -(2**64), None)])
    assert (report.events, report.void) == (1, 1)


def test_a_version_far_ahead_is_a_gap() -> None:
    report = verified([sealed("p-1", 2**64 - 1, None)])
    assert reasons(report) == [(0, 2**64 - 1, "gap")]


def test_a_survey_of_one_key_leaves_the_others_out() -> None:
    found = survey("person", 0, 1, records([*chain("p-1", 2), *chain("p-2", 2)]), b"p-2")
    assert [(run.key, len(run.cids)) for run in found.runs] == [(b"p-2", 2)]


def test_a_run_is_as_long_as_records_of_a_key_continue_one_another() -> None:
    events = chain("p-1", 5)
    found = survey("person", 0, 1, records([*events[:3], events[1], events[2], *events[3:]]))
    assert [(run.version, len(run.cids)) for run in found.runs] == [(1, 3), (2, 4)]


def test_what_is_listed_has_an_end_and_the_rest_is_counted() -> None:
    report = Report()
    for number in range(MOST_LISTED + 5):
        report.add_void(Broken("person", "p-1", "events.person", 0, number, 1, "void: too late"))
    assert (report.void, len(report.broken), report.more) == (MOST_LISTED + 5, MOST_LISTED, 5)
    assert report.as_json()["more"] == 5


def test_of_ids_longer_than_any_commands_a_hash_and_a_start_are_kept() -> None:
    ids = ["ä" * 30_000 + str(number) for number in range(4)]
    events = [event for aggregate_id in ids for event in chain(aggregate_id, 2)]
    found = survey("person", 0, 1, records(events))
    assert max(len(run.key) for run in found.runs) <= 100
    report = Report()
    chains = Chains(ALONE, report)
    chains.add(found)
    assert (report.events, report.aggregates, report.broken) == (8, 4, [])
    assert chains.head(ids[3].encode())[0] == 2
    gap = verified(chain(ids[0], 3)[::2])
    assert [place.aggregate_id for place in gap.broken] == ["ä" * 32 + "…"]
    misplaced = verified(
        chain(ids[0], 2), JournalId("person", "events.person", 1 - partition_of(ids[0].encode(), 2), 2)
    )
    assert (misplaced.events, misplaced.foreign, misplaced.void) == (0, 2, 0)


def test_an_empty_survey_changes_nothing() -> None:
    report = Report()
    Chains(ALONE, report).add(Survey([], []))
    assert report == Report()


def test_a_place_reads_as_one_line() -> None:
    place = Broken("person", "p-1", "events.person", 2, 7, 3, "gap: it follows version 1")
    assert str(place) == "events.person-2 offset 7: person 'p-1' version 3: gap: it follows version 1"
    assert str(Broken("person", None, "events.person", 2, None, None, "empty")) == "events.person-2: empty"
