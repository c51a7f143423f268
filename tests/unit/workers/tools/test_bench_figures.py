"""The statistics of the benchmarks."""

import math

import pytest

from annals.workers.tools.bench.figures import Figure, Part, Runs, bucket_quantile, quantile


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, 1.0), (0.1, 1.0), (0.5, 5.0), (0.51, 6.0), (0.99, 10.0), (1.0, 10.0)]
)
def test_a_quantile_is_a_value_that_was_measured(fraction, expected):
    values = [10.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0]
    assert quantile(values, fraction) == expected
    assert values[0] == 10.0, "the values stay in their order"


def test_there_is_no_quantile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.05, 0.5), (0.1, 1.0), (0.5, 1.8), (0.6, 2.0), (0.75, 2.0 + 8.0 * 15 / 30), (0.9, 10.0), (0.99, 10.0)],
)
def test_a_quantile_of_buckets_is_linear_within_its_bucket_and_never_beyond_the_last_bound(fraction, expected):
    buckets = [(1.0, 10.0), (2.0, 60.0), (10.0, 90.0), (math.inf, 100.0)]
    assert bucket_quantile(buckets, fraction) == pytest.approx(expected)


def test_empty_buckets_are_passed_over():
    buckets = [(1.0, 0.0), (2.0, 0.0), (4.0, 8.0), (8.0, 8.0), (math.inf, 8.0)]
    assert bucket_quantile(buckets, 0.5) == pytest.approx(3.0)


@pytest.mark.parametrize("buckets", [[], [(1.0, 0.0), (math.inf, 0.0)]])
def test_an_empty_histogram_has_no_quantile(buckets):
    with pytest.raises(ValueError, match="empty"):
        bucket_quantile(buckets, 0.5)


@pytest.mark.parametrize(
    ("target", "expected"),
    [({}, None), ({"most": 3.0}, True), ({"most": 2.9}, False), ({"least": 3.0}, True), ({"least": 3.1}, False)],
)
def test_a_target_is_held_to_the_median(target, expected):
    assert Figure(name="it", unit="s", values=[9.0, 1.0, 3.0], **target).is_met is expected


def test_a_part_says_the_spread_of_each_figure():
    figure = Figure(name="it", unit="s", values=[9.0, 1.0, 3.0], most=5.0)
    part = Part(name="a", title="A", method="looked", figures=[figure], notes=["so"], measured="then")
    assert part.as_json() == {
        "name": "a",
        "title": "A",
        "method": "looked",
        "notes": ["so"],
        "measured": "then",
        "figures": [
            {
                "name": "it",
                "unit": "s",
                "values": [9.0, 1.0, 3.0],
                "most": 5.0,
                "least": None,
                "min": 1.0,
                "median": 3.0,
                "max": 9.0,
                "met": True,
            }
        ],
    }


def test_runs_keep_each_figure_in_the_order_of_the_runs():
    runs = Runs()
    runs.add(a=1.0, b=2.0)
    runs.add(a=3.0, b=4.0)
    assert runs.values == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
