"""Who may ask what: tokens of a file, JSON Web Tokens, and this machine's own without either."""

import asyncio
import hmac
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from hashlib import sha256

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from msgspec import Struct

from annals.workers.api.callers.jwks import JwksFile
from annals.workers.api.callers.tokens import TokensFile, parse
from annals.workers.api.callers.watched import WatchedFile
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.routing import NoParameters, Route, Scope
from annals.workers.settings import Settings, SettingsError, watched
from api_serving import Audit, serving

SECRET = "correct horse"


async def who(call):
    return json_answer({"name": call.principal.name, "actor": call.principal.actor})


def routes():
    paths = {
        Scope.READ: "/v1/read",
        Scope.WRITE: "/v1/write",
        Scope.ADMIN: "/v1/admin",
        Scope.ACKS: "/v1/s/{name}/acks",
    }
    return [
        Route(
            "POST" if scope is not Scope.READ else "GET",
            path,
            scope,
            "x",
            Named if "{" in path else NoParameters,
            None,
            who,
        )
        for scope, path in paths.items()
    ]


class Named(Struct):
    name: str


def line(token, name, scopes):
    return f"{sha256(token.encode()).hexdigest()} {name} {scopes}\n"


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(
        "# who may ask\n\n"
        + line("r", "reader", "read")
        + line("w", "writer", "write  # no more")
        + line("a", "boss", "admin")
        + line("k", "billing", "read,acks:billing")
    )
    path.chmod(0o600)
    return path


async def test_a_token_says_who_asks_and_what_is_allowed(tokens):
    allowed = {
        "r": {"read"},
        "w": {"write"},
        "a": {"read", "write", "admin", "billing", "other"},
        "k": {"read", "billing"},
    }
    paths = {
        "read": ("GET", "/v1/read"),
        "write": ("POST", "/v1/write"),
        "admin": ("POST", "/v1/admin"),
        "billing": ("POST", "/v1/s/billing/acks"),
        "other": ("POST", "/v1/s/other/acks"),
    }
    audit = Audit()
    async with serving(routes(), Settings(api_port=0, api_tokens_file=tokens), audit=audit) as api:
        for token, may in allowed.items():
            for name, (method, path) in paths.items():
                status, _, body = await api(method, path, headers=bearer(token))
                assert status == (200 if name in may else 403), (token, name)
                if status == 403:
                    assert body["type"] == "urn:annals:problem:forbidden"
        for wrong in ({}, bearer("x"), bearer(""), {"authorization": "Basic cjo="}, bearer("é"), bearer("r r")):
            status, headers, body = await api("GET", "/v1/read", headers=wrong)
            assert (status, body["type"]) == (401, "urn:annals:problem:unauthorized")
            assert headers["www-authenticate"].startswith("Bearer ")
        for path in ("/v1/read?token=r", "/v1/nothing", "/v1/openapi.json"):
            assert (await api("GET", path))[0] == 401
        assert (await api("GET", "/docs"))[0] == 200
        assert (await api("GET", "/v1/openapi.json", headers=bearer("r")))[2]["components"]["securitySchemes"]
    assert {(each.principal, each.path, each.status) for each in audit.entries} == {
        ("boss", "/v1/admin", None),
        ("boss", "/v1/admin", 200),
    }


async def test_a_web_token_that_is_nested_too_deeply_is_nobodys(tmp_path):
    """Goes red when whoever sends one, without any right, is answered 500."""
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [ECKey.generate_key("P-256", private=False).as_dict(private=False)]}))
    keys.chmod(0o600)
    deep = urlsafe_b64encode(b'{"a":' * 1_100).decode().rstrip("=")
    async with serving(routes(), Settings(api_port=0, api_jwks_file=keys)) as api:
        status, _, body = await api("GET", "/v1/read", headers=bearer(f"{deep}.e30.e30"))
        assert (status, body["type"]) == (401, "urn:annals:problem:unauthorized")


