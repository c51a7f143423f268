"""The OpenAPI 3.1 description of the routes, made from the types that they are served by."""

from __future__ import annotations

from datetime import datetime
from importlib import metadata
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from annals.schemas.dag_json import encode
from annals.workers.api.http.parameters import bare
from annals.workers.api.http.problems import PROBLEM_JSON, ProblemDetails
from annals.workers.api.http.routing import JSON, Scope
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.workers.api.http.routing import Route

VERSION: Final = "3.1.0"
REF: Final = "#/components/schemas/{name}"
EVERY_ROUTE: Final = {
    400: "A parameter or the body is wrong; `errors` names each.",
    401: "No token, or one that is not known.",
    403: "The token does not allow this.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    500: "A defect, or a broken chain.",
    503: "It cannot be answered yet; `Retry-After` says when to ask again.",
    504: "It did not come in time.",
}


OF_SOME_ROUTES: Final = {
    409: "What is there does not allow it: for a command, `outcome` says why.",
    412: "`If-Match` is missing, or is not the ETag of what is there.",
    422: "It cannot be taken: `errors` names the members, or `outcome` says why a command was refused.",
}


def _said(description: str) -> dict[str, Any]:
    """Return a header of an answer."""
    return {"description": description, "schema": {"type": "string"}}


HEADERS: Final = {
    "x-request-id": _said("The caller's id of the request, or one that was made."),
    "Retry-After": _said("Seconds after which to ask again."),
}
EVERY_ANSWER: Final = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
RETRY: Final = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
LATER: Final = frozenset({429, 503})


class OpenApi:
    """The description, as JSON."""

    def __init__(self, routes: Sequence[Route], *, is_open: bool) -> None:
        """Take the routes; is_open: whether no token is needed."""
        self._routes = [route for route in routes if route.is_described]
        self._is_open = is_open
        self._text: bytes | None = None
        self._making = Lock()

    def text(self) -> bytes:
        """Return the description; made once, which takes too long for an event loop."""
        with self._making:
            if self._text is None:
                self._text = encode(self.document())
            return self._text

    def document(self) -> dict[str, Any]:
        """Return the description as JSON types."""
        types = self._named_types()
        wanted = [ProblemDetails, *types.values()]
        schemas, components = msgspec.json.schema_components(wanted, ref_template=REF)
        named = dict(zip(["problem", *types], schemas, strict=True))
        document: dict[str, Any] = {
            "openapi": VERSION,
            "info": {
                "title": "annals",
                "version": metadata.version("annals"),
                "summary": "Commands, events, states and read models of an event-sourced system.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": self._paths(named),
            "components": {"schemas": components, "headers": HEADERS},
        }
        if not self._is_open:
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        return document

    def _named_types(self) -> dict[str, Any]:
        """Return the types of bodies and answers by name.

        Raises:
            TypeError: two have one name, and a route would be described by the other's type.
        """
        found: dict[str, Any] = {}
        for each in [each for route in self._routes for each in _types(route) if each is not None]:
            if found.setdefault(_type_id(each), each) != each:
                raise TypeError(f"two types of routes are named {_type_id(each)}")
        return found

    def _paths(self, named: dict[str, Any]) -> dict[str, Any]:
        paths: dict[str, Any] = {}
        for route in self._routes:
            paths.setdefault(route.path, {})[route.method.lower()] = self._operation(route, named)
        return paths

    def _operation(self, route: Route, named: dict[str, Any]) -> dict[str, Any]:
        scope = "acks:{name}" if route.scope is Scope.ACKS else route.scope
        operation: dict[str, Any] = {
            "operationId": _operation_id(route),
            "summary": route.summary,
            "description": f"Scope: `{scope}`." if scope else "For anybody.",
            "responses": _responses(route, named),
        }
        parameters = [_parameter(field, route) for field in msgspec.structs.fields(route.parameters)]
        parameters += [_header(name, description) for name, description in route.headers]
        if route.is_conditional:
            parameters.append(
                _header("If-None-Match", "ETags that the caller has: 304 where one is that of the answer.")
            )
        if parameters:
            operation["parameters"] = parameters
        if route.body is not None:
            operation["requestBody"] = {
                "required": True,
                "content": {JSON: {"schema": named[_type_id(route.body)]}},
            }
        if not self._is_open and route.scope is not None:
            operation["security"] = [{"token": []}]
        return operation


def _types(route: Route) -> list[Any]:
    return [route.answer, route.body, *(answer for _, answer in route.other_answers)]


def _responses(route: Route, named: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in ((route.status, route.answer), *route.other_answers):
        named_headers = {name: _said(text) for name, text in route.answers_with}
        described: dict[str, Any] = {"description": route.summary, "headers": named_headers | EVERY_ANSWER}
        if answer is not None:
            described["content"] = {JSON: {"schema": named[_type_id(answer)]}}
        responses[str(status)] = described
    for content_type in route.content_types:
        responses[str(route.status)].setdefault("content", {})[content_type] = {}
    if route.is_conditional:
        responses["304"] = {
            "description": "What the caller has, by its ETag, is what there is.",
            "headers": EVERY_ANSWER,
        }
    for status in sorted({*EVERY_ROUTE, *route.problems}):
        responses[str(status)] = {
            "description": (EVERY_ROUTE | OF_SOME_ROUTES)[status],
            "headers": (RETRY if status in LATER else {}) | EVERY_ANSWER,
            "content": {PROBLEM_JSON: {"schema": named["problem"]}},
        }
    return responses


def _parameter(field: Any, route: Route) -> dict[str, Any]:
    base, metas = bare(field.type)
    schema = _schema(field.type)
    description = schema.pop("description", "")
    extras = [meta.extra or {} for meta in metas]
    if any(extra.get("is_kind") for extra in extras):
        schema["enum"] = list(deciders())
    if base is datetime:
        schema = {"type": "string", "format": "date-time"}
    if field.default is not msgspec.NODEFAULT and field.default is not None:
        schema["default"] = field.default
    is_path = field.encode_name in route.path_names
    parameter: dict[str, Any] = {
        "name": field.encode_name,
        "in": "path" if is_path else "query",
        "required": is_path or field.required,
        "schema": schema,
    }
    if description:
        parameter["description"] = description
    return parameter


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}


def _schema(wanted: Any) -> dict[str, Any]:
    """Return a parameter's schema, without `null`: a parameter that is not given is left out."""
    (schema,), components = msgspec.json.schema_components([wanted], ref_template=REF)
    if components:
        raise TypeError(f"a parameter is plain: {wanted}")
    schema = dict(schema)
    if "anyOf" in schema:
        (found,) = [each for each in schema.pop("anyOf") if each.get("type") != "null"]
        schema |= found
    schema.pop("default", None)
    return schema


def _operation_id(route: Route) -> str:
    words = [word.strip("{}").replace("-", "_").replace(".", "_") for word in route.path.split("/")[2:]]
    return "_".join([route.method.lower(), *words])


def _type_id(wanted: Any) -> str:
    return getattr(wanted, "__name__", None) or str(wanted)
