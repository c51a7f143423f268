"""location's events in their older versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.location import Address, Coordinates, LocationDefined
from annals.schemas.messages import Message
from annals.schemas.values.fields import AggregateId, Count, Text, TimeZone, Url

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocationDefined1(Message):
    """A place became known."""

    name: Text
    address: Address | UnsetType = UNSET
    coordinates: Coordinates | UnsetType = UNSET
    access_url: Url | UnsetType = UNSET
    time_zone: TimeZone | UnsetType = UNSET
    parent_id: AggregateId | UnsetType = UNSET
    capacity: Count | UnsetType = UNSET


def derive_location_type(data: dict[str, Any]) -> dict[str, Any]:
    """What it is follows from where it is found: on the ground, online, both or neither."""
    is_somewhere = "address" in data or "coordinates" in data
    is_online = "access_url" in data
    if is_somewhere and is_online:
        location_type = "hybrid"
    elif is_somewhere:
        location_type = "physical"
    else:
        location_type = "virtual" if is_online else "logical"
    return {**data, "location_type": location_type}


UPCASTERS: Final[Mapping[type[Message], tuple[Upcast, ...]]] = {
    LocationDefined: (Upcast(LocationDefined1, derive_location_type),),
}
