"""The laws of a projection in one line, `test_the_laws_hold = projection_laws_of(TITLES)`; needs the extra `testing`.

1. Any cut of the events into batches gives the same bytes: rows and index entries do not depend on how events arrive.
2. Folding twice gives the same bytes: a fold knows its events and its rows, no clock and no chance.
3. Every event that it wants is taken, in any order: a fold never refuses.
4. Rows of an aggregate do not depend on other aggregates, unless the projection is global. Of one that is re-keyed,
   rows of a key do not depend on other keys, and the `aggregate_id` of each is its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.agents.testing.projections import GivenEvents
from annals.agents.testing.strategies import structs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.projections.projection import Projection

EXAMPLES = 60
IDS = ("a", "b", "\u00c4\x00")
CORRELATIONS = ("c-1", "c-2")


def projection_laws_of(
    projection: Projection[Any], deciders: Mapping[str, Decider[Any]] | None = None, max_examples: int = EXAMPLES
) -> Callable[[], None]:
    """Return a test that raises AssertionError, with the counterexample, where a projection breaks a law.

    Args:
        projection: whose laws they are.
        deciders: those that read the events of its kinds; by default all that are registered.
        max_examples: how often each law is tried.
    """
    stream = projection.stream
    messages = [
        st.tuples(st.just(kind), st.sampled_from(IDS), structs(message), st.sampled_from(CORRELATIONS))
        for kind, wanted in projection.wanted.items()
        for message in sorted(wanted, key=lambda each: each.__name__)
    ]
    journals = st.lists(st.one_of(messages), max_size=20)
    lively = settings(deadline=None, max_examples=max_examples, suppress_health_check=[HealthCheck.too_slow])

    def events(journal: list[Any]) -> GivenEvents:
        found = GivenEvents((), deciders)
        for kind, aggregate_id, message, correlation_id in journal:
            found = found.and_events(kind, aggregate_id, message, correlation_id=correlation_id)
        return found

    @lively
    @given(journals, st.lists(st.integers(0, 20), max_size=6))
    def cuts_do_not_matter(journal: list[Any], cuts: list[int]) -> None:
        past = events(journal)
        whole = past.bytes_of(projection)
        assert past.bytes_of(projection, cuts) == whole, "another cut of the events gives other rows"  # noqa: S101
        one_by_one = past.bytes_of(projection, range(len(journal)))
        assert one_by_one == whole, "one event at a time gives other rows than a batch"  # noqa: S101
        assert past.bytes_of(projection) == whole, "the same events give other rows the second time"  # noqa: S101

    @lively
    @given(journals)
    def aggregates_do_not_matter_to_each_other(journal: list[Any]) -> None:
        beside = events(journal).project(projection).rows()
        for name in IDS:
            alone = events([each for each in journal if each[1] == name]).project(projection).rows()
            own = {key: row for key, row in beside.items() if row.aggregate_id == name}
            assert own == {key: row for key, row in alone.items() if row.aggregate_id == name}, (  # noqa: S101
                f"the rows of {name!r} depend on other aggregates"
            )

    @lively
    @given(journals)
    def keys_do_not_matter_to_each_other(journal: list[Any]) -> None:
        assert stream is not None  # noqa: S101 - else it is not asked
        past = events(journal)
        keys = [stream.key_of(each.event) for each in past.counted]
        beside = past.project(projection).rows()
        assert {row.aggregate_id for row in beside.values()} <= set(keys), "a row has no key as `aggregate_id`"  # noqa: S101
        for name in set(keys):
            alone = GivenEvents([each for each, key in zip(past.counted, keys, strict=True) if key == name], deciders)
            own = {key: row for key, row in beside.items() if row.aggregate_id == name}
            assert own == alone.project(projection).rows(), f"the rows of {name!r} depend on other keys"  # noqa: S101

    def test_the_laws_hold() -> None:
        cuts_do_not_matter()
        if stream is not None:
            keys_do_not_matter_to_each_other()
        elif projection.scope == "local":
            aggregates_do_not_matter_to_each_other()

    return test_the_laws_hold
