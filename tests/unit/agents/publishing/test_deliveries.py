"""What becomes of one delivery: answers, time limits, limits in flight, decisions on what is parked."""

import pytest
from msgspec import structs

from annals.agents.publishing.delivering.back_off import back_off_ms, waiting_now
from annals.agents.publishing.delivering.loading import take_up
from annals.agents.publishing.delivering.machine import (
    NONE,
    NOT_OUTSTANDING,
    OTHER_ATTEMPT,
    TAKEN,
    Answer,
    Deliveries,
    Wanted,
)
from annals.agents.publishing.delivering.ports import Unsettled
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import (
    DISCARDED,
    IN_FLIGHT,
    PARKED,
    WAITING,
    Row,
    decode_row,
    discarded,
    encode_row,
    replayed,
    row_key,
)
from annals.schemas.subscription import Retry

OLD = "https://old.example"
RETRY = Retry(max_attempts=2, first_delay_ms=100, max_delay_ms=1_000, ack_timeout_ms=50)


def half() -> float:
    return 0.5


def event(version: int = 1, aggregate: str = "a") -> Wanted:
    return Wanted(aggregate, version, f"{aggregate}{version}", "Happened", version)


def deliveries(*events: Wanted, most: int = 10, ordered: bool = True) -> Deliveries:
    machine = Deliveries("person", [], RETRY, most, ordered=ordered)
    for each in events:
        assert machine.offer(each, 0)
    return machine


def taken(machine: Deliveries, now: int = 0) -> list[tuple[str, int]]:
    machine.expire(now, half)
    rows = machine.take(now)
    machine.delivered(rows, now)
    return [(row.cid, row.attempt) for row in rows]


def test_the_next_of_an_aggregate_waits_until_the_one_before_is_acknowledged():
    machine = deliveries(event(1), event(2), event(1, "b"))
    assert taken(machine) == [("a1", 1), ("b1", 1)]
    assert machine.answer("a", Answer("a1", 1, "ack"), 1, half) == TAKEN
    assert machine.answer("a", Answer("a1", 1, "ack"), 1, half) == NOT_OUTSTANDING
    (settled,) = machine.settling()
    assert settled.later == 2
    machine.advance(settled, event(2), 1)
    assert taken(machine, 1) == [("a2", 1)]
    machine.answer("a", Answer("a2", 1, "ack"), 2, half)
    (settled,) = machine.settling()
    assert settled.later is None
    machine.advance(settled, None, 2)
    machine.answer("b", Answer("b1", 1, "ack"), 2, half)
    assert machine.changes() == {"person/a": None, "person/b": None}
    assert machine.numbers == (0, 0, 0)


def test_what_follows_may_not_be_known_yet():
    """Its row says that the event is settled, and nobody is woken for it; a later owner goes on there."""
    known = deliveries(event(1), event(1, "b"))
    taken(known)
    machine = Deliveries("person", known.rows(), RETRY, 10)
    assert machine.answer("a", Answer("a1", 1, "ack"), 1, half) == TAKEN
    (settled,) = machine.settling()
    machine.defer(settled)
    machine.defer(settled)
    assert {key: row.state for key, row in machine.changes().items() if row is not None} == {"person/a": DISCARDED}
    assert machine.settling(again=False) == []
    assert machine.next_due() == 50
    assert machine.offer(event(3), 2)
    assert machine.numbers == (2, 1, 0)
    assert machine.answer("a", Answer("a1", 1, "ack"), 2, half) == NOT_OUTSTANDING
    later = Deliveries("person", [row for row in machine.rows() if row.aggregate_id == "a"], RETRY, 10)
    for each in (machine, later):
        (again,) = each.settling()
        assert (again.row.cid, again.later) == ("a1", None)
        each.advance(again, event(2), 3)
        assert each.settling() == []
        assert taken(each, 3) == [("a2", 1)]
    assert machine.next_due() == 50


