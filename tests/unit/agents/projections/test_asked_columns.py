"""Columns that are found when rows are asked for."""

from msgspec import to_builtins

from annals.agents.projections.asked_columns import with_asked_columns
from annals.agents.projections.locations import LOCATIONS
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY, Person
from annals.agents.projections.workflow_board import WORKFLOW_BOARD, Board, BoardStep

NOW = "2026-11-21T09:30:00Z"


def person(aggregate_id, *emails):
    return to_builtins(Person(kind="person", aggregate_id=aggregate_id, name="Ada", emails=list(emails)))


def nothing(index, value):
    raise AssertionError(f"nothing is looked for under {index}={value}")


def test_people_are_told_who_shares_any_of_their_addresses():
    rows = [person("p-1", "a@x.org", "b@x.org"), person("p-3", "b@x.org"), person("p-2", "a@x.org"), person("p-4")]
    under = {"a@x.org": ["p-1", "p-2"], "b@x.org": ["p-1", "p-3"]}
    found = with_asked_columns(PEOPLE_DIRECTORY, rows, NOW, lambda _, email: under[email])
    assert [row["shared_with"] for row in found] == [["p-2", "p-3"], ["p-1"], ["p-1"], []]
    assert [row | {"shared_with": []} for row in found] == rows


def test_steps_are_overdue_as_of_a_time():
    step = BoardStep(name="S", step_type="manual", max_attempts=3, deadline=NOW)
    board = Board(kind="workflow", aggregate_id="w", name="W", definition="d", status="running", steps={"s": step})
    rows = [to_builtins(board)]
    assert [row["overdue"] for row in with_asked_columns(WORKFLOW_BOARD, rows, NOW, nothing)] == [["s"]]
    assert [row["overdue"] for row in with_asked_columns(WORKFLOW_BOARD, rows, "2026-11-21T09:29:59Z", nothing)] == [[]]


def test_other_rows_stay_as_they_are():
    assert with_asked_columns(LOCATIONS, [{"aggregate_id": "l"}], NOW, nothing) == [{"aggregate_id": "l"}]