async def test_a_token_that_is_no_text_is_nobodys(tokens):
    async with serving(routes(), Settings(api_port=0, api_tokens_file=tokens)) as api, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(
            b"GET /v1/read HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer \xff\xed\r\nconnection: close\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_token_is_in_no_answer_and_no_log(tokens, capsys):
    async with serving(routes(), Settings(api_port=0, api_tokens_file=tokens)) as api:
        _, _, body = await api("GET", "/v1/read", headers=bearer(SECRET))
    assert SECRET not in json.dumps(body) + "".join(capsys.readouterr())


@pytest.fixture
def no_wait(monkeypatch):
    monkeypatch.setattr(watched, "LOOK_S", 0.0)


async def test_a_changed_file_is_read_again(tokens, no_wait):
    known = TokensFile(tokens)
    assert known.find("r").name == "reader"
    tokens.write_text(line("r2", "reader", "read"))
    await known.refresh()
    assert known.find("r") is None
    assert known.find("r2").name == "reader"
    tokens.write_text("nonsense")
    await known.refresh()
    assert known.find("r2").name == "reader"
    tokens.unlink()
    await known.refresh()
    assert known.find("r2").name == "reader"


async def test_a_file_that_cannot_be_used_is_told_once_and_is_read_again_when_it_can(tokens, no_wait, capsys):
    """Goes red where it is told at each look: a line every two seconds, for as long as anybody asks."""
    known, text = TokensFile(tokens), tokens.read_text()
    tokens.chmod(0o666)
    for _ in range(5):
        await known.refresh()
    said = capsys.readouterr().out
    assert said.count("cannot be used") == said.count("chmod go-w") == 1
    tokens.unlink()
    for _ in range(5):
        await known.refresh()
    assert capsys.readouterr().out.count("cannot be used") == 1
    tokens.write_text(text + line("n", "newcomer", "read"))
    tokens.chmod(0o600)
    for _ in range(5):
        await known.refresh()
    assert capsys.readouterr().out.count("read again") == 1
    assert known.find("n").name == "newcomer"


async def test_a_changed_file_is_read_by_a_thread_and_nobody_is_judged_by_what_it_said_before(tokens, monkeypatch):
    reading, threads = threading.Event(), []

    def read(text):
        threads.append(threading.current_thread())
        assert len(threads) == 1 or reading.wait(30)
        return text

    file = WatchedFile("ANNALS_API_TOKENS_FILE", tokens, read)
    monkeypatch.setattr(watched, "LOOK_S", 0.0)
    tokens.write_text("new")
    asking = [asyncio.create_task(file.refresh()) for _ in range(3)]
    await asyncio.sleep(0)  # the loop is not held
    monkeypatch.setattr(watched, "LOOK_S", 3600.0)
    assert not any(each.done() for each in asking)
    reading.set()
    await asyncio.gather(*asking)
    assert file.value == "new"
    assert len(threads) == 2
    assert threading.main_thread() is not threads[1]


def test_a_file_is_looked_at_within_ten_seconds():
    assert watched.LOOK_S < 10


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_file_that_others_may_write_is_refused(tokens, mode):
    tokens.chmod(mode)
    with pytest.raises(SettingsError, match=r"ANNALS_API_TOKENS_FILE.*chmod go-w"):
        TokensFile(tokens)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a b c",
        f"{'0' * 64} name",
        f"{'0' * 64} name nothing",
        f"{'0' * 64} name read,",
        "\x00" * 9,
        f"{'0' * 64} n read x",
    ],
)
def test_a_wrong_line_is_named_by_its_number_alone(text):
    with pytest.raises(ValueError, match="line 2") as raised:
        parse(f"# x\n{text}\n")
    assert "0000" not in str(raised.value)


KEY = RSAKey.generate_key(2048, {"kid": "one"})
EC = ECKey.generate_key("P-256", {"kid": "two"})


@pytest.fixture
def jwks(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [KEY.as_dict(private=False), EC.as_dict(private=False)]}))
    path.chmod(0o600)
    return JwksFile(path, "https://issuer", None)


def claims(**changes):
    given = {
        "iss": "https://issuer",
        "sub": "hr",
        "exp": int(time.time()) + 600,
        "scope": "read write email",
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def token(claims, alg="RS256", key=KEY, **header):
    return jwt.encode({"alg": alg, **header}, claims, key, algorithms=[alg])


def test_a_signed_token_says_who_asks(jwks):
    for made in (token(claims(), kid="one"), token(claims()), token(claims(), "ES256", EC, kid="two")):
        found = jwks.find(made)
        assert (found.name, found.scopes, found.actor) == ("hr", {"read", "write"}, None)
    assert jwks.find(token(claims(actor="hr-service"))).actor == "hr-service"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 2**40},  # a time long after any run: what is made while tests are collected is past when they run
        {"iss": "https://other"},
        {"iss": None},
    ],
)
def test_a_token_that_does_not_hold_now_is_none(jwks, changes):
    assert jwks.find(token(claims(**changes))) is None


@pytest.mark.parametrize(
    ("audience", "aud", "is_for_us"),
    [
        (None, None, True),
        (None, "billing", False),  # RFC 7519, 4.1.3: whoever has no name of its own is meant by no audience
        (None, ["billing", "annals"], False),
        (None, [], False),
        ("annals", "annals", True),
        ("annals", ["billing", "annals"], True),
        ("annals", "billing", False),
        ("annals", None, False),
        ("annals", [], False),
        ("annals", {"annals": 1}, False),
    ],
)
def test_a_token_for_somebody_else_is_none(tmp_path, jwks, audience, aud, is_for_us):
    ours = JwksFile(tmp_path / "jwks.json", "https://issuer", audience)
    said = {**claims(), **({} if aud is None else {"aud": aud})}
    assert (ours.find(token(said, kid="one")) is not None) == is_for_us