def test_what_is_not_answered_in_time_comes_again_and_is_parked_after_the_last_attempt():
    machine = deliveries(event())
    assert taken(machine) == [("a1", 1)]
    assert machine.next_due() == 50
    assert taken(machine, 50) == []
    assert machine.next_due() == 100  # half of the first delay, from then on
    assert taken(machine, 100) == [("a1", 2)]
    assert machine.answer("a", Answer("a1", 1, "ack"), 101, half) == OTHER_ATTEMPT
    assert taken(machine, 150) == []
    (parked,) = machine.newly_parked()
    assert (parked.state, parked.reason, parked.attempt) == (PARKED, "ack_timeout", 2)
    assert machine.next_due() is None
    assert machine.answer("a", Answer("a1", 2, "ack"), 151, half) == NOT_OUTSTANDING


def test_an_answer_that_comes_late_but_before_the_next_attempt_settles():
    machine = deliveries(event())
    taken(machine)
    taken(machine, 50)
    assert machine.answer("a", Answer("a1", 1, "ack"), 60, half) == TAKEN
    assert machine.changes() == {"person/a": None}
    assert taken(machine, 1_000) == []


@pytest.mark.parametrize(("delay", "due"), [(None, 60), (0, 10), (700, 710)])
def test_a_nack_comes_again_when_it_asks_to(delay, due):
    machine = deliveries(event())
    taken(machine)
    assert machine.answer("a", Answer("a1", 1, "nack", "busy", delay), 10, half) == TAKEN
    assert machine.answer("a", Answer("a1", 1, "nack", "busy", delay), 10, half) == NOT_OUTSTANDING
    assert due == 10 or taken(machine, due - 1) == []
    assert taken(machine, due) == [("a1", 2)]


def test_a_nack_that_does_not_count_uses_no_attempt_up():
    machine = deliveries(event())
    for attempt in range(1, 10):
        assert taken(machine, attempt) == [("a1", attempt)]
        machine.answer("a", Answer("a1", attempt, "nack", delay_ms=1, counts=False), attempt, half)
    assert machine.numbers.parked == 0


def test_parking_and_extending():
    machine = deliveries(event(), event(1, "b"))
    taken(machine)
    assert machine.parked_since is None
    assert machine.answer("a", Answer("a1", 1, "park", "poison"), 1, half) == TAKEN
    assert [row.reason for row in machine.newly_parked()] == ["poison"]
    assert machine.parked_since == 1
    assert machine.newly_parked() == []
    assert machine.answer("b", Answer("b1", 1, "extend", delay_ms=500), 1, half) == TAKEN
    assert machine.next_due() == 501


def test_no_more_are_in_flight_than_may_be_and_those_that_wait_for_an_aggregate_need_no_room():
    machine = deliveries(event(1), event(2), event(1, "b"), most=2)
    assert not machine.offer(event(1, "c"), 0)
    assert machine.offer(event(2, "b"), 0)
    assert len(taken(machine)) == 2
    machine.answer("a", Answer("a1", 1, "park"), 1, half)
    assert machine.room == 1, "what is parked does not count"
    assert machine.offer(event(1, "c"), 1)
    assert taken(machine, 1) == [("c1", 1)]


def test_without_order_each_event_is_on_its_own_and_an_answer_may_hold_up_to_it():
    machine = deliveries(event(1), event(2), event(3), ordered=False)
    assert [cid for cid, _ in taken(machine)] == ["a1", "a2", "a3"]
    assert machine.answer("a", Answer("a2", 1, "ack", up_to=True), 1, half) == TAKEN
    assert [row.cid for row in machine.rows()] == ["a3"]
    assert machine.settling() == []


def test_somebody_elses_cid_is_passed_over():
    machine = deliveries(event())
    taken(machine)
    assert machine.answer("b", Answer("a1", 1, "ack"), 1, half) == NOT_OUTSTANDING
    assert machine.answer("a", Answer("b1", 1, "ack"), 1, half) == NOT_OUTSTANDING
    assert machine.numbers.in_flight == 1


