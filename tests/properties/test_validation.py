"""The fast and the slow way of validation agree on whatever JSON brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.testing.strategies import structs
from annals.schemas.data.complaints import complaints

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=10),
    st.sampled_from(("", " a", "a\n", "2026-02-30", "a", "EN", "en", "https://a", "person")),
    st.lists(st.sampled_from((1, "a", "A", None, {"kind": "person", "id": "p"})), max_size=3),
    st.sampled_from((5, 11, 51, 101, 201)).map(lambda items: [f"s{number}" for number in range(items)]),
    st.dictionaries(st.sampled_from(("a", "id", "kind", "A b")), st.sampled_from((1, "a", None, {})), max_size=3),
)


def spoil(data: st.DataObject, value: Any) -> Any:
    """The value with one thing in it changed, taken away or added, at any depth."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.booleans()):
            return {**value, name: spoil(data, value[name])}
        return {other: kept for other, kept in value.items() if other != name}
    if isinstance(value, dict) and data.draw(st.booleans()):
        return {**value, data.draw(st.sampled_from(("more", "A b", "name", "reason"))): data.draw(JUNK)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], spoil(data, value[at]), *value[at:]]
    return data.draw(JUNK)


def holds(parsed: Any, sent: Any) -> bool:
    """Whether what was parsed is what was sent, with defaults at most added, at any depth."""
    if isinstance(sent, dict) and isinstance(parsed, dict):
        return all(name in parsed and holds(parsed[name], value) for name, value in sent.items())
    if isinstance(sent, list) and isinstance(parsed, list):
        return len(parsed) == len(sent) and all(map(holds, parsed, sent))
    return type(parsed) is type(sent) and bool(parsed == sent)


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())
@given(data=st.data())
def test_the_fast_way_refuses_exactly_what_the_slow_way_complains_about(
    decider: Decider[Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(decider.commands)))
    sent = msgspec.to_builtins(data.draw(structs(decider.commands[name])))
    for _ in range(data.draw(st.integers(0, 3))):
        spoiled = spoil(data, sent)
        sent = spoiled if isinstance(spoiled, dict) else sent
    parsed = decider.parse(name, sent)
    found = list(complaints(decider.commands[name], sent, "data"))
    if isinstance(parsed, list):
        assert parsed == found
        assert found
        assert all(path.startswith("data") and message for path, message in found)
    else:
        assert found == []
        assert holds(msgspec.to_builtins(parsed), sent)
