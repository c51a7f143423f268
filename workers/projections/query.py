"""SQL over rows of projections: DuckDB on a temporary file, which can neither read nor write anything else.

What is no number, truth or text in a row (lists and maps) is a column of JSON. Rows come in and go out some at a time;
what a statement needs beyond the memory that the database may take goes to a file beside its own.
"""

from __future__ import annotations

import re
from concurrent.futures import Future, ThreadPoolExecutor, wait
from math import isfinite
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, get_args

import duckdb
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from annals.agents.projections.projection import Projection

TYPES: Final = {str: "VARCHAR", int: "HUGEINT", float: "DOUBLE", bool: "BOOLEAN"}
MEMORY_LIMIT: Final = "128MB"
THREADS: Final = 2  # each has buffers of its own
FETCHED_ROWS: Final = 500
AGAIN_S: Final = 0.1  # between two times that a statement is told to end
ASKING: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE | re.ASCII)


class QueryError(Exception):
    """The statement cannot be answered; the message is the database's."""


def named_in(sql: str, names: Iterable[str]) -> list[str]:
    """Return the projections that a statement names; perhaps more than it needs."""
    words = {word.lower() for word in _WORD.findall(sql)}
    return [name for name in names if name in words]


class Tables:
    """Rows of projections as tables: load all, lock, query, and close."""

    def __init__(self) -> None:
        """Make an empty database in the folder for temporary files (TMPDIR).

        Raises:
            OSError: that cannot be written.
        """
        self._folder = TemporaryDirectory(prefix="annals-query-")
        self._path = f"{self._folder.name}/rows.duckdb"
        self._limits: dict[str, Any] = {
            "memory_limit": MEMORY_LIMIT,
            "threads": THREADS,
            "temp_directory": f"{self._folder.name}/spilled",
        }
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[Any] | None = None
        self._database = duckdb.connect(self._path, config=self._limits)

    def load(self, projection: Projection[Any], batches: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Make the table of a projection."""
        fields = msgspec.structs.fields(projection.row)
        columns = {each.encode_name: _type_of(each.type) for each in fields}
        listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        self._database.execute(f'CREATE TABLE "{projection.name}" ({listed})')
        shape = msgspec.json.encode([columns]).decode()
        values = ", ".join(f'given."{name}"' for name in columns)
        # As one text of JSON: bound value by value, rows take seven times as long (measured).
        insert = (
            f'INSERT INTO "{projection.name}" SELECT {values} '  # noqa: S608 - names of our own
            f"FROM (SELECT unnest(from_json_strict(?::JSON, '{shape}')) AS given)"
        )
        for rows in batches:
            given = [{name: row.get(name) for name in columns} for row in rows]
            self._database.execute(insert, [msgspec.json.encode(given).decode()])

    def lock(self) -> None:
        """Have statements reach nothing but the tables, and change nothing: a SELECT may have a DELETE in it."""
        self._database.close()
        self._database = duckdb.connect(self._path, read_only=True, config=self._limits)
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def require_question(self, sql: str) -> None:
        """Check that the SQL is one statement that only reads: a change would be made in a copy, and seem to be done.

        Raises:
            QueryError: it is another one, several, or none that can be read.
        """
        try:
            statements = self._database.extract_statements(sql)
        except duckdb.Error as error:
            raise QueryError(str(error)) from error
        if len(statements) != 1 or statements[0].type not in ASKING:
            raise QueryError("give one SELECT statement: rows of projections are made by events alone")

    def query(self, sql: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a statement; a number that JSON has not (infinite, not a number) is null.

        Raises:
            QueryError: it cannot be answered.
        """
        try:
            result = self._asked(self._database.execute, sql)
            names = [column[0] for column in result.description or ()]
            if again := sorted({name for name in names if names.count(name) > 1}):
                raise QueryError(f"several columns are named {', '.join(again)}: name them apart (AS)")
            while rows := self._asked(result.fetchmany, FETCHED_ROWS):
                yield from (dict(zip(names, map(_shown, row), strict=True)) for row in rows)
        except duckdb.Error as error:
            raise QueryError(str(error)) from error

    def close(self) -> None:
        """Let go of all; what is under way is broken off."""
        while self._pending is not None and not self._pending.done():
            self._database.interrupt()  # of no effect on what is about to begin
            wait({self._pending}, AGAIN_S)
        self._thread.shutdown()
        self._database.close()
        self._folder.cleanup()

    def _asked(self, call: Callable[..., Any], *given: Any) -> Any:
        """Return what a call to the database returns; it is at work in a thread, so that this one hears signals.

        One that comes just before a wait does not end it: so no wait is long.
        """
        self._pending = self._thread.submit(call, *given)
        while not wait({self._pending}, AGAIN_S).done:
            pass
        return self._pending.result()


def _shown(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _type_of(hint: Any) -> str:
    if isinstance(hint, UnionType):
        others = [each for each in get_args(hint) if each is not NoneType]
        return _type_of(others[0]) if len(others) == 1 else "JSON"
    return TYPES.get(hint, "JSON")
