"""Records that are surveyed together give the survey that they give one by one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.topics.wire import encode_headers
from annals.workers.audit import scan as surveying
from annals.workers.audit.scan import Survey, survey
from chained import TRACE, Sealed, chain, records, sealed

CHAINS = (
    chain("p-1", 6),
    chain("p-2", 6, causation_id="cause", traceparent=TRACE),
    chain("Ä" * 100, 6, actor=None, command_id="é" * 128),
    chain("p-3", 6, actor="100 %b"),
)
EVENTS = st.sampled_from([event for events in CHAINS for event in events])
STRANGE = st.sampled_from(
    [
        CHAINS[0][1].but(value=b"?"),
        CHAINS[0][1].but(value=None),
        CHAINS[0][1].but(key=None),
        CHAINS[0][1].but(key=b"p-2"),
        CHAINS[0][2].with_header("ce_actor", b"somebody"),
        CHAINS[1][2].with_header("traceparent", None),
        CHAINS[1][2].but(headers=[*CHAINS[1][2].headers, ("tracestate", b"a=1"), ("more", b"1")]),
        CHAINS[3][0].but(headers=[]),
        sealed("p-1", -3, None),
        sealed("p-1", 2**64 - 1, CHAINS[0][0].cid),
        sealed("p-9", 1, None, kind="organization"),
    ]
)


def as_in_kafka(events: list[Sealed]) -> list[Any]:
    return [(*record[:3], encode_headers(record[3])) for record in records(events)]


@given(events=st.lists(EVENTS | STRANGE, max_size=30), together=st.integers(1, 9), partitions=st.integers(1, 3))
def test_together_is_as_one_by_one(events: list[Sealed], together: int, partitions: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(surveying, "TOGETHER", together)
        found = survey("person", 0, partitions, as_in_kafka(events))
        patched.setattr(surveying._Surveyor, "take_together", lambda self, records: False)
        alone = survey("person", 0, partitions, as_in_kafka(events))
    assert found == alone


@pytest.mark.parametrize("events", CHAINS)
def test_what_is_as_it_should_be_is_surveyed_together(events: list[Sealed], monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the benchmark are those of this path; goes red when an ordinary event is looked at alone."""
    monkeypatch.delattr(surveying._Surveyor, "take")
    found = survey("person", 0, 1, as_in_kafka(events))
    assert isinstance(found, Survey)
    assert [(run.version, len(run.cids)) for run in found.runs] == [(1, 6)]