def test_rows_are_taken_up_as_they_were_written():
    machine = deliveries(event(1), event(2), event(1, "b"))
    taken(machine)
    machine.answer("b", Answer("b1", 1, "nack", delay_ms=5), 1, half)
    rows = machine.changes()
    again = Deliveries("person", [row for row in rows.values() if row], RETRY, 10)
    assert again.numbers == (2, 1, 0)
    assert again.answer("a", Answer("a1", 1, "ack"), 2, half) == TAKEN
    (settled,) = again.settling()
    assert settled.later is None, "what came later is to be looked for"
    again.advance(settled, event(2), 2)
    assert taken(again, 6) == [("a2", 1), ("b1", 2)]


def test_what_is_parked_is_replayed_with_further_attempts_or_discarded():
    machine = deliveries(event(1), event(2), event(1, "b"))
    taken(machine)
    machine.answer("a", Answer("a1", 1, "park"), 1, half)
    machine.answer("b", Answer("b1", 1, "park"), 1, half)
    parked = {row.aggregate_id: row for row in machine.newly_parked()}
    assert machine.numbers == (2, 0, 2)
    replay, discard = replayed(parked["b"], 5, "ada"), discarded(parked["a"], 5, "ada", "of no use")
    assert replay is not None
    assert discard is not None
    assert replayed(replay, 6) is None, "once is enough"
    assert discarded(replay, 6, None, "too late") is None
    again = Deliveries("person", [replay, discard], RETRY, 10)
    (settled,) = again.settling()
    again.advance(settled, event(2), 6)
    assert taken(again, 6) == [("b1", 2), ("a2", 1)]
    assert {row.tries for row in again.rows()} == {1}
    assert {row.state for row in again.rows()} == {IN_FLIGHT}


def test_full_jitter_draws_from_the_whole_range_up_to_a_limit():
    assert [back_off_ms(RETRY, tries, 0.999) for tries in (1, 2, 3, 4, 5, 1_000)] == [99, 199, 399, 799, 999, 999]
    assert back_off_ms(RETRY, 3, 0.0) == 0
    assert back_off_ms(RETRY, 0, 0.999) == 99, "of one that was never tried"
    assert NONE < 0


def test_a_row_is_read_as_it_was_written_under_its_own_key_alone():
    cid = "bafyr4iaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae"
    machine = deliveries(event()._replace(cid=cid), ordered=False)
    (row,) = machine.rows()
    assert row.state == WAITING
    assert row_key(row) == cid
    assert decode_row(cid.encode(), encode_row(row)) == row
    with pytest.raises(ValueError, match="key"):
        decode_row(b"person/a", encode_row(row))


def test_rows_have_what_few_texts_say_between_them_once():
    cid = "bafyr4iaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae"
    (row,) = deliveries(event()._replace(cid=cid)).rows()
    text = encode_row(structs.replace(row, reason="http_500", endpoint="https://a.example"))
    one, other = (decode_row(b"person/a", text) for _ in range(2))
    for member in ("kind", "type", "reason", "endpoint"):
        assert getattr(one, member) is getattr(other, member), member


def test_a_delay_that_was_asked_for_stays_and_one_that_was_drawn_is_no_longer_than_the_policy_allows():
    machine = deliveries(event(1), event(1, "b"))
    taken(machine)
    machine.answer("a", Answer("a1", 1, "nack"), 10, half)
    machine.answer("b", Answer("b1", 1, "nack", delay_ms=500), 10, half)
    drawn, asked = machine.rows()
    assert (drawn.due, asked.due) == (60, 510)
    shorter = Retry(first_delay_ms=1, max_delay_ms=20)
    assert (waiting_now(drawn, shorter, None, 10).due, waiting_now(asked, shorter, None, 10).due) == (30, 510)
    assert (waiting_now(drawn, RETRY, None, 10), waiting_now(asked, RETRY, None, 10)) == (drawn, asked)
    assert taken(machine, 1_000) == [("a1", 2), ("b1", 2)]
    assert [(row.is_drawn, row.endpoint) for row in machine.rows()] == [(False, None)] * 2, "it says nothing in flight"


