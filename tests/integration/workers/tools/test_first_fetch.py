"""The first fetch of Kafka behind a company's own authority, with a server that is believed through it alone."""

import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.maven import _core

from annals.workers.settings.certificates import authorities_for_requests
from annals.workers.tools.broker import BrokerError, jars
from annals.workers.tools.broker.jars import kafka_jars

TLS = Path(__file__).parents[2] / "tls"
AUTHORITY = str(TLS / "authority.pem")
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
SUBJECT = "7e005b20.0"  # what `openssl x509 -subject_hash` says of the authority: its name in a folder of authorities
JAR = b"a jar"


class Repository(BaseHTTPRequestHandler):
    """A Maven repository with one jar, and the hash that Maven keeps beside it."""

    def do_GET(self) -> None:
        """Answer with either of the two."""
        found = {
            "/org/example/one/1.0/one-1.0.jar": JAR,
            "/org/example/one/1.0/one-1.0.jar.sha1": hashlib.sha1(JAR).hexdigest().encode(),
        }.get(self.path, b"")
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Shakes hands in the thread of a request, where a client that hangs up disturbs nobody."""

    tls: ssl.SSLContext

    def finish_request(self, request, client_address) -> None:
        try:
            with self.tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        except ssl.SSLError:
            """A client that does not believe the server."""


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only repository that there is, and a lock that asks for its jar."""
    with Server(("127.0.0.1", 0), Repository) as server:
        server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.tls.load_cert_chain(TLS / "broker.pem")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(_core, "DEFAULT_REMOTE_REPOS", {"here": f"https://127.0.0.1:{server.server_port}"})
        lock = tmp_path / "jars.json"
        wanted = [["org.example", "one", "1.0", hashlib.sha256(JAR).hexdigest()]]
        lock.write_text(json.dumps({"coordinates": "", "jars": wanted}))
        monkeypatch.setattr(jars, "LOCK", lock)
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", VARIABLES)
def test_it_trusts_the_authority_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    named = tmp_path / "authorities"
    named.mkdir()
    (named / SUBJECT).write_text(Path(AUTHORITY).read_text())
    monkeypatch.setenv(variable, str(named) if variable == "SSL_CERT_DIR" else AUTHORITY)
    (path,) = kafka_jars(tmp_path / "cache")
    assert path.read_bytes() == JAR


def where_it_keeps(monkeypatch: pytest.MonkeyPatch, **authorities: str | None) -> None:
    """Move the system's authorities: where they are is compiled into Python."""
    paths = ssl.get_default_verify_paths()._replace(**authorities)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


@pytest.mark.parametrize("where", ["cafile", "capath"])
def test_it_trusts_the_authorities_that_the_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / SUBJECT).write_text(Path(AUTHORITY).read_text())
    kept = {"cafile": None, "capath": None, where: AUTHORITY if where == "cafile" else str(tmp_path)}
    where_it_keeps(monkeypatch, **kept)
    (path,) = kafka_jars(tmp_path / "cache")
    assert path.read_bytes() == JAR


def test_a_system_without_authorities_leaves_those_that_come_with_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    kept = {"cafile": str(tmp_path / "empty.pem"), "capath": str(tmp_path)}
    where_it_keeps(monkeypatch, **kept)
    before = dict(os.environ)
    with authorities_for_requests():
        assert dict(os.environ) == before


def test_what_requests_itself_is_told_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "of something else"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", AUTHORITY)
    (path,) = kafka_jars(tmp_path / "cache")
    assert path.read_bytes() == JAR


def test_it_trusts_nobody_else(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="SSL_CERT_FILE"):
        kafka_jars(tmp_path / "cache")


def test_the_environment_is_as_it_was_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", AUTHORITY)
    before = dict(os.environ)
    kafka_jars(tmp_path / "cache")
    assert dict(os.environ) == before
