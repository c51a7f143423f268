"""locations: places, and what lies in them. Global: a way down the tree crosses partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import UNSET, to_builtins
from msgspec.structs import replace

from annals.agents.projections.projection import Projection, Row, given_members, one_of
from annals.schemas.kinds import location as say
from annals.schemas.values.standards.countries import COUNTRIES

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

# --- Row -------------------------------------------------------------------------------------------------------------


class Location(Row, kw_only=True):
    """A place; address and coordinates as in its events."""

    name: str
    location_type: str
    status: str = "active"
    parent_id: str | None = None
    address: dict[str, Any] | None = None
    coordinates: dict[str, Any] | None = None
    access_url: str | None = None
    capacity: int | None = None


STATUSES: Final[dict[type, str]] = {
    say.LocationClosed: "closed",
    say.LocationReopened: "active",
    say.LocationArchived: "archived",
}


def indexes(row: Location) -> dict[str, list[str]]:
    """Parent, country and type."""
    return {
        "parent_id": [row.parent_id] if row.parent_id else [],
        "country": [row.address["country"]] if row.address else [],
        "location_type": [row.location_type],
    }


# --- Fold ------------------------------------------------------------------------------------------------------------


def fold(event: Happened, rows: ProjectionRows[Location]) -> None:
    """Change the location's row."""
    message, at = event.message, event.aggregate_id
    if isinstance(message, say.LocationDefined):
        given = given_members(message, "name", "location_type", "access_url", "parent_id", "capacity")
        rows.put(Location(kind=event.kind, aggregate_id=at, **given, **_place(message)), at)
    elif old := rows.get(at):
        rows.put(_changed(message, old), at)


def _place(message: say.LocationDefined | say.PlaceSet) -> dict[str, Any]:
    place = {"address": message.address, "coordinates": message.coordinates}
    return {name: to_builtins(value) for name, value in place.items() if value is not UNSET}


def _changed(message: object, row: Location) -> Location:
    match message:
        case say.LocationRenamed():
            return replace(row, name=message.name)
        case say.PlaceSet():
            return replace(row, **given_members(message, "access_url"), **_place(message))
        case say.CapacitySet():
            return replace(row, capacity=message.capacity)
        case say.ParentSet():
            return replace(row, parent_id=message.parent_id)
        case _:
            return replace(row, status=STATUSES.get(type(message), row.status))


LOCATIONS: Final = Projection(
    name="locations",
    version=1,
    wanted={"location": frozenset(get_args(say.Event))},
    row=Location,
    parameters=("parent_id", "country", "location_type"),
    indexes=indexes,
    fold=fold,
    scope="global",
    values={
        "country": one_of(COUNTRIES, "a country of ISO 3166-1 (alpha-2), as DE"),
        "location_type": one_of(get_args(say.LocationType)),
    },
)
