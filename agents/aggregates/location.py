"""location: a place, real or virtual.

References, not checked: a location (parent_id). A ring of parents is not seen here: read models show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from annals.agents.deciding.comparison import changes, matches, or_none
from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.rules import refuse_self
from annals.agents.deciding.state import State
from annals.schemas.former.location import UPCASTERS
from annals.schemas.kinds import location as say
from annals.schemas.messages import event_from

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

_NEEDED: Final = "a physical location needs an address or coordinates, a virtual one an access_url, a hybrid one both"
_FORBIDDEN: Final = (
    "virtual and logical locations have no address or coordinates, physical and logical ones no access_url"
)

# --- Lifecycle -------------------------------------------------------------------------------------------------------

MACHINE: Final = Machine(
    open_={"active": "", "closed": "for a while"},
    terminal={"archived": ""},
    rows=(
        On(say.DefineLocation, (say.LocationDefined,), where=(ABSENT,), to="active"),
        On(say.RenameLocation, (say.LocationRenamed,)),
        On(say.SetPlace, (say.PlaceSet,)),
        On(say.SetTimeZone, (say.TimeZoneSet,)),
        On(say.SetCapacity, (say.CapacitySet,)),
        On(say.SetParent, (say.ParentSet,)),
        On(say.CloseLocation, (say.LocationClosed,), where=("active",), to="closed"),
        On(say.ReopenLocation, (say.LocationReopened,), where=("closed",), to="active"),
        On(say.ArchiveLocation, (say.LocationArchived,), to="archived"),
    ),
)

# --- State -----------------------------------------------------------------------------------------------------------


class Location(State):
    """The place; `address` and `coordinates` as they were said."""

    name: str = ""
    location_type: str = ""
    address: dict[str, Any] | None = None
    coordinates: dict[str, Any] | None = None
    access_url: str | None = None
    time_zone: str | None = None
    parent_id: str | None = None
    capacity: int | None = None


def already_true(command: say.Command, place: Location) -> bool:
    """Whether the command's wish is true of the location."""
    return matches(command, place)


# --- Decide ----------------------------------------------------------------------------------------------------------


def decide(command: say.Command, place: Location, at: Circumstances) -> list[say.Event]:
    """The events of a command that is open and not yet true.

    Raises:
        Refused: the first rule of the command's row that is broken.
    """
    match command:
        case say.DefineLocation():
            refuse_self(command.parent_id, at.aggregate_id, "parent_id")
            _refuse_misplaced(command.location_type, command.address, command.coordinates, command.access_url)
            return [event_from(command, say.LocationDefined)]
        case say.RenameLocation():
            return [event_from(command, say.LocationRenamed)]
        case say.SetPlace():
            _refuse_misplaced(
                place.location_type,
                _after(command.address, place.address),
                _after(command.coordinates, place.coordinates),
                _after(command.access_url, place.access_url),
            )
            return [say.PlaceSet(**changes(command, place))]
        case say.SetTimeZone():
            return [event_from(command, say.TimeZoneSet)]
        case say.SetCapacity():
            return [event_from(command, say.CapacitySet)]
        case say.SetParent():
            refuse_self(command.parent_id, at.aggregate_id, "parent_id")
            return [event_from(command, say.ParentSet)]
        case say.CloseLocation():
            return [event_from(command, say.LocationClosed)]
        case say.ReopenLocation():
            return [event_from(command, say.LocationReopened)]
        case say.ArchiveLocation():
            return [event_from(command, say.LocationArchived)]
        case _:
            assert_never(command)


def _after(wanted: object, kept: object) -> object:
    """A member as it would be: what is not given stays."""
    return kept if wanted is UNSET else wanted


def _refuse_misplaced(location_type: str, address: object, coordinates: object, access_url: object) -> None:
    """Refuse a place that its type needs and does not have, or must not have (None or UNSET: not there)."""
    is_somewhere = bool(or_none(address) or or_none(coordinates))
    is_online = or_none(access_url) is not None
    lacks_ground = location_type in {"physical", "hybrid"} and not is_somewhere
    lacks_link = location_type in {"virtual", "hybrid"} and not is_online
    if lacks_ground or lacks_link:
        raise Refused("place_missing", f"{_NEEDED}; this one is {location_type}")
    if (location_type in {"virtual", "logical"} and is_somewhere) or (
        location_type in {"physical", "logical"} and is_online
    ):
        raise Refused("place_forbidden", f"{_FORBIDDEN}; this one is {location_type}")


# --- Evolve ----------------------------------------------------------------------------------------------------------


def evolve(place: Location, event: say.Event) -> Location:
    """The location after the event."""
    match event:
        case say.LocationDefined():
            return Location(
                status="active",
                name=event.name,
                location_type=event.location_type,
                address=_as_said(event.address),
                coordinates=_as_said(event.coordinates),
                access_url=or_none(event.access_url),
                time_zone=or_none(event.time_zone),
                parent_id=or_none(event.parent_id),
                capacity=or_none(event.capacity),
            )
        case say.LocationRenamed():
            return replace(place, name=event.name)
        case say.PlaceSet():
            return replace(
                place,
                address=place.address if event.address is UNSET else _as_said(event.address),
                coordinates=place.coordinates if event.coordinates is UNSET else _as_said(event.coordinates),
                access_url=place.access_url if event.access_url is UNSET else event.access_url,
            )
        case say.TimeZoneSet():
            return replace(place, time_zone=event.time_zone)
        case say.CapacitySet():
            return replace(place, capacity=event.capacity)
        case say.ParentSet():
            return replace(place, parent_id=event.parent_id)
        case say.LocationClosed():
            return replace(place, status="closed")
        case say.LocationReopened():
            return replace(place, status="active")
        case say.LocationArchived():
            return replace(place, status="archived")
        case _:
            assert_never(event)


def _as_said(part: say.PostalAddress | say.Position | UnsetType | None) -> dict[str, Any] | None:
    """The part as the state keeps it: the map that it is on the wire."""
    if part is UNSET or part is None:
        return None
    said: dict[str, Any] = msgspec.to_builtins(part)
    return said


# --- Decider ---------------------------------------------------------------------------------------------------------

LOCATION: Final = Decider(
    "location",
    MACHINE,
    Location(),
    state_version=1,
    already_true=already_true,
    decide=decide,
    evolve=evolve,
    upcasters=UPCASTERS,
)
