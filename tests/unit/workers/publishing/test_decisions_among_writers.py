"""Decisions about what is parked while others become the writer of its rows, again and again."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from annals.agents.ports import UncertainError
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import DECISION, Choice, ParkedDecision
from annals.agents.publishing.ports import TargetError
from annals.schemas.delivery import IN_FLIGHT
from annals.schemas.job_record import RUNNING, JobRecord
from annals.workers.jobs.parked import ParkedWork
from annals.workers.memory.cluster import Topic
from annals.workers.memory.partition import Rules
from annals.workers.publishing import parked_decisions
from annals.workers.publishing.delivery_log import KafkaDeliveryLog, KafkaDeliveryLogs
from annals.workers.publishing.parked import ParkedService
from annals.workers.settings import Settings
from publishing import NAMES
from shelves import DELIVERIES, KEPT, Shelf

NUMBER = 2 * parked_decisions.ATTEMPTS
DELIVER = KafkaDeliveryLog.deliver


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch):
    monkeypatch.setattr(parked_decisions, "ROWS", 1)
    monkeypatch.setattr(parked_decisions, "FIRST_RETRY_S", 0.0)


async def fence(shelf):
    """A delivery shard opens again."""
    other = KafkaDeliveryLogs(shelf.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
    await other.fence()
    await other.close()


def behind_each(monkeypatch, do):
    """Have something done when a decision was written; return the CIDs of those as they are."""
    written = []

    async def deliver(writer, writes):
        await DELIVER(writer, writes)
        if writes.parked:
            return
        written.extend(row.cid for row in writes.rows.values())
        await do()

    monkeypatch.setattr(KafkaDeliveryLog, "deliver", deliver)
    return written


@pytest.mark.parametrize("decides", ["replay", "discard"])
async def test_a_decision_is_made_whole_by_whatever_number_of_attempts_if_each_decides_something(monkeypatch, decides):
    """Goes red when attempts that decide something are counted, too: of very many a part was decided, then 503."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    written = behind_each(monkeypatch, lambda: fence(shelf))
    shelf.read.clear()
    reason = ["a reason"] if decides == "discard" else []
    assert await getattr(shelf.service, decides)("all", Choice(), None, "ada", *reason) == NUMBER
    assert sorted(written) == sorted(shelf.row(number).cid for number in range(NUMBER))
    assert shelf.read[DELIVERIES] <= 3 * NUMBER, "twice to choose them, and what is new behind each fence"
    assert shelf.read[KEPT] == 0
    assert await shelf.pages() == [[]]


@pytest.mark.parametrize("is_committed", [False, True], ids=["taken back", "committed"])
async def test_what_another_one_decided_behind_an_uncertain_transaction_is_not_counted(monkeypatch, is_committed):
    """Goes red when whatever is parked no more passes for decided by that transaction: both were answered 1."""
    shelf = Shelf(monkeypatch)
    await shelf.park(0)
    answered = []

    async def uncertain(writer, writes):
        monkeypatch.setattr(KafkaDeliveryLog, "deliver", DELIVER)
        if is_committed:
            await DELIVER(writer, writes)
        answered.append(await shelf.service.replay("all", Choice(), None, "eve"))
        raise UncertainError("the answer was lost")

    monkeypatch.setattr(KafkaDeliveryLog, "deliver", uncertain)
    answered.append(await shelf.service.discard("all", Choice(), None, "ada", "a reason"))
    assert answered == ([0, 1] if is_committed else [1, 0])


async def test_what_is_parked_while_it_is_looked_for_what_is_meant_is_not_taken_along(monkeypatch):
    """Goes red when rows are read further than what was parked later is known."""
    shelf = Shelf(monkeypatch)
    await shelf.park(0)
    parked_from = ParkedService._parked_from

    async def and_then_another(service, *asked):
        later = await parked_from(service, *asked)
        monkeypatch.setattr(ParkedService, "_parked_from", parked_from)
        await shelf.park(1)
        return later

    monkeypatch.setattr(ParkedService, "_parked_from", and_then_another)
    assert await shelf.service.replay("all", Choice(), None, "ada") == 1
    assert [[number for _, number in page] for page in await shelf.pages()] == [[1]]


