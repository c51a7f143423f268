"""W3C trace context: valid values are carried, one of each, and nothing else is."""

import pytest

from annals.schemas.envelope import Command
from annals.schemas.wire.reading import read_command
from annals.schemas.wire.trace_context import is_tracestate, trace_context

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00"
STATE = b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
COMMAND = b'{"id": "c-1", "type": "T", "aggregate_id": "p-1", "data": {}}'


@pytest.mark.parametrize(
    "value",
    [
        PARENT,
        PARENT[:-2] + b"ff",
        b"01" + PARENT[2:],
        b"fe" + PARENT[2:] + b"-what-comes-later",
    ],
)
def test_a_valid_traceparent_is_carried(value: bytes) -> None:
    assert trace_context([("traceparent", value)]) == (value, None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        PARENT.upper(),
        PARENT + b"-x",
        PARENT + b"\n",
        PARENT[:-1],
        b" " + PARENT,
        b"ff" + PARENT[2:],
        b"01" + PARENT[2:] + b"x",
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
    ],
)
def test_another_traceparent_is_left_behind_and_its_tracestate_with_it(value: bytes | None) -> None:
    assert trace_context([("traceparent", value), ("tracestate", STATE)]) == (None, None)


@pytest.mark.parametrize(
    "value",
    [
        STATE,
        b"a=1",
        b"a=1, b=2 ,\tc=3",
        b",a=1,,",
        b"fw529a3039@dt=FfYsKmM;a:b",
        b"0tenant@sys=v",
        b"a= 1",
        b"k*/_-=~!",
        b",".join(b"k%d=v" % number for number in range(32)),
        b"a=" + b"x" * 256,
        b"a" * 256 + b"=x",
    ],
)
def test_a_valid_tracestate_is_carried_beside_its_traceparent(value: bytes) -> None:
    assert trace_context([("tracestate", value), ("traceparent", PARENT)]) == (PARENT, value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b",",
        b"a",
        b"a=",
        b"=1",
        b"A=1",
        b"a=1=2",
        b"a=\xc3\xa4",
        b"a=1\x00",
        b"a=1,a=2",
        b"a@b@c=1",
        b"a@0b=1",
        b"a=" + b"x" * 257,
        b"a" * 257 + b"=x",
        b",".join(b"k%d=v" % number for number in range(33)),
    ],
)
def test_another_tracestate_is_left_behind(value: bytes) -> None:
    assert not is_tracestate(value)
    assert trace_context([("tracestate", value), ("traceparent", PARENT)]) == (PARENT, None)


def test_the_last_valid_value_of_several_is_carried() -> None:
    headers = [
        ("traceparent", PARENT),
        ("tracestate", b"a=1"),
        ("traceparent", OTHER),
        ("tracestate", b"b=2"),
        ("traceparent", b"broken"),
        ("tracestate", None),
    ]
    assert trace_context(headers) == (OTHER, b"b=2")


def test_names_are_compared_exactly() -> None:
    assert trace_context([("Traceparent", PARENT)]) == (None, None)


@pytest.mark.parametrize("value", [COMMAND, COMMAND.replace(b"{}", b'{"a": "$"}'), COMMAND.replace(b'"T"', b"1")])
def test_a_command_carries_its_trace_whatever_way_it_is_read(value: bytes) -> None:
    command = read_command(b"p-1", value, [("traceparent", PARENT), ("tracestate", STATE)], 1_000)
    assert isinstance(command, Command)
    assert (command.traceparent, command.tracestate) == (PARENT, STATE)
