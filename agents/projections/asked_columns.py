"""Columns that no fold can keep, since they hang on other partitions or on the time: found when rows are asked for."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.agents.projections.people_directory import PEOPLE_DIRECTORY
from annals.agents.projections.projection import personal_key
from annals.agents.projections.questions import overdue
from annals.agents.projections.workflow_board import WORKFLOW_BOARD

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from annals.agents.projections.projection import Projection

MOST_SHARERS: Final = 20  # that a row names: whom very many share an address with would each name all others


def with_asked_columns(
    projection: Projection[Any],
    rows: Sequence[Mapping[str, Any]],
    now: str,
    under: Callable[[str, str], Iterable[str]],
) -> list[dict[str, Any]]:
    """Return rows of a projection with the columns that are found from other rows, and from the time.

    under: index and value -> the ids of all rows under it.
    """
    if projection.name == PEOPLE_DIRECTORY.name:
        emails = {email for row in rows for email in row["emails"]}
        owners = {email: set(islice(under("email", personal_key(email)), MOST_SHARERS + 2)) for email in emails}
        return with_sharers(rows, owners)[0]
    return with_overdue(rows, now) if projection.name == WORKFLOW_BOARD.name else [dict(row) for row in rows]


def with_sharers(
    rows: Iterable[Mapping[str, Any]], owners: Mapping[str, Collection[str]]
) -> tuple[list[dict[str, Any]], bool]:
    """Return people with the ids of the first MOST_SHARERS who have one of their addresses, and whether there are more.

    owners: address -> ids; of two more than that, those that come first are enough.
    """
    found = [(dict(row), _others(row, owners)) for row in rows]
    named = [row | {"shared_with": others[:MOST_SHARERS]} for row, others in found]
    return named, any(len(others) > MOST_SHARERS for _, others in found)


def with_overdue(rows: Iterable[Mapping[str, Any]], now: str) -> list[dict[str, Any]]:
    """Return workflows with the steps that are overdue at a time."""
    return [dict(row) | {"overdue": overdue(msgspec.convert(row, WORKFLOW_BOARD.row), now)} for row in rows]


def _others(row: Mapping[str, Any], owners: Mapping[str, Collection[str]]) -> list[str]:
    return sorted({one for email in row["emails"] for one in owners[email]} - {row["aggregate_id"]})
