"""SQL over rows: what comes in and goes out some at a time, within limits that a statement cannot change."""

import gc
import os
import signal
import threading
import weakref
from pathlib import Path

import pytest

from annals.agents.projections.agent_workload import AGENT_WORKLOAD
from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.schemas.wire.strict_json import MOST_INTEGER
from annals.workers.projections.query import FETCHED_ROWS, MEMORY_LIMIT, QueryError, Tables

BATCH = 100


class Batch(list):
    """A list that tells when it is gone."""


def batches(count, held):
    for first in range(0, count, BATCH):
        rows = Batch(
            {"kind": "person", "aggregate_id": f"p-{n:06}", "name": "Ada 'x' é\n", "emails": [f"a{n}@x.org"]}
            for n in range(first, first + BATCH)
        )
        held.append(weakref.ref(rows))
        yield rows
        del rows


@pytest.fixture
def tables():
    made = Tables()
    yield made
    made.close()


@pytest.mark.parametrize("count", [200, 2_000])
def test_one_batch_of_rows_is_held_whatever_their_number(tables, count):
    held, most = [], 0

    def watched():
        nonlocal most
        for rows in batches(count, held):
            gc.collect(0)
            most = max(most, sum(each() is not None for each in held))
            yield rows

    tables.load(PEOPLE_DIRECTORY, watched())
    tables.lock()
    assert most <= 2
    found = tables.query("SELECT aggregate_id, name, emails ->> 0 AS email, phone FROM people_directory ORDER BY 1")
    first = next(found)
    assert first == {"aggregate_id": "p-000000", "name": "Ada 'x' é\n", "email": "a0@x.org", "phone": None}
    assert 1 + sum(1 for _ in found) == count
    assert count < FETCHED_ROWS or count % FETCHED_ROWS == 0


def test_a_statement_reaches_nothing_else_and_has_a_bound_that_it_cannot_lift(tables, tmp_path):
    (tmp_path / "secret").write_text("s")
    tables.load(PEOPLE_DIRECTORY, batches(BATCH, []))
    tables.lock()
    limit = next(tables.query("SELECT current_setting('memory_limit') AS most"))["most"]
    assert limit.endswith(" MiB")
    assert float(limit.split()[0]) <= float(MEMORY_LIMIT.removesuffix("MB"))
    for forbidden in (
        f"SELECT * FROM read_text('{tmp_path}/secret')",
        f"COPY people_directory TO '{tmp_path}/out'",
        f"ATTACH '{tmp_path}/other.duckdb'",
        "SET memory_limit = '1TB'",
        "SET enable_external_access = true",
        "SELECT nothing FROM people_directory",
    ):
        with pytest.raises(QueryError):
            list(tables.query(forbidden))


def test_nothing_is_left_behind():
    made = Tables()
    folder = Path(made._folder.name)
    assert folder.is_dir()
    made.close()
    assert not folder.exists()


def test_the_greatest_integer_is_one_in_a_table_too(tables):
    row = {"kind": "agent", "aggregate_id": "a-1", "output_tokens": MOST_INTEGER}
    tables.load(AGENT_WORKLOAD, [[row, row]])
    tables.lock()
    assert list(
        tables.query("SELECT max(output_tokens) AS most, sum(output_tokens) AS all_of_it FROM agent_workload")
    ) == [{"most": MOST_INTEGER, "all_of_it": 2 * MOST_INTEGER}]


@pytest.mark.parametrize("asks", ["SELECT 1", "FROM t", "WITH a AS (SELECT 1) SELECT * FROM a", "EXPLAIN SELECT 1"])
def test_one_statement_that_asks_is_taken(tables, asks):
    tables.require_question(asks)


@pytest.mark.parametrize(
    "sql", ["DELETE FROM people_directory", "DROP TABLE people_directory", "SELECT 1; SELECT 2", "", "SELEKT 1"]
)
def test_no_other_statement_is_taken(tables, sql):
    with pytest.raises(QueryError):
        tables.require_question(sql)


@pytest.mark.parametrize(
    "change",
    [
        "WITH gone AS (DELETE FROM people_directory RETURNING *) SELECT * FROM gone",
        "WITH more AS (INSERT INTO people_directory SELECT * FROM people_directory RETURNING *) SELECT * FROM more",
    ],
)
def test_no_statement_changes_rows_by_asking(tables, change):
    """Goes red when a change inside of a question is made in the copy: it would seem to be done."""
    tables.load(PEOPLE_DIRECTORY, batches(100, []))
    tables.lock()
    with pytest.raises(QueryError, match=r"read.only"):
        list(tables.query(change))
    assert list(tables.query("SELECT count(*) AS n FROM people_directory")) == [{"n": 100}]


def test_rows_are_json_and_no_column_is_left_out(tables):
    (row,) = tables.query("SELECT 1 / 0 AS a, 'nan'::DOUBLE AS b, 0.5::DOUBLE AS c")
    assert row == {"a": None, "b": None, "c": 0.5}
    with pytest.raises(QueryError, match="several columns are named k: name them apart"):
        next(tables.query("SELECT 1 AS k, 2 AS k, 3 AS m"))


class HeardError(Exception):
    """A signal came."""


def test_a_signal_is_heard_while_the_database_is_at_work():
    made = Tables()
    folder = Path(made._folder.name)

    def heard(*_):
        raise HeardError

    def signal_once_at_work():
        while made._pending is None or not made._pending.running():
            pass
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, heard)
    telling = threading.Thread(target=signal_once_at_work)
    try:
        telling.start()
        with pytest.raises(HeardError):
            next(made.query("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"))
        made.close()
    finally:
        signal.signal(signal.SIGUSR1, before)
        telling.join()
    assert not folder.exists()
