"""Ids inside data are what ids of the envelope are."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from annals.schemas.data.complaints import complaints
from annals.schemas.values.fields import AggregateId
from annals.schemas.values.ids import id_problem

CHARACTERS = st.sampled_from(
    " \u00a0\u3000\u2028\u200b\ufeff\x00\x1f\x85\ufdd0\ufffe\U0001ffffaÄ\U0001f600"
) | st.characters(exclude_categories=("Cs",))


@given(st.text(CHARACTERS, max_size=5) | st.text(st.just("x"), min_size=250, max_size=260))
@example("a\n")
def test_an_aggregate_id_in_data_is_held_to_the_rule_of_the_envelope(text: str) -> None:
    assert (list(complaints(AggregateId, text, "")) == []) == (id_problem(text) is None)