def by_the_public_key(header):
    """A token signed with the public key as if it were a secret (the classic confusion of algorithms)."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims())]
    signature = hmac.digest(KEY.as_pem(private=False), b".".join(parts), "sha256")
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_a_token_of_another_key_or_of_none_is_none(jwks):
    other = RSAKey.generate_key(2048)
    forged = [
        token(claims(), key=other),
        token(claims(), key=other, kid="one"),
        by_the_public_key({"alg": "HS256"}),
        by_the_public_key({"alg": "HS256", "kid": "one"}),
        token(claims(), kid="one").rpartition(".")[0] + ".",
        "eyJhbGciOiJub25lIn0." + token(claims()).split(".")[1] + ".",
        "a.b.c",
        "..",
        "é.é.é",
        "e30.e30.e30",
        "bnVsbA.e30.",
        "x" * 100_000 + "..",
    ]
    assert [jwks.find(each) for each in forged] == [None] * len(forged)


def written(path, keys):
    path.write_text(json.dumps({"keys": keys}))
    path.chmod(0o600)
    return JwksFile(path, None, None)


@pytest.mark.parametrize(
    "unknown",
    [
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "RSA", "n": "AQAB"},
        {},
    ],
)
def test_a_key_that_cannot_be_used_leaves_the_others_as_they_are(tmp_path, unknown):
    """RFC 7517, section 5. Goes red where an issuer that adds a key of a new curve shuts out all callers."""
    keys = written(tmp_path / "keys.json", [unknown, EC.as_dict(private=False)])
    assert keys.find(token(claims(), "ES256", EC, kid="two")).name == "hr"


def test_keys_of_one_kid_are_all_tried(tmp_path):
    """RFC 7517, section 4.5: keys of different types may share one, and an issuer that rotates may give it again."""
    old, new = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))
    keys = written(
        tmp_path / "keys.json",
        [EC.as_dict(private=False, kid="one"), old.as_dict(private=False), new.as_dict(private=False)],
    )
    for made in (token(claims(), key=old, kid="one"), token(claims(), key=new, kid="one")):
        assert keys.find(made).name == "hr"
    assert keys.find(token(claims(), key=KEY, kid="one")) is None


def test_claims_that_are_nested_too_deeply_are_nobodys(jwks):
    """Goes red when a signed token is answered 500."""
    deep = b'{"a":' + b"[" * 2_000 + b"]" * 2_000 + b"}"
    assert jwks.find(jws.serialize_compact({"alg": "RS256"}, deep, KEY, algorithms=["RS256"])) is None


def test_an_actor_that_is_no_id_may_do_nothing(jwks):
    assert jwks.find(token(claims(actor="\x00"))).scopes == frozenset()
    assert jwks.find(token(claims(scope=7, sub=None))).scopes == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": {}}',
        '{"keys": [1]}',
        pytest.param(json.dumps({"keys": [KEY.as_dict(private=True)]}), id="a private key"),
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param(json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}), id="a secret"),
    ],
)
def test_a_file_that_is_no_set_of_public_keys_is_refused(tmp_path, text):
    path = tmp_path / "jwks.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="ANNALS_API_JWKS_FILE"):
        JwksFile(path, None, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_strangers_are_not_served_without_authentication(host):
    with pytest.raises(SettingsError, match="ANNALS_API_TOKENS_FILE"):
        async with serving(routes(), Settings(api_port=0, api_host=host)):
            pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:6067"}, 200),
        ({"host": "127.0.0.2"}, 200),
        ({"host": "example.org"}, 403),
        ({"host": "127.0.0.1.example.org"}, 403),
        ({"host": "localhost.example.org"}, 403),
        ({"host": "192.168.0.1"}, 403),
        ({"host": "0.0.0.0"}, 403),
        ({"host": ""}, 403),
        ({"host": "user@localhost"}, 403),
        ({"host": "localhost/example.org"}, 403),
        ({"host": "localhost?example.org"}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ({"host": "localhost:1", "origin": "https://localhost:1"}, 403),
        ({"origin": "https://example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ([("host", "localhost:1"), ("origin", "http://localhost:1"), ("origin", "https://example.org")], 403),
        ([("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], 403),
    ],
)
async def test_no_web_page_of_another_site_is_answered(headers, status):
    async with serving(routes()) as api:
        found, _, body = await api("GET", "/v1/read", headers=headers)
        assert found == status
        if status == 403:
            assert body["type"] == "urn:annals:problem:forbidden"


async def test_a_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=r"(?i)address already in use"):
        async with serving(routes(), Settings(api_port=taken.getsockname()[1])):
            pass
