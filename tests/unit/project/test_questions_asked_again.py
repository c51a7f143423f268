"""What tests ask workers behind a busy broker: again, where that is the answer."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from grouped import GroupWorker

PATH = "/v1/subscriptions/billing"
MADE = {"name": "billing", "status": "active"}


@contextmanager
def worker(folder: Path, *statuses: int) -> Iterator[tuple[GroupWorker, list[str]]]:
    """A worker whose API answers so, one request after another, and the methods that it was asked with."""
    methods: list[str] = []
    left = iter(statuses)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            methods.append(self.command)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status = next(left)
            body = json.dumps(MADE if status < 300 else {"code": "no"}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with (
        HTTPServer(("127.0.0.1", 0), Handler) as server,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process,
    ):
        log = folder / "log"
        log.write_text(json.dumps({"event": "worker started", "api": f"http://127.0.0.1:{server.server_port}"}))
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield GroupWorker(process, server.server_port, log), methods
        finally:
            server.shutdown()
            serving.join()
            process.kill()


@pytest.mark.parametrize(
    ("statuses", "methods"),
    [
        ((201,), ["PUT"]),
        ((503, 504, 201), ["PUT"] * 3),
        ((504, 412, 503, 200), ["PUT", "PUT", "GET", "GET"]),  # it was made, though not in time
    ],
)
def test_a_subscription_that_is_not_made_in_time_is_put_again(
    tmp_path: Path, statuses: tuple[int, ...], methods: list[str]
) -> None:
    """Goes red where a test fails for a broker that is busy with others."""
    with worker(tmp_path, *statuses) as (asked, seen):
        assert asked.subscribe("billing", kinds=["person"]) == MADE
    assert seen == methods


@pytest.mark.parametrize("statuses", [(412,), (422,), (503, 422), (503, 412, 404)])
def test_one_that_is_refused_is_not(tmp_path: Path, statuses: tuple[int, ...]) -> None:
    with worker(tmp_path, *statuses) as (asked, seen), pytest.raises(AssertionError, match="no"):
        asked.subscribe("billing")
    assert len(seen) == len(statuses)


def test_metrics_are_what_is_answered_as_such(tmp_path: Path) -> None:
    """What is said by a server that is not ready has no line of theirs."""
    with worker(tmp_path, 503, 200) as (asked, seen):
        assert json.loads(asked.metrics()) == MADE
    assert seen == ["GET", "GET"]
