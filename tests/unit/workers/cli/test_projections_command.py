"""`annals projections` against an API that a test plays, and projections that other distributions register."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from annals.agents import registered
from distributions import installed
from processes import ENTRY_POINT, own_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATUS = {
    "name": "documents",
    "version": 1,
    "status": "failed",
    "lag": {"events": 2, "seconds": 1.0},
    "positions": {"document": [4, None]},
    "missing": [],
    "stale": [{"kind": "document", "partition": 0, "reason": "documents/1 failed on DocumentCreated"}],
}
VERIFIED = {"rows": 1, "events": 1, "differences": [{"key": ["d"], "stored": None, "folded": {}}], "unanswered": []}
ANSWERS: dict[tuple[str, str], tuple[int, Any]] = {
    ("GET", "/v1/projections"): (200, {"projections": [STATUS]}),
    ("GET", "/v1/projections/documents"): (200, STATUS),
    ("GET", "/v1/projections/documnts"): (404, {"detail": "there is no projection"}),
    ("POST", "/v1/projections/documnts/resume"): (404, {"detail": "there is no projection"}),
    ("GET", "/v1/projections/documnts/rows?limit=1000"): (404, {"detail": "there is no projection"}),
    ("POST", "/v1/projections/documents/rebuild?aggregate=document%2Fnone"): (404, {"detail": "no document 'none'"}),
    ("POST", "/v1/projections/documents/resume"): (503, {"detail": "not now"}),
    ("POST", "/v1/projections/documents/drop?version=1"): (409, {"detail": "version 1 is the one that answers"}),
    ("POST", "/v1/projections/documents/verify"): (202, {"id": "j", "status": "running"}),
    ("GET", "/v1/jobs/j"): (200, {"id": "j", "status": "done", "result": VERIFIED}),
    ("POST", "/v1/projections/documents/rebuild?aggregate=document%2Fd"): (202, {"id": "k", "status": "done"}),
    ("POST", "/v1/projections/documents/turn-back"): (409, {"detail": "there is no previous version"}),
    ("GET", "/v1/projections/documents/rows?limit=1000"): (200, {"rows": [{"a": 1}], "missing": [], "next": "/more"}),
    ("GET", "/more"): (200, {"rows": [{"a": 2}], "missing": [], "next": None}),
}


class Api(BaseHTTPRequestHandler):
    """Answers what it is told to, to who has the token."""

    def do_GET(self) -> None:
        is_known = self.headers.get("authorization") == "Bearer secret"
        status, body = ANSWERS[self.command, self.path] if is_known else (401, {"detail": "no token"})
        if status >= 400:
            body = {"type": "urn:annals:problem:said", **body}
        self.send_response(status)
        self.send_header("x-request-id", "r-1")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    do_POST = do_GET  # noqa: N815 - the server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def annals(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    token = tmp_path / "token"
    token.write_text("secret\n")
    return subprocess.run(
        [ENTRY_POINT, "projections", *words],
        env=own_environment(ANNALS_API_TOKEN_FILE=str(token), **environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("list", 0, "documents version 1: failed, 2 offsets behind"),
        ("status documents", 1, "document-0: documents/1 failed on DocumentCreated"),
        ("status documnts", 2, "annals: there is no projection 'documnts': there are documents. Is documents meant?"),
        ("resume documnts", 2, "Is documents meant?"),
        ("show documnts", 2, "Is documents meant?"),
        ("rebuild documents --aggregate document/none", 1, "annals: 404: no document 'none'"),
        ("resume documents", 2, "annals: 503: not now"),
        ("drop documents --version 1", 1, "annals: 409: version 1 is the one that answers"),
        ("verify documents", 1, "documents: 1 row, 1 event, 1 difference"),
        ("rebuild documents --aggregate document/d", 0, "documents: rebuilt"),
        ("turn-back documents", 1, "annals: 409: there is no previous version"),
        ("show documents", 0, '{"a": 1}\n{"a": 2}'),
        ("show documents --json", 0, '[{"a": 1}, {"a": 2}]\n'),
        ("show documnts --at 2026-11-21T09:30:00Z", 2, "Is documents meant?"),
        ("query 'SELECT * FROM documnts'", 2, "there are people_directory, "),
        ("query 'SELECT * FROM documnts'", 2, "Is documents meant?"),
        ("show documents --at yesterday", 2, "must be an RFC 3339 date-time"),
        ("show documents --at 9999-12-31T23:59:60-00:01", 2, "must be a moment between the years 1 and 9999"),
        ("query SELECT", 2, "the statement names no projection: there are people_directory"),
    ],
)
def test_what_the_api_answers_is_shown(tmp_path: Path, api: str, words: str, status: int, said: str) -> None:
    done = annals(tmp_path, *shlex.split(words), ANNALS_API_URL=api)
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_an_api_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    done = annals(tmp_path, "list", "--api", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("annals: no API answers at http://127.0.0.1:1")
    assert done.stderr.count("\n") == 1


MODULE = """
from dataclasses import replace
from annals.agents.projections.documents import DOCUMENTS

ONE, TWO = (replace(DOCUMENTS, name="mine", version=version) for version in (1, 2))
BOTH, TWICE = (TWO, ONE), (ONE, ONE)
STRANGE = replace(ONE, wanted={"ship": frozenset()})
OTHER = replace(ONE, scope="global", version=3)
MIXED = (ONE, OTHER)
"""


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("mine = mine:BOTH", None),
        ("mine = mine:NONE", "cannot be loaded: AttributeError"),
        ("other = mine:ONE", "is no projection of the name 'other'"),
        ("documents = mine:ONE", "registers a projection that exists already"),
        ("Mine = mine:ONE", "a projection's name is 1 to 63 of a-z 0-9 _"),
        ("mine = mine:TWICE", "versions are numbers from 1, each once"),
        ("mine = mine:MIXED", "all versions of a projection have one scope"),
        ("mine = mine:STRANGE", "wants events of kinds that do not exist: ship"),
    ],
)
def test_a_projection_of_another_distribution_is_known_or_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, said: str | None
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    name, _, value = entry.partition(" = ")
    point = EntryPoint(name, value, registered.PROJECTIONS_GROUP)
    others = registered.deciders()
    monkeypatch.setattr(registered, "entry_points", lambda group: [point])
    monkeypatch.setattr(registered, "deciders", lambda: others)
    find = registered.projections.__wrapped__
    if said is None:
        assert [each.version for each in find()["mine"]] == [1, 2]
        return
    with pytest.raises(registered.RegistrationError, match=re.escape(said)):
        find()


def test_one_that_is_refused_is_said_in_one_line(tmp_path: Path) -> None:
    site = installed(tmp_path, "mine", "[annals.projections]\nmine = mine:NONE\n", mine=MODULE)
    done = annals(tmp_path, "query", "SELECT", PYTHONPATH=site)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("annals: entry point mine = mine:NONE of annals.projections cannot be loaded")
