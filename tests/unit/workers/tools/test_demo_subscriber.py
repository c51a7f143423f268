"""The demo's subscriber: what it takes, refuses and parks, what it keeps of that, and what it would not stand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from annals.workers.client.subscriber import SubscriberRecord
from annals.workers.tools.demo.subscriber import Books, Subscriber, Taken
from annals.workers.tools.demo.subscribing import Plan, _check
from annals.workers.tools.demo.teller import DifferedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


def delivery(version: int, *, type_name: str = "TaskStarted", attempt: int = 1, **data: Any) -> SubscriberRecord:
    """An event of the agent scout; its CID is c and its version."""
    attributes = {
        "id": f"c{version}",
        "type": f"annals.agent.{type_name}.v1",
        "source": "/annals/agent",
        "subject": "scout",
        "sequence": f"{version:020}",
    }
    if version > 1:
        attributes["previous"] = f"c{version - 1}"
    if attempt > 1:
        attributes["redelivery"] = str(attempt)
    return SubscriberRecord(0, 0, attributes, "application/json", msgspec.json.encode(data))


def answers(books: Books, *records: SubscriberRecord) -> list[dict[str, Any]]:
    """What is answered to deliveries, one after another."""
    said: list[dict[str, Any]] = []

    async def come() -> AsyncGenerator[list[SubscriberRecord], None]:
        for record in records:
            yield [record]

    async def answer(record: SubscriberRecord, body: dict[str, Any]) -> None:
        assert record.attributes["id"] == body["cid"]
        said.append(body)

    async def is_all() -> bool:
        return len(said) == len(records)

    office = Subscriber("press-office", books, come(), answer)
    asyncio.run(office.until(is_all, "not all was answered"))
    return said


def test_each_event_is_taken_once_and_acknowledged_whenever_it_comes(tmp_path: Path) -> None:
    books = Books(tmp_path / "books")
    said = answers(books, delivery(1), delivery(2), delivery(2, attempt=2))
    assert [(each["cid"], each["attempt"], each["verdict"]) for each in said] == [
        ("c1", 1, "ack"),
        ("c2", 1, "ack"),
        ("c2", 2, "ack"),
    ]
    assert list(books.taken) == ["c1", "c2"]
    assert books.taken["c2"] == Taken("c2", "agent/scout", 2)


def test_an_unknown_model_is_refused_then_parked_and_taken_once_it_is_known(tmp_path: Path) -> None:
    books = Books(tmp_path / "books")

    def model(attempt: int) -> SubscriberRecord:
        return delivery(2, type_name="ModelConfigured", attempt=attempt, model="Large 1")

    said = answers(books, delivery(1), model(1), model(2))
    assert [each["verdict"] for each in said] == ["ack", "nack", "park"]
    assert said[2]["reason"] == "the model Large 1 is not known here"
    assert list(books.taken) == ["c1"]
    books.know("Large 1")
    assert [each["verdict"] for each in answers(books, model(3), delivery(3))] == ["ack", "ack"]
    assert list(books.taken) == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    "came",
    [
        [delivery(2)],
        [delivery(1), delivery(3)],
        [delivery(1), delivery(2)._replace(attributes=delivery(2).attributes | {"previous": "other"})],
    ],
    ids=["not the first", "one is missing", "of another chain"],
)
def test_an_event_that_does_not_continue_its_chain_differs(tmp_path: Path, came: list[SubscriberRecord]) -> None:
    with pytest.raises(DifferedError, match="of agent/scout came after"):
        answers(Books(tmp_path / "books"), *came)


def test_the_books_are_kept_but_for_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "books"
    books = Books(file)
    books.take(Taken("c1", "agent/scout", 1), None)
    books.know("Large 1")
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"taken":{"cid":"c2"')
    again = Books(file)
    assert (again.taken, again.models) == (books.taken, {"Large 1"})
    assert file.read_bytes() == whole
    again.take(Taken("c2", "agent/scout", 2), "c1")
    assert list(Books(file).taken) == ["c1", "c2"]


def test_what_was_forgotten_or_not_asked_for_is_named(tmp_path: Path) -> None:
    books = Books(tmp_path / "books")
    answers(books, delivery(1), delivery(2))
    office = Subscriber("press-office", books, None, None)  # type: ignore[arg-type]
    wanted = {cid: Taken(cid, "agent/scout", version) for version, cid in enumerate(("c1", "c2"), start=1)}
    _check(office, Plan(wanted, wanted["c1"], frozenset(), frozenset(), 0))
    more = wanted | {"c3": Taken("c3", "agent/scout", 3)}
    for other, named in ((more, "c3"), ({"c1": wanted["c1"]}, "c2")):
        with pytest.raises(DifferedError, match=rf"2 were taken: \['{named}'\]"):
            _check(office, Plan(other, wanted["c1"], frozenset(), frozenset(), 0))
