"""`GET /v1/openapi.json`, and a page at `/docs` that shows it without anything from elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from swagger_ui_bundle import swagger_ui_path

from annals.schemas.cid import cid_of, cid_text
from annals.workers.api.http.problems import not_found
from annals.workers.api.http.routing import Answer, NoParameters, Route, Scope

if TYPE_CHECKING:
    from annals.workers.api.http.openapi import OpenApi
    from annals.workers.api.http.routing import Call, Handler

ASSETS: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
POLICY: Final = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
PAGE: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>annals API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<form id="token" hidden><label>Token <input type="password" autocomplete="off"></label> <button>Show</button></form>
<main id="api"></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</html>
"""
# A token that is typed in stays in the page's memory: it is in no URL, and nothing keeps it.
SCRIPT: Final = b"""let token = "";
const form = document.getElementById("token");
const headers = () => (token ? { authorization: `Bearer ${token}` } : {});
async function show() {
  const answer = await fetch("/v1/openapi.json", { headers: headers() });
  form.hidden = answer.status !== 401;
  if (!answer.ok) return;
  SwaggerUIBundle({
    spec: await answer.json(),
    dom_id: "#api",
    validatorUrl: null,
    requestInterceptor: (request) => ({ ...request, headers: { ...request.headers, ...headers() } }),
  });
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  token = form.querySelector("input").value;
  show();
});
show();
"""


class Asset(Struct, frozen=True):
    """A file of the page."""

    file: str


def described_routes(document: OpenApi) -> tuple[Route, ...]:
    """Return the routes of a description."""

    async def openapi(call: Call) -> Answer:
        del call
        text = await asyncio.to_thread(document.text)
        return Answer(text, etag=cid_text(cid_of(text)))

    return (
        _route("/v1/openapi.json", "This description: OpenAPI 3.1.", openapi, Scope.READ),
        _route("/docs", "The description as a page.", _page, None),
        _route("/docs/{file}", "A file of the page.", _asset, None, Asset),
    )


def _route(
    path: str, summary: str, handler: Handler, scope: Scope | None, parameters: type[Struct] = NoParameters
) -> Route:
    return Route("GET", path, scope, summary, parameters, None, handler, is_described=False)


async def _page(call: Call) -> Answer:
    del call
    return Answer(PAGE, content_type="text/html; charset=utf-8", headers={"content-security-policy": POLICY})


async def _asset(call: Call) -> Answer:
    name = call.parameters.file
    if name == "page.js":
        return Answer(SCRIPT, content_type="text/javascript; charset=utf-8")
    if name not in ASSETS:
        raise not_found("there is no such file")
    body = await asyncio.to_thread(Path(swagger_ui_path, name).read_bytes)
    return Answer(
        body, content_type=ASSETS[name], etag=cid_text(cid_of(body)), headers={"cache-control": "max-age=3600"}
    )
