"""location on the wire: a place, real or virtual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, to_builtins

from annals.schemas.messages import Message, Part
from annals.schemas.values.constraints import compared
from annals.schemas.values.fields import (
    AggregateId,
    Count,
    Country,
    Date,
    Latitude,
    Longitude,
    Number,
    Region,
    Text,
    TimeZone,
    Url,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LocationType = Literal["physical", "virtual", "logical", "hybrid"]
Lines = Annotated[list[Text], Meta(max_length=4)]
Altitude = Annotated[Number, Meta(description="metres above the WGS 84 ellipsoid, a number")]


class PostalAddress(Part):
    """Where post finds it. Many countries have no postal codes, and small ones no regions."""

    locality: Text
    country: Country
    lines: Lines | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    postal_code: Text | UnsetType = UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        """A region is one of the country's: ISO 3166-2 codes begin with it."""
        if self.region is not UNSET and not self.region.startswith(f"{self.country}-"):
            yield "region", "is no region of the country (ISO 3166-2)"


class Position(Part):
    """Where it is on the globe (WGS 84)."""

    latitude: Latitude
    longitude: Longitude
    altitude_m: Altitude | UnsetType = UNSET


# States keep both as the maps that they are on the wire; so they are compared.
_BY_MEMBERS = compared(to_builtins)
Address = Annotated[PostalAddress, _BY_MEMBERS]
Coordinates = Annotated[Position, _BY_MEMBERS]


class DefineLocation(Message):
    """A place becomes known."""

    name: Text
    location_type: LocationType
    address: Address | UnsetType = UNSET
    coordinates: Coordinates | UnsetType = UNSET
    access_url: Url | UnsetType = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    parent_id: AggregateId | UnsetType = UNSET
    capacity: Count | UnsetType = UNSET


class LocationDefined(DefineLocation):
    """A place became known."""


class RenameLocation(Message):
    """Its name changes."""

    name: Text


class LocationRenamed(RenameLocation):
    """Its name changed."""


class SetPlace(Message):
    """Where it is found from now on: what is given changes, null clears."""

    address: Address | UnsetType | None = UNSET
    coordinates: Coordinates | UnsetType | None = UNSET
    access_url: Url | UnsetType | None = UNSET


class PlaceSet(SetPlace):
    """Where it is found changed; null: it was cleared."""


class SetTimeZone(Message):
    """Which clock it goes by."""

    time_zone: TimeZone


class TimeZoneSet(SetTimeZone):
    """Which clock it goes by."""


class SetCapacity(Message):
    """How many it holds."""

    capacity: Count


class CapacitySet(SetCapacity):
    """How many it holds."""


class SetParent(Message):
    """Which location it lies in; null: in none."""

    parent_id: AggregateId | None


class ParentSet(SetParent):
    """Which location it lies in; null: in none."""


class CloseLocation(Message):
    """It takes nobody for a while."""

    reason: Text
    reopens_on: Date | UnsetType = UNSET


class LocationClosed(CloseLocation):
    """It takes nobody for a while."""


class ReopenLocation(Message):
    """It is there again."""


class LocationReopened(ReopenLocation):
    """It is there again."""


class ArchiveLocation(Message):
    """Nothing more is expected of this place."""

    reason: Text


class LocationArchived(ArchiveLocation):
    """Nothing more is expected of this place."""


Command = (
    DefineLocation
    | RenameLocation
    | SetPlace
    | SetTimeZone
    | SetCapacity
    | SetParent
    | CloseLocation
    | ReopenLocation
    | ArchiveLocation
)
Event = (
    LocationDefined
    | LocationRenamed
    | PlaceSet
    | TimeZoneSet
    | CapacitySet
    | ParentSet
    | LocationClosed
    | LocationReopened
    | LocationArchived
)
