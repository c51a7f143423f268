"""The description of the API: what a client that knows nothing else may rely on."""

import re

from annals.workers.api.http.openapi import OpenApi
from annals.workers.api.service import described_of_all

# What Python's patterns have and those of JSON Schema (ECMA 262) have not, or read otherwise.
PYTHON_ONLY = re.compile(r"\\[AZdDwWsS]|\(\?P|\(\?[aiLmsux]")


def document():
    return OpenApi(described_of_all(), is_open=False).document()


def patterns_in(value, at="#"):
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            yield at, value["pattern"]
        for name, each in value.items():
            yield from patterns_in(each, f"{at}/{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from patterns_in(each, f"{at}/{number}")


def parameters_of(described, method, path):
    return {each["name"]: each for each in described["paths"][path][method]["parameters"]}


def test_patterns_are_read_alike_by_json_schema():
    """Goes red when an end is `\\Z`: a JavaScript client refuses such a pattern, or takes it for the letter Z."""
    found = list(patterns_in(document()))
    assert {pattern for _, pattern in found} >= {"^b[a-z2-7]+$"}
    assert [each for each in found if PYTHON_ONLY.search(each[1])] == []


def test_what_a_parameter_means_is_said_and_is_its_own():
    described = document()
    drop = parameters_of(described, "post", "/v1/projections/{projection}/drop")
    assert drop["version"]["description"] == "The version whose rows go."
    for path in ("/v1/events", "/v1/projections/{projection}/rows", "/v1/questions/people", "/v1/correlations/{id}"):
        expect = parameters_of(described, "get", path)["expect"]
        assert expect["description"].startswith("`<kind>/<id>@<version>`")
    asked = parameters_of(described, "get", "/v1/events")
    silent = [name for name, each in asked.items() if not each.get("description")]
    assert silent == []
    assert asked["until"]["description"] == "Before this RFC 3339 date-time."
    assert asked["type"]["description"] == "Of this type."
    assert asked["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}


def test_headers_of_answers_are_described_and_304_only_where_it_is_answered():
    described = document()
    conditional = set()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            assert all("x-request-id" in answer["headers"] for answer in responses.values()), path
            assert all("Retry-After" in responses[status]["headers"] for status in ("429", "503"))
            if "304" in responses:
                conditional.add((method, path))
                assert "ETag" in responses["200"]["headers"]
                assert "If-None-Match" in parameters_of(described, method, path)
    assert conditional == {
        ("get", "/v1/aggregates/{kind}/{id}"),
        ("get", "/v1/aggregates/{kind}/{id}/events"),
        ("get", "/v1/events/{cid}"),
    }
    assert "Location" in described["paths"]["/v1/replays"]["post"]["responses"]["202"]["headers"]
