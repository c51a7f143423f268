"""location, row by row of the domain's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annals.agents.testing import given
from annals.schemas.kinds.location import (
    ArchiveLocation,
    CapacitySet,
    CloseLocation,
    DefineLocation,
    LocationArchived,
    LocationClosed,
    LocationDefined,
    LocationRenamed,
    LocationReopened,
    ParentSet,
    PlaceSet,
    Position,
    PostalAddress,
    RenameLocation,
    ReopenLocation,
    SetCapacity,
    SetParent,
    SetPlace,
    SetTimeZone,
    TimeZoneSet,
)

if TYPE_CHECKING:
    from annals.schemas.messages import Message

LONDON = PostalAddress(lines=["12 St James's Square"], locality="London", country="GB", region="GB-LND")
OXFORD = PostalAddress(locality="Oxford", country="GB", postal_code="OX1 3QD")
THERE = Position(latitude=51.507, longitude=-0.134, altitude_m=11)
URL = "https://meet.example.org/lab"
LAB = LocationDefined(name="Lab", location_type="physical", address=LONDON)
ROOM = LocationDefined(name="Room", location_type="virtual", access_url=URL)
STUDIO = LocationDefined(name="Studio", location_type="hybrid", address=LONDON, access_url=URL)
GROUP = LocationDefined(name="Group", location_type="logical")
CLOSED = (LAB, LocationClosed(reason="repairs", reopens_on="2026-02-01"))
ARCHIVED = (LAB, LocationArchived(reason="sold"))


def test_a_location_is_defined_with_what_was_given_and_nothing_else() -> None:
    command = DefineLocation(
        name="Lab",
        location_type="physical",
        address=LONDON,
        coordinates=THERE,
        time_zone="Europe/London",
        parent_id="l-2",
        capacity=0,
    )
    given().when(command).then(
        LocationDefined(
            name="Lab",
            location_type="physical",
            address=LONDON,
            coordinates=THERE,
            time_zone="Europe/London",
            parent_id="l-2",
            capacity=0,
        )
    )


@pytest.mark.parametrize("past", [(LAB,), CLOSED, ARCHIVED])
def test_defining_the_same_again_is_already_true_in_any_status(past: tuple[Message, ...]) -> None:
    given(*past).when(DefineLocation(name="Lab", location_type="physical", address=LONDON)).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        DefineLocation(name="Other", location_type="physical", address=LONDON),
        DefineLocation(name="Lab", location_type="physical", address=OXFORD),
        DefineLocation(name="Lab", location_type="physical", address=LONDON, capacity=3),
    ],
)
def test_defining_another_place_under_the_same_id_is_not_open(other: DefineLocation) -> None:
    given(LAB).when(other).then_not_open("active")


@pytest.mark.parametrize(
    "command",
    [
        RenameLocation(name="Lab"),
        SetPlace(),
        SetTimeZone(time_zone="Europe/London"),
        SetCapacity(capacity=1),
        SetParent(parent_id=None),
        CloseLocation(reason="x"),
        ReopenLocation(),
        ArchiveLocation(reason="x"),
    ],
)
def test_only_its_definition_is_open_to_an_absent_location(command: Message) -> None:
    given().when(command).then_not_open("absent")


@pytest.mark.parametrize(
    ("location_type", "place", "rule"),
    [
        ("physical", {}, "place_missing"),
        ("physical", {"access_url": URL}, "place_missing"),
        ("physical", {"address": LONDON, "access_url": URL}, "place_forbidden"),
        ("virtual", {}, "place_missing"),
        ("virtual", {"address": LONDON}, "place_missing"),
        ("virtual", {"access_url": URL, "address": LONDON}, "place_forbidden"),
        ("virtual", {"access_url": URL, "coordinates": THERE}, "place_forbidden"),
        ("hybrid", {}, "place_missing"),
        ("hybrid", {"address": LONDON}, "place_missing"),
        ("hybrid", {"access_url": URL}, "place_missing"),
        ("logical", {"address": LONDON}, "place_forbidden"),
        ("logical", {"coordinates": THERE}, "place_forbidden"),
        ("logical", {"access_url": URL}, "place_forbidden"),
    ],
)
def test_a_definition_keeps_the_place_rules_of_its_type(
    location_type: str, place: dict[str, object], rule: str
) -> None:
    given().when(DefineLocation(name="Lab", location_type=location_type, **place)).then_refused(rule)


@pytest.mark.parametrize(
    ("location_type", "place"),
    [
        ("physical", {"address": LONDON}),
        ("physical", {"coordinates": THERE}),
        ("physical", {"coordinates": Position(latitude=0, longitude=0)}),
        ("physical", {"address": LONDON, "coordinates": THERE}),
        ("virtual", {"access_url": URL}),
        ("hybrid", {"address": LONDON, "access_url": URL}),
        ("hybrid", {"coordinates": THERE, "access_url": URL}),
        ("logical", {}),
    ],
)
def test_a_definition_with_the_place_that_its_type_needs_is_taken(location_type: str, place: dict[str, object]) -> None:
    given().when(DefineLocation(name="Lab", location_type=location_type, **place)).then(
        LocationDefined(name="Lab", location_type=location_type, **place)
    )


def test_a_location_is_renamed_once() -> None:
    given(LAB).when(RenameLocation(name="Workshop")).then(LocationRenamed(name="Workshop"))
    given(LAB).when(RenameLocation(name="Lab")).then_nothing()
    given(*CLOSED).when(RenameLocation(name="Workshop")).then(LocationRenamed(name="Workshop"))
    given(*ARCHIVED).when(RenameLocation(name="Workshop")).then_not_open("archived")


def test_a_place_that_is_set_says_only_what_differs_and_null_clears() -> None:
    given(LAB).when(SetPlace(address=LONDON, coordinates=THERE)).then(PlaceSet(coordinates=THERE))
    given(LAB, PlaceSet(coordinates=THERE)).when(SetPlace(address=None)).then(PlaceSet(address=None))
    given(LAB).when(SetPlace(address=OXFORD)).then(PlaceSet(address=OXFORD))


def test_a_place_that_is_there_already_is_not_set_again() -> None:
    given(LAB).when(SetPlace(address=LONDON, coordinates=None)).then_nothing()
    given(LAB).when(SetPlace()).then_nothing()
    moved = (LAB, PlaceSet(address=None, coordinates=Position(latitude=51, longitude=0)))
    given(*moved).when(SetPlace(coordinates=Position(latitude=51.0, longitude=0.0))).then_nothing()
    given(*ARCHIVED).when(SetPlace(address=LONDON)).then_nothing()


def test_an_address_is_the_same_only_with_its_lines_in_the_same_order() -> None:
    two = PostalAddress(lines=["A", "B"], locality="London", country="GB")
    event_from = PostalAddress(lines=["B", "A"], locality="London", country="GB")
    given(LAB, PlaceSet(address=two)).when(SetPlace(address=event_from)).then(PlaceSet(address=event_from))


def test_a_set_place_keeps_the_rules_of_the_type_together_with_what_stays() -> None:
    given(LAB).when(SetPlace(address=None)).then_refused("place_missing")
    given(LAB).when(SetPlace(access_url=URL)).then_refused("place_forbidden")
    given(LAB).when(SetPlace(address=None, coordinates=THERE)).then(PlaceSet(address=None, coordinates=THERE))
    given(ROOM).when(SetPlace(access_url=None)).then_refused("place_missing")
    given(ROOM).when(SetPlace(coordinates=THERE)).then_refused("place_forbidden")
    given(STUDIO).when(SetPlace(access_url=None)).then_refused("place_missing")
    given(STUDIO).when(SetPlace(address=None)).then_refused("place_missing")
    given(GROUP).when(SetPlace(address=LONDON)).then_refused("place_forbidden")
    given(*CLOSED).when(SetPlace(address=OXFORD)).then(PlaceSet(address=OXFORD))
    given(*ARCHIVED).when(SetPlace(address=OXFORD)).then_not_open("archived")


def test_a_time_zone_is_set_once() -> None:
    given(LAB).when(SetTimeZone(time_zone="Europe/London")).then(TimeZoneSet(time_zone="Europe/London"))
    given(LAB, TimeZoneSet(time_zone="Europe/London")).when(SetTimeZone(time_zone="Europe/London")).then_nothing()
    given(*ARCHIVED).when(SetTimeZone(time_zone="Europe/London")).then_not_open("archived")


def test_a_capacity_is_set_once() -> None:
    given(LAB).when(SetCapacity(capacity=0)).then(CapacitySet(capacity=0))
    given(LAB, CapacitySet(capacity=12)).when(SetCapacity(capacity=12)).then_nothing()
    given(*ARCHIVED).when(SetCapacity(capacity=1)).then_not_open("archived")


def test_a_location_lies_in_another_or_at_the_top_but_not_in_itself() -> None:
    inside = (LAB, ParentSet(parent_id="l-2"))
    given(LAB).when(SetParent(parent_id="l-2")).then(ParentSet(parent_id="l-2"))
    given(*inside).when(SetParent(parent_id="l-2")).then_nothing()
    given(*inside).when(SetParent(parent_id=None)).then(ParentSet(parent_id=None))
    given(LAB).when(SetParent(parent_id=None)).then_nothing()
    given(LAB).when(SetParent(parent_id="this-one")).then_refused("self_reference")
    given().when(DefineLocation(name="Lab", location_type="logical", parent_id="this-one")).then_refused(
        "self_reference"
    )
    given(*ARCHIVED).when(SetParent(parent_id="l-2")).then_not_open("archived")


def test_a_location_closes_for_a_while_and_reopens() -> None:
    given(LAB).when(CloseLocation(reason="repairs", reopens_on="2026-02-01")).then(CLOSED[1])
    given(*CLOSED).when(CloseLocation(reason="another")).then_nothing()
    given(*CLOSED).when(CloseLocation(reason="repairs", reopens_on="2027-01-01")).then_nothing()
    given(*CLOSED).when(ReopenLocation()).then(LocationReopened())
    given(LAB).when(ReopenLocation()).then_nothing()
    given(*CLOSED, LocationReopened()).when(CloseLocation(reason="again")).then(LocationClosed(reason="again"))


def test_a_location_is_archived_from_any_status_and_for_good() -> None:
    given(LAB).when(ArchiveLocation(reason="sold")).then(LocationArchived(reason="sold"))
    given(*CLOSED).when(ArchiveLocation(reason="sold")).then(LocationArchived(reason="sold"))
    given(*ARCHIVED).when(ArchiveLocation(reason="again")).then_nothing()
    given(*ARCHIVED).when(CloseLocation(reason="x")).then_not_open("archived")
    given(*ARCHIVED).when(ReopenLocation()).then_not_open("archived")


def test_a_malformed_definition_names_every_member_that_offends() -> None:
    data = {
        "location_type": "orbital",
        "address": {"lines": ["1", "2", "3", "4", "5"], "locality": "", "country": "UK", "street": "x"},
        "coordinates": {"latitude": 90.1, "longitude": "0", "altitude_m": "high"},
        "access_url": "http://example.org",
        "time_zone": "Mars/Olympus",
        "capacity": -1,
    }
    given().when_sent("DefineLocation", data, kind="location").then_invalid(
        "data.name",
        "data.location_type",
        "data.address.lines",
        "data.address.locality",
        "data.address.country",
        "data.address.street",
        "data.coordinates.latitude",
        "data.coordinates.longitude",
        "data.coordinates.altitude_m",
        "data.access_url",
        "data.time_zone",
        "data.capacity",
    )


def test_a_region_is_one_of_the_country() -> None:
    def sent(country: str, region: str) -> dict[str, object]:
        address = {"locality": "X", "country": country, "region": region}
        return {"name": "Lab", "location_type": "physical", "address": address}

    for country, region in (("US", "GB-LND"), ("GB", "GB-XXX"), ("GB", "LND")):
        given().when_sent("DefineLocation", sent(country, region), kind="location").then_invalid("data.address.region")
    given().when_sent("DefineLocation", sent("US", "US-NY"), kind="location").then(
        LocationDefined(
            name="Lab",
            location_type="physical",
            address=PostalAddress(locality="X", country="US", region="US-NY"),
        )
    )


def test_null_clears_only_what_a_command_says_it_may() -> None:
    given(LAB).when_sent("SetCapacity", {"capacity": None}, kind="location").then_invalid("data.capacity")
    given(LAB).when_sent("SetParent", {}, kind="location").then_invalid("data.parent_id")
    given().when_sent(
        "DefineLocation", {"name": "Lab", "location_type": "logical", "address": None}, kind="location"
    ).then_invalid("data.address")


def test_a_capacity_is_an_integer() -> None:
    for wrong in (1.0, True, "1"):
        given(LAB).when_sent("SetCapacity", {"capacity": wrong}, kind="location").then_invalid("data.capacity")
