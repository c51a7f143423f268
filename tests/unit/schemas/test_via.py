"""The deployments that an event came through: a command's header is carried to its events, if it is a valid list."""

import pytest

from annals.schemas.envelope import Command
from annals.schemas.wire.reading import read_command
from annals.schemas.wire.via import has_come_round, via_of, via_with

COMMAND = b'{"id": "c-1", "type": "T", "aggregate_id": "p-1", "data": {}}'
MOST = b",".join([b"x" * 64] * 8)


@pytest.mark.parametrize("via", [b"hr", b"hr,payroll", b"-,0", MOST])
@pytest.mark.parametrize("value", [COMMAND, COMMAND.replace(b"{}", b'{"a": "$"}'), COMMAND.replace(b'"T"', b"1")])
def test_a_command_has_the_deployments_that_its_header_names_whatever_way_it_is_read(via: bytes, value: bytes) -> None:
    command = read_command(b"p-1", value, [("annals-via", via)], 1_000)
    assert isinstance(command, Command)
    assert command.via == via


def test_so_does_a_cloudevent() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"c-1"), ("ce_type", b"T"), ("ce_subject", b"p-1")]
    command = read_command(b"p-1", b"{}", [*headers, ("ce_annalsvia", b"other"), ("annals-via", b"hr")], 1_000)
    assert isinstance(command, Command)
    assert command.via == b"hr"


@pytest.mark.parametrize("via", [b"", b"HR", b"hr,", b",hr", b"hr, payroll", b"x" * 65, MOST + b",x", b"hr\n", None])
def test_a_list_that_is_not_valid_is_left_behind(via: bytes | None) -> None:
    command = read_command(b"p-1", COMMAND, [("annals-via", via)], 1_000)
    assert isinstance(command, Command)
    assert command.via is None
    assert via_of([("annals-via", b"hr"), ("annals-via", via), ("Annals-Via", b"other")]) == b"hr"


def test_the_last_valid_one_is_taken() -> None:
    assert via_of([("annals-via", b"a"), ("annals-via", b"b")]) == b"b"
    assert via_of([]) is None


@pytest.mark.parametrize(
    ("via", "has"),
    [(None, False), (b"b", False), (b"a", True), (b"b,a,c", True), (b"aa", False), (b",".join([b"b"] * 7), False)],
)
def test_an_event_that_came_through_a_deployment_has_come_round(via: bytes | None, has: bool) -> None:  # noqa: FBT001
    assert has_come_round(via, "a") is has


def test_so_has_one_that_came_through_as_many_as_may_be() -> None:
    assert has_come_round(MOST, "a")
    full = None
    for _ in range(8):
        assert not has_come_round(full, "a")
        full = via_with(full, "b")
    assert via_of([("annals-via", full)]) == full
    assert has_come_round(full, "a")