@pytest.mark.parametrize("verdict", ["nack", None])
def test_what_a_clock_wrote_that_is_ahead_waits_as_long_as_it_was_to_from_now_on(verdict):
    """Goes red when the next owner, or the same machine once its clock is set back, waits until that time has come."""
    machine = deliveries(event(1))
    taken(machine, 3_600_000)
    if verdict:
        machine.answer("a", Answer("a1", 1, verdict, delay_ms=50), 3_600_000, half)
    (ahead,) = machine.rows()
    now = waiting_now(ahead, RETRY, None, 10)
    assert (now.at, now.due) == (10, 60)
    assert structs.replace(now, at=ahead.at, due=ahead.due) == ahead


@pytest.mark.parametrize(("at", "due"), [(253_402_300_799_000, 0), (100, 99), (100, 100)])
def test_what_was_due_before_the_time_it_was_written_at_is_due_now(at, due):
    """Goes red when a row of a stranger becomes one of ours that nobody can read: due before 1970."""
    ahead = structs.replace(waiting_row(1), at=at, due=due)
    assert waiting_now(ahead, RETRY, None, at) == ahead, "it is of no later time"
    now = waiting_now(ahead, RETRY, None, 10)
    assert (now.at, now.due) == (10, 10)
    assert decode_row(row_key(now).encode(), encode_row(now)) == now


@pytest.mark.parametrize("state", [WAITING, IN_FLIGHT])
@pytest.mark.parametrize("endpoint", ["https://new.example", None])
def test_what_was_posted_to_another_endpoint_is_due_at_once_as_if_nothing_had_been_answered(state, endpoint):
    row = structs.replace(waiting_row(1), state=state, at=7, due=900, reason="http_503", is_drawn=True, endpoint=OLD)
    assert waiting_now(row, RETRY, endpoint, 10) == structs.replace(
        row, state=WAITING, due=7, reason=None, is_drawn=False, endpoint=None
    )
    assert waiting_now(row, RETRY, OLD, 10) == row


@pytest.mark.parametrize("state", [PARKED, DISCARDED])
def test_what_does_not_wait_is_of_no_endpoint_and_no_policy(state):
    row = structs.replace(waiting_row(1), state=state, at=7, due=90_000, is_drawn=True, endpoint=OLD)
    assert waiting_now(row, RETRY, "https://new.example", 10) == row


def test_a_drawn_delay_is_cut_where_it_is_longer_than_the_policy_allows_from_its_own_time_on():
    shorter = Retry(first_delay_ms=1, max_delay_ms=30)
    row = structs.replace(waiting_row(1), at=22, due=52, is_drawn=True)
    for due in (40, 52):
        assert waiting_now(structs.replace(row, due=due), shorter, None, 60).due == due, "30 ms from 22 on, or less"
    assert waiting_now(structs.replace(row, due=53), shorter, None, 60) == row
    posted = structs.replace(row, state=IN_FLIGHT, due=53)
    assert waiting_now(posted, shorter, None, 60) == posted, "until its attempt is over"


async def test_of_what_a_clock_wrote_that_is_ahead_only_what_waits_is_written_again():
    """Goes red when thousands of parked events that somebody with such a clock replayed are all written once more."""
    parked_rows = [structs.replace(waiting_row(number), state=PARKED) for number in range(1, 4)]
    rows = [replayed(row, 1_000) for row in parked_rows]
    rows.append(structs.replace(waiting_row(4), at=1_000, due=1_030))
    rows.append(structs.replace(waiting_row(5), at=1, due=1_030))
    anew = await take_up(deliveries(), Unsettled(rows, {}), RETRY, 10)
    assert [(row.version, row.at, row.due) for row in anew] == [(4, 10, 40)]


def waiting_row(version: int) -> Row:
    cid = cid_text(cid_of(b"%d" % version))
    return Row("person", f"a-{version}", version, cid, "Happened", version, ordered=True, state=WAITING, attempt=1)
