"""SQL over rows of projections: DuckDB in memory, which can neither read nor write anything else.

What is no number, truth or text in a row (lists and maps) is a column of JSON.
"""

from __future__ import annotations

import re
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, get_args

import duckdb
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from annals.agents.projections.projection import Projection

TYPES: Final = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE | re.ASCII)


class QueryError(Exception):
    """The statement cannot be answered; the message is the database's."""


def named_in(sql: str, names: Iterable[str]) -> list[str]:
    """Return the projections that a statement names; perhaps more than it needs."""
    words = {word.lower() for word in _WORD.findall(sql)}
    return [name for name in names if name in words]


class Tables:
    """Rows of projections as tables."""

    def __init__(self, projections: Sequence[Projection[Any]], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Load the rows, and lock the database."""
        self._database = duckdb.connect(":memory:")
        for projection in projections:
            self._load(projection, rows[projection.name])
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a statement.

        Raises:
            QueryError: it cannot be answered.
        """
        try:
            result = self._database.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        except duckdb.Error as error:
            raise QueryError(str(error)) from error

    def close(self) -> None:
        """Let go of all."""
        self._database.close()

    def _load(self, projection: Projection[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        fields = msgspec.structs.fields(projection.row)
        columns = [(each.encode_name, _type_of(each.type)) for each in fields]
        listed = ", ".join(f'"{name}" {kind}' for name, kind in columns)
        self._database.execute(f'CREATE TABLE "{projection.name}" ({listed})')
        values = [[_value(row.get(name), kind) for name, kind in columns] for row in rows]
        if values:
            places = ", ".join("?" for _ in columns)
            self._database.executemany(f'INSERT INTO "{projection.name}" VALUES ({places})', values)  # noqa: S608 - names of our own


def _type_of(hint: Any) -> str:
    if isinstance(hint, UnionType):
        others = [each for each in get_args(hint) if each is not NoneType]
        return _type_of(others[0]) if len(others) == 1 else "JSON"
    return TYPES.get(hint, "JSON")


def _value(value: Any, kind: str) -> Any:
    return msgspec.json.encode(value).decode() if kind == "JSON" and value is not None else value