@pytest.mark.parametrize("is_carried_out", [True, False])
async def test_what_became_of_a_transaction_is_read_behind_the_next_fence(monkeypatch, is_carried_out):
    """Goes red when a decision is counted twice, or not at all, since nobody knew whether it was made."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    failed = []

    async def deliver(writer, writes):
        (name,) = writes.rows
        is_first = name not in failed
        if is_carried_out or not is_first:
            await DELIVER(writer, writes)
        if is_first:
            failed.append(name)
            raise UncertainError("the connection is gone")

    monkeypatch.setattr(KafkaDeliveryLog, "deliver", deliver)
    assert await shelf.service.replay("all", Choice(), None, "ada") == NUMBER == len(failed)
    assert await shelf.pages() == [[]]


@pytest.mark.parametrize("decides", ["replay", "discard"])
async def test_where_rows_were_lost_nothing_is_decided_that_would_hide_it(monkeypatch, decides):
    """Goes red when a decision's offset names another last row: the delivery shard never hears of those that went."""
    shelf = Shelf(monkeypatch)
    await shelf.park(0)
    await shelf.write(shelf.row(1, IN_FLIGHT))
    log = shelf.model.logs[DELIVERIES, 0]
    log.truncate(log.entries[1].base)  # what is in flight is gone, and the parked one is there
    reason = ["a reason"] if decides == "discard" else []
    with pytest.raises(Refused, match=r"deliveries\.all-0 ends at offset .*, and it reached .*Restore it"):
        await getattr(shelf.service, decides)("all", Choice(), None, "ada", *reason)
    delivering = KafkaDeliveryLogs(shelf.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
    await delivering.fence()
    with pytest.raises(TargetError, match="It lost its end"):
        await delivering.unsettled(1)
    await delivering.close()


async def test_what_another_has_decided_meanwhile_is_neither_decided_again_nor_counted(monkeypatch):
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    counts = []

    async def also():
        monkeypatch.setattr(KafkaDeliveryLog, "deliver", DELIVER)
        counts.append(await shelf.service.discard("all", Choice(type="PersonRegistered"), None, "bob", "none of ours"))

    first = behind_each(monkeypatch, also)
    counts.append(await shelf.service.replay("all", Choice(), None, "ada"))
    assert sum(counts) == NUMBER
    assert counts[0] == len([n for n in range(NUMBER) if n % 3 == 0]) - (first == [shelf.row(0).cid])
    decided = await rows_by(shelf)
    assert (decided["bob"], decided["ada"]) == tuple(counts)


async def rows_by(shelf):
    """How many decisions are by whom."""
    found = {"ada": 0, "bob": 0}
    log = KafkaDeliveryLogs(shelf.options(), NAMES, "annals", "person", 0, 1, "none").delivering("all")
    await log.fence()

    def take(_, row):
        if row is not None and row.by is not None:
            found[row.by] += 1

    await log.rows_since(-1, take, 1)
    await log.close()
    return found


async def test_a_job_whose_worker_is_killed_goes_on_with_what_was_parked_when_it_was_asked_for(monkeypatch):
    """Goes red when what is parked after the request is decided about, too, by whoever takes the job up."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    count, stop_at, incarnation = await shelf.service.meant("all", Choice(), None, 0)
    assert (count, stop_at, incarnation) == (NUMBER, [shelf.model.logs[KEPT, 0].stable], 1)
    late = [NUMBER, NUMBER + 1]
    await shelf.park(*late)
    assert await shelf.service.meant("all", Choice(), stop_at[0], 0) == (NUMBER, stop_at, 1)
    assert (await shelf.service.meant("all", Choice(reason="r1"), None, 0))[0] == len(range(1, NUMBER + 2, 7))
    work = ParkedWork(Settings())
    work._parked = shelf.service
    request = {"name": "all", "action": "discard", "choice": {"kind": "person"}, "stop_at": stop_at, "incarnation": 1}
    asked = ParkedDecision(**request, by="ada", why="sent twice")
    record = JobRecord(
        id="1", kind=DECISION, subject="", status=RUNNING, started_at="", request={**request, "by": "ada", "why": "x"}
    )
    assert asked.choice == record.request["choice"]
    reports, killed = [], asyncio.Event()

    def report(progress):
        reports.append(progress)
        if len(reports) == NUMBER // 2:
            killed.set()

    async def pause():
        await asyncio.sleep(0)

    behind_each(monkeypatch, pause)
    working = asyncio.create_task(work(record, report))
    await killed.wait()
    working.cancel()
    await asyncio.wait([working])
    again = JobRecord(**{name: getattr(record, name) for name in record.__struct_fields__} | {"progress": reports[-1]})
    result = await work(again, reports.append)
    assert NUMBER - 1 <= result["decided"] <= NUMBER, "a kill between a commit and its answer leaves one uncounted"
    assert [[number for _, number in page] for page in await shelf.pages()] == [late]


async def test_of_one_aggregate_no_more_are_meant_than_it_has(monkeypatch):
    """Goes red when those of all are counted where later events pass parked ones: `accepted` was what it has not."""
    shelf = Shelf(monkeypatch, ordered=False)
    rows = [replace(shelf.row(number), aggregate_id=f"p-{number % 3}") for number in range(9)]
    await shelf.write(*rows, shown=rows)
    choice, stops = Choice(kind="person", aggregate_id="p-1"), [shelf.model.logs[KEPT, 0].stable]
    found = [await shelf.service.meant("all", choice, stop_at, 2) for stop_at in (None, stops[0] - 3)]
    assert found == [(3, stops, 1), None]
    assert await shelf.service.meant("all", choice, None, 3) is None
    assert await shelf.service.replay("all", choice, None, "ada") == 3


async def test_a_job_decides_about_nothing_of_a_subscription_that_was_put_anew_under_the_same_name(monkeypatch):
    """Goes red when it goes by the name alone: what was parked of the new one was discarded."""
    shelf = Shelf(monkeypatch)
    await shelf.park(*range(NUMBER))
    _, stop_at, incarnation = await shelf.service.meant("all", Choice(), None, 0)
    for topic in (DELIVERIES, KEPT):
        shelf.model.delete_topic(topic)
        shelf.model.make_topic(topic, Topic(1, Rules(appends_time=True)))
    shelf.put(2)
    rows = [shelf.row(number, incarnation=2) for number in range(3)]
    await shelf.write(*rows, shown=rows)
    work = ParkedWork(Settings())
    work._parked = shelf.service
    request = {"name": "all", "action": "discard", "choice": {}, "stop_at": stop_at, "by": "ada", "why": "x"}
    record = JobRecord(
        id="1",
        kind=DECISION,
        subject="",
        status=RUNNING,
        started_at="",
        request={**request, "incarnation": incarnation},
    )
    assert await work(record, lambda _: None) == {"decided": 0}
    assert await shelf.pages() == [[(True, number) for number in range(3)]]
