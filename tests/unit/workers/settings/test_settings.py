"""Settings: where they come from, what they may be, and that a secret is never shown."""

import dataclasses
import os
import pickle
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.workers.settings import (
    Secret,
    Settings,
    SettingsError,
    client_options,
    default_cache_dir,
    files,
    is_loopback,
    load_settings,
    settings_metadata,
    warnings,
)
from annals.workers.settings.metadata import SettingMeta
from certificates import certificate, new_key

HUSH = "hush-hush"
SASL = {"ANNALS_SECURITY_PROTOCOL": "SASL_SSL", "ANNALS_SASL_USERNAME": "ada", "ANNALS_SASL_PASSWORD": HUSH}
CONTRACT = {
    "ANNALS_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "ANNALS_APP_ID": "annals",
    "ANNALS_DATA_DIR": Path("annals-data"),
    "ANNALS_PARTITIONS": 4,
    "ANNALS_REPLICATION_FACTOR": 1,
    "ANNALS_TOPIC_PREFIX": "",
    "ANNALS_INSTANCE_ID": None,
    "ANNALS_WEB_HOST": "127.0.0.1",
    "ANNALS_WEB_PORT": 6066,
    "ANNALS_SECURITY_PROTOCOL": "PLAINTEXT",
    "ANNALS_SASL_USERNAME": None,
    "ANNALS_SASL_PASSWORD": None,
    "ANNALS_SSL_CAFILE": None,
    "ANNALS_SSL_CERTFILE": None,
    "ANNALS_SSL_KEYFILE": None,
    "ANNALS_MAX_COMMAND_BYTES": 1_000_000,
    "ANNALS_MAX_EVENTS_PER_AGGREGATE": None,
    "ANNALS_CREATE_TOPICS": False,
}


def refusal(environment: dict[str, str], options: dict[str, object] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(options, environment)
    return str(caught.value)


def test_the_defaults_are_the_contracts() -> None:
    settings = load_settings({}, {})
    metadata = {meta.variable: meta for meta in settings_metadata()}
    assert {name: getattr(settings, metadata[name].name) for name in CONTRACT} == CONTRACT
    assert settings == Settings()


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "annals.toml"
    file.write_text('app_id = "file"\npartitions = 7\nweb_port = 1\ncreate_topics = true\n')
    environment = {"ANNALS_CONFIG": str(file), "ANNALS_APP_ID": "environment", "ANNALS_PARTITIONS": "8"}
    settings = load_settings({"app_id": "option", "partitions": None}, environment)
    assert (settings.app_id, settings.partitions, settings.web_port) == ("option", 8, 1)
    assert settings.create_topics is True


def test_the_file_can_be_named_by_an_option(tmp_path: Path) -> None:
    named, other = tmp_path / "named.toml", tmp_path / "other.toml"
    named.write_text('bootstrap_servers = ["a:1", "b:2"]')
    other.write_text("partitions = 9")
    settings = load_settings({"config": str(named)}, {"ANNALS_CONFIG": str(other)})
    assert (settings.bootstrap_servers, settings.partitions) == ("a:1,b:2", 4)


def test_the_mark_that_editors_on_windows_put_before_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xef\xbb\xbfpartitions = 9\r\n")
    assert load_settings({"config": str(file)}, {}).partitions == 9


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("BOOTSTRAP_SERVERS", " a:1 , [::1]:2", "a:1,[::1]:2"),
        ("PARTITIONS", "10000", 10_000),
        ("WEB_PORT", "0", 0),
        ("WEB_HOST", "::1", "::1"),
        ("CREATE_TOPICS", "1", True),
        ("CREATE_TOPICS", "True", True),
        ("CREATE_TOPICS", "off", False),
        ("CREATE_TOPICS", "Yes", True),
        ("ROLES", "READ", "read"),
        ("ROLES", "write,write", "write"),
        ("ROLES", "read, write", "write,read"),
        ("COMPRESSION", "ZSTD", "zstd"),
        ("REPLAY_DIR", "/nowhere/yet", Path("/nowhere/yet")),
        ("WEBHOOK_SECRETS_DIR", "/", Path("/")),
        ("WEBHOOK_SECRETS_DIR", "", None),
        ("SECURITY_PROTOCOL", "ssl", "SSL"),
        ("SASL_MECHANISM", "scram-sha-512", "SCRAM-SHA-512"),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("INSTANCE_ID", "", None),
        ("INSTANCE_ID", "w-1", "w-1"),
        ("TOPIC_PREFIX", "", ""),
        ("MAX_EVENTS_PER_AGGREGATE", "100", 100),
        ("DATA_DIR", "/nowhere/yet", Path("/nowhere/yet")),
    ],
)
def test_a_value_is_taken(name: str, value: str, found: object) -> None:
    assert getattr(load_settings({}, {f"ANNALS_{name}": value}), name.lower()) == found


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "BOOTSTRAP_SERVERS",
            [
                "",
                "x",
                "x:",
                ":1",
                "x:0",
                "x:65536",
                "x:1,",
                "x y:1",
                "kafka://x:1",
                "x:1;y:2",
                "a..b:1",
                "[zz]:1",
                "[]:1",
            ],
        ),
        ("APP_ID", ["", "a b", "ä", "a/b", "..", "x" * 201]),
        ("TOPIC_PREFIX", ["a b", "ä", "x" * 250]),
        ("PARTITIONS", ["", "0", "-1", "x", "1.0", "1_0", " 4", "٤", "10001", "9" * 30]),
        ("REPLICATION_FACTOR", ["", "0", "32768"]),
        ("WEB_HOST", ["", "a b", "http://x", ":9092", "127.0.0.1:9092", "[::1]", "...", "1:2", "a..b", "x" * 64, "-x"]),
        ("API_HOST", [":9092", "localhost:6067", "0.0.0.0:6067"]),
        ("WEB_PORT", ["", "-1", "65536", "http"]),
        ("API_URL", ["", "http://a b", "http://a\t", "http://a\n"]),
        ("DATA_DIR", ["", "/dev/null", "~nobody-of-this-name/data"]),
        ("REPLAY_DIR", ["/dev/null"]),
        ("WEBHOOK_SECRETS_DIR", ["/dev/null", "/nowhere", "~nobody-of-this-name/secrets"]),
        ("ROLES", ["", "write,", "writer"]),
        ("INSTANCE_ID", ["a b", "."]),
        ("SECURITY_PROTOCOL", ["", "TLS"]),
        ("SASL_MECHANISM", ["", "GSSAPI"]),
        ("SASL_USERNAME", [" ada", "a\nb"]),
        ("SSL_CAFILE", ["/nowhere.pem", "~nobody-of-this-name/ca.pem"]),
        ("CREATE_TOPICS", ["", "2", "maybe"]),
        ("MAX_COMMAND_BYTES", ["", "0", "8000001"]),
        ("MAX_EVENTS_PER_AGGREGATE", ["0", "-1"]),
        ("LOG_LEVEL", ["", "loud"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, values: list[str]) -> None:
    for value in values:
        (line,) = refusal({f"ANNALS_{name}": value}).splitlines()
        assert line.startswith(f"ANNALS_{name}: {value!r} is not "), line
        assert f"not {value!r}" not in line, line
        assert line.endswith("(environment)")
        (line,) = refusal({}, {name.lower(): value}).splitlines()
        assert line.endswith(f"(option --{name.lower().replace('_', '-')})")


def test_only_folders_that_are_made_need_not_be_there() -> None:
    paths = {each.name for each in dataclasses.fields(Settings) if "Path" in str(each.type)}
    refused = {
        line.split(":")[0] for line in refusal({f"ANNALS_{name.upper()}": "/nowhere/x" for name in paths}).splitlines()
    }
    assert paths - {name.removeprefix("ANNALS_").lower() for name in refused} == {"data_dir", "cache_dir", "replay_dir"}


def test_all_wrong_values_are_named_at_once() -> None:
    problems = refusal({"ANNALS_PARTITIONS": "x", "ANNALS_WEB_PORT": "y", "ANNALS_APP_ID": ""}).splitlines()
    assert [line.split(":")[0] for line in problems] == ["ANNALS_APP_ID", "ANNALS_PARTITIONS", "ANNALS_WEB_PORT"]


def test_a_variable_that_is_no_setting_is_refused_with_the_one_that_was_meant() -> None:
    assert refusal({"ANNALS_BOOTSTRAP_SERVER": "x:1"}) == (
        "ANNALS_BOOTSTRAP_SERVER: there is no such setting; is ANNALS_BOOTSTRAP_SERVERS meant? (environment)"
    )
    assert refusal({"ANNALS_QUUX": "1"}) == "ANNALS_QUUX: there is no such setting (environment)"


def test_a_name_that_is_no_setting_is_shown_as_what_a_terminal_does_not_obey() -> None:
    assert refusal({"ANNALS_\x1b[31mX": "1"}) == "'ANNALS_\\x1b[31mX': there is no such setting (environment)"
    assert len(refusal({f"ANNALS_{'X' * 100_000}": "1"})) < 400


def test_variables_of_the_test_run_and_of_kubernetes_are_not_ours() -> None:
    environment = {
        "ANNALS_TEST_BOOTSTRAP": "x",
        "ANNALS_SERVICE_HOST": "10.0.0.1",
        "ANNALS_SERVICE_PORT_HTTP": "6066",
        "ANNALS_PORT": "tcp://10.0.0.1:6066",
        "ANNALS_PORT_6066_TCP_ADDR": "10.0.0.1",
        "HOME": "/",
    }
    assert load_settings({}, environment) == Settings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("partitons = 1", "partitons: there is no such setting; is partitions meant?"),
        ("partitions = 1.5", "ANNALS_PARTITIONS: a setting is a text, a whole number, or true or false"),
        ("partitions = true", "ANNALS_PARTITIONS: true is for a switch"),
        ('sasl_password = ["a", "b"]', "ANNALS_SASL_PASSWORD: a setting is a text"),
        ('partitions = ["4"]', "ANNALS_PARTITIONS: a setting is a text"),
        ("[kafka]\nx = 1", "'kafka': there is no such setting: settings are at the top of the file or in [annals]"),
        ("[annals]\npartitons = 1", "partitons: there is no such setting; is partitions meant?"),
        ("partitions = 1\n[annals]\npartitions = 2", "ANNALS_PARTITIONS: it is there twice, in [annals] and outside"),
        ("annals = 1", "annals: there is no such setting"),
        ("[annals.kafka]\npartitions = 1", "'kafka': there is no such setting: settings are at the top"),
        ("ANNALS_PARTITIONS = 1", "ANNALS_PARTITIONS: there is no such setting; is partitions meant?"),
        (f"partitions = {'9' * 10_000}", "is not TOML: Exceeds the limit"),
        (f"partitions = 1{'0' * 4_000}", "ANNALS_PARTITIONS: '1000"),
        (f"partitions = {'[' * 100_000}", "is no file of settings: its lists are nested too deep"),
        (f"bootstrap_servers = {'[' * 100_000}{']' * 100_000}", "its lists are nested too deep"),
        (f"x = {'{a=' * 50_000}", "its lists are nested too deep"),
        (f"a{'.a' * 3_000} = 1", "is no file of settings: a name in it has too many parts"),
        ("[a" + ' . "a" ' * 3_000 + "]", "a name in it has too many parts"),
        ("x = { 'a'" + ".'a'" * 3_000 + " = 1 }", "a name in it has too many parts"),
        (f"{'a' * 1_000_000} = 1", "there is no such setting"),
        ("".join(f"a{n} = 1\n" for n in range(1_001)), "it has 1001 members, and at most 1000 are taken"),
        ('"a\\u0000b" = 1', "'a\\x00b': there is no such setting"),
        ('data_dir = "a\\u0000b"', "has a null character"),
        ('data_dir = "~nobody-of-this-name/x"', "names the home of a user that does not exist"),
        (f'data_dir = "{"x" * 5_000}"', "is not a folder that can be used (File name too long)"),
        ("#" * ((1 << 20) + 1), "is too large"),
        ('partitions = "x"', "ANNALS_PARTITIONS: 'x' is not a whole number"),
        ("partitions = ", "is not TOML"),
        ("web_port = 1\nweb_host = [1]", "ANNALS_WEB_HOST: a setting is a text"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "annals.toml"
    file.write_text(text)
    line = refusal({"ANNALS_CONFIG": str(file)}).splitlines()[0]
    assert problem in line
    assert str(file) in line


def test_a_file_that_is_not_there_is_refused() -> None:
    assert refusal({"ANNALS_CONFIG": "/nowhere.toml"}) == (
        "ANNALS_CONFIG: '/nowhere.toml' cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("content", "secret"),
    [(HUSH, HUSH), (f"{HUSH}\n", HUSH), (f"{HUSH}\r\n", HUSH), (" x \n\n", " x \n"), (f"\ufeff{HUSH}\r\n", HUSH)],
)
def test_a_secret_can_come_from_a_file(tmp_path: Path, content: str, secret: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    by_variable = load_settings({}, {"ANNALS_SASL_PASSWORD_FILE": str(file)})
    by_option = load_settings({"sasl_password_file": str(file)}, {"ANNALS_SASL_PASSWORD": "of the environment"})
    assert by_variable.sasl_password.reveal() == by_option.sasl_password.reveal() == secret


def test_a_secret_given_in_two_ways_at_one_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(HUSH)
    said = refusal({"ANNALS_SASL_PASSWORD": HUSH, "ANNALS_SASL_PASSWORD_FILE": str(file)})
    assert said == "ANNALS_SASL_PASSWORD and ANNALS_SASL_PASSWORD_FILE: give one of them (environment)"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not UTF-8"), (b"x" * 65_537, "is too large")],
)
def test_a_file_that_holds_no_secret_is_refused_and_not_shown(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    said = refusal({"ANNALS_SASL_PASSWORD_FILE": str(file)})
    assert said.startswith("ANNALS_SASL_PASSWORD_FILE: ")
    assert problem in said
    assert "xxx" not in said


def test_a_secret_file_that_cannot_be_read_is_refused() -> None:
    assert "cannot be read: No such file" in refusal({"ANNALS_SASL_PASSWORD_FILE": "/nowhere"})


def test_a_secret_in_the_place_of_its_file_is_not_shown() -> None:
    said = "ANNALS_SASL_PASSWORD_FILE: what is given cannot be read: No such file or directory (environment)"
    assert refusal({"ANNALS_SASL_PASSWORD_FILE": HUSH}) == said


@pytest.mark.parametrize("name", ["SASL_PASSWORD", "SSL_KEY_PASSWORD", "SCHEMA_REGISTRY_PASSWORD", "API_TOKEN"])
def test_a_secret_in_another_encoding_is_refused(name: str) -> None:
    """What the environment has of bytes that are no UTF-8; goes red when it fails where it is sent, if at all."""
    said = f"ANNALS_{name}: what is given is not text in UTF-8 (environment)"
    assert refusal({f"ANNALS_{name}": f"{HUSH}\udcff"}) == said


@pytest.mark.parametrize("inside", ["\n", "\r\nx: ", "\0", "\x7f", "\x1b["])
def test_a_token_that_no_header_can_have_is_refused_and_not_shown(tmp_path: Path, inside: str) -> None:
    """Goes red when it fails where it is sent: `no API answers`, said the command, for a file of two lines."""
    file = tmp_path / "token"
    file.write_bytes(f"{HUSH}{inside}{HUSH}\n".encode())
    said = "what is given is not text in one line, without control characters"
    assert refusal({"ANNALS_API_TOKEN_FILE": str(file)}) == f"ANNALS_API_TOKEN: {said} (environment)"
    assert refusal({"ANNALS_API_TOKEN": " \n"}) == f"ANNALS_API_TOKEN: {said} (environment)"


def test_white_space_around_a_token_is_none_of_it() -> None:
    token = load_settings({}, {"ANNALS_API_TOKEN": f" {HUSH} \r\n"}).api_token
    assert token is not None
    assert token.reveal() == HUSH


def test_what_is_wrong_with_a_policy_of_snapshots_does_not_repeat_it() -> None:
    said = refusal({"ANNALS_READ_SNAPSHOTS": f"https://ada:{HUSH}@host/{'x' * 10_000}"})
    assert HUSH not in said
    assert len(said) < 400


def test_a_user_without_a_home_is_told_to_name_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a number that no user has, in a container; goes red by a RuntimeError, which is shown as a defect."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(SettingsError, match="ANNALS_CACHE_DIR: must be given, since this user has no home folder"):
        default_cache_dir({})


def test_a_secret_is_never_shown() -> None:
    settings = load_settings({}, SASL)
    shown = repr(settings) + str(settings) + f"{settings.sasl_password}" + str(dataclasses.asdict(settings))
    assert HUSH not in shown
    assert "Secret(***)" in shown
    assert HUSH not in refusal(SASL | {"ANNALS_PARTITIONS": "x"})
    assert settings.sasl_password == Secret(HUSH)
    assert hash(settings.sasl_password) == hash(Secret("another"))
    assert settings.sasl_password != HUSH
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("missing", ["ANNALS_SASL_USERNAME", "ANNALS_SASL_PASSWORD"])
def test_sasl_without_credentials_is_refused(missing: str) -> None:
    said = refusal({name: value for name, value in SASL.items() if name != missing})
    assert said == f"{missing}: must be given, since ANNALS_SECURITY_PROTOCOL is SASL_SSL"


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    assert refusal({"ANNALS_SSL_KEYFILE": str(key)}).startswith("ANNALS_SSL_CERTFILE: must be given")


def test_a_plain_connection_needs_no_more_than_addresses() -> None:
    assert client_options(Settings()) == {"bootstrap_servers": "127.0.0.1:9092", "security_protocol": "PLAINTEXT"}


def test_a_connection_by_sasl_and_tls_has_all_that_a_client_needs() -> None:
    options = client_options(load_settings({}, SASL | {"ANNALS_SASL_MECHANISM": "SCRAM-SHA-512"}))
    context = options.pop("ssl_context")
    assert context.check_hostname
    assert options == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ada",
        "sasl_plain_password": HUSH,
    }


@pytest.mark.parametrize("name", ["ANNALS_SSL_CAFILE", "ANNALS_SSL_CERTFILE"])
def test_a_tls_file_that_holds_something_else_is_refused_by_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file.pem"
    file.write_text("nothing of the kind")
    settings = load_settings({}, {"ANNALS_SECURITY_PROTOCOL": "SSL", name: str(file)})
    with pytest.raises(SettingsError, match=name):
        client_options(settings)


@pytest.mark.parametrize(
    ("servers", "local"),
    [
        ("127.0.0.1:9092", True),
        ("127.9.9.9:1,[::1]:2,localhost:3", True),
        ("127.0.0.1:9092,10.0.0.1:9092", False),
        ("kafka:9092", False),
        ("localhost.example.org:9092", False),
    ],
)
def test_loopback_is_known_by_every_address(servers: str, *, local: bool) -> None:
    assert is_loopback(Settings(bootstrap_servers=servers)) is local


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, []),
        ({"bootstrap_servers": "kafka:1"}, ["ANNALS_REPLICATION_FACTOR is 1"]),
        ({"bootstrap_servers": "kafka:1", "replication_factor": 3}, []),
        ({"sasl_password": Secret(HUSH)}, ["ANNALS_SASL_USERNAME and ANNALS_SASL_PASSWORD are not used"]),
        ({"ssl_cafile": Path("x")}, ["ANNALS_SSL_CAFILE and ANNALS_SSL_CERTFILE are not used"]),
        ({"api_jwks_file": Path("x")}, ["ANNALS_API_JWKS_FILE is set and ANNALS_API_JWT_AUDIENCE is not"]),
        ({"api_jwks_file": Path("x"), "api_jwt_audience": "annals"}, []),
        ({"api_jwks_file": Path("x"), "roles": "write"}, []),
        (
            {"bootstrap_servers": "kafka:1", "replication_factor": 3, "security_protocol": "SASL_PLAINTEXT"},
            ["ANNALS_SECURITY_PROTOCOL is SASL_PLAINTEXT"],
        ),
    ],
)
def test_what_was_hardly_meant_is_warned_about(changes: dict, warned: list[str]) -> None:
    found = warnings(Settings(**changes))
    assert len(found) == len(warned)
    for line, beginning in zip(found, warned, strict=True):
        assert line.startswith(beginning)
        assert HUSH not in line


def test_the_cache_folder_is_where_the_user_wants_such_folders() -> None:
    assert default_cache_dir({"XDG_CACHE_HOME": "/var/cache"}) == Path("/var/cache/annals")
    assert default_cache_dir({"XDG_CACHE_HOME": "relative"}) == Path("~/.cache/annals").expanduser()
    assert default_cache_dir({}) == Path("~/.cache/annals").expanduser()


def test_the_metadata_says_everything_that_the_reference_needs() -> None:
    for meta in settings_metadata():
        assert meta.help
        assert meta.variable == f"ANNALS_{meta.name.upper()}"
        assert meta.option == f"--{meta.name.replace('_', '-')}"
        assert meta.is_secret == (
            meta.name
            in {
                "sasl_password",
                "ssl_key_password",
                "schema_registry_password",
                "api_token",
            }
        )
        assert meta.is_switch == isinstance(meta.default, bool)
        if meta.default is not None:
            shown = str(int(meta.default) if isinstance(meta.default, bool) else meta.default)
            assert meta.parse(shown) == meta.default


def test_a_table_that_is_called_as_the_program_is_holds_settings(tmp_path: Path) -> None:
    file = tmp_path / "annals.toml"
    file.write_text('app_id = "outside"\n[annals]\npartitions = 7\n')
    settings = load_settings({}, {"ANNALS_CONFIG": str(file)})
    assert (settings.app_id, settings.partitions) == ("outside", 7)


@contextmanager
def pipe(tmp_path: Path, said: bytes | None) -> Iterator[Path]:
    """A pipe with a name; `said` is what somebody writes to it, None if nobody has it open."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if said is None:
        yield path
        return
    writer = os.open(path, os.O_RDWR)
    try:
        os.write(writer, said)
        yield path
    finally:
        os.close(writer)


@pytest.mark.parametrize("variable", ["ANNALS_CONFIG", "ANNALS_SASL_PASSWORD_FILE"])
def test_a_file_is_refused_by_name_whatever_it_is(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goes red by a test that never ends."""
    monkeypatch.setattr(files, "WITHIN_S", 0.2)
    assert refusal({variable: str(tmp_path)}).endswith("cannot be read: Is a directory" + of_file(variable))
    assert "is too large" in refusal({variable: "/dev/zero"})
    assert "cannot be read" in refusal({variable: "/proc/self/mem"})
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read: Too many levels" in refusal({variable: str(loop)})
    assert "has a null character" in refusal({variable: "a\0b"})
    assert "names the home of a user" in refusal({variable: "~nobody-of-this-name/x"})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "cannot be read: No such device" in refusal({variable: str(tmp_path / "socket")})
    with pipe(tmp_path, b"x") as path:
        assert "does not end: nothing more came within" in refusal({variable: str(path)})


def of_file(variable: str) -> str:
    return " (environment)" if variable.endswith("_FILE") else ""


def test_a_pipe_that_nobody_writes_to_holds_nothing(tmp_path: Path) -> None:
    with pipe(tmp_path, None) as path:
        assert load_settings({"config": str(path)}, {}) == Settings()
        assert "is empty" in refusal({"ANNALS_SASL_PASSWORD_FILE": str(path)})


def test_what_a_shell_makes_of_a_command_is_as_good_as_a_file() -> None:
    reading, writing = os.pipe()
    os.write(writing, HUSH.encode())
    os.close(writing)
    try:
        settings = load_settings({"sasl_password_file": f"/dev/fd/{reading}"}, {})
    finally:
        os.close(reading)
    assert settings.sasl_password == Secret(HUSH)


@pytest.mark.parametrize("name", ["SSL_CAFILE", "SSL_CERTFILE", "SSL_KEYFILE"])
def test_a_file_that_a_library_reads_is_one(tmp_path: Path, name: str) -> None:
    """Goes red by a test that never ends: OpenSSL waits for a pipe."""
    for path in (tmp_path, "/dev/zero", "/dev/null"):
        assert "is not a file that can be read (is no file)" in refusal({f"ANNALS_{name}": str(path)})
    with pipe(tmp_path, None) as path:
        assert "(is no file)" in refusal({f"ANNALS_{name}": str(path)})
    large = tmp_path / "large"
    with large.open("wb") as opened:
        opened.truncate(1 << 34)
    assert "(is too large" in refusal({f"ANNALS_{name}": str(large)})


def test_a_wrong_value_is_not_shown_at_length() -> None:
    line = refusal({"ANNALS_PARTITIONS": "9" * 10_000})
    assert "… (10000 characters) is not a whole number" in line
    assert len(line) < 400


@given(
    st.sampled_from(settings_metadata()),
    st.text(min_size=1) | st.from_regex(r"~\w*/?.*") | st.text("/.~\0:", min_size=1),
)
def test_no_value_is_more_than_refused(meta: SettingMeta, value: str) -> None:
    with suppress(SettingsError):
        load_settings({meta.name: value}, {})


def test_a_connection_that_begins_goes_by_the_tls_files_as_they_are_or_were_when_good_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.settings.watched.LOOK_S", 0.0)
    authority, former = tmp_path / "authority.pem", certificate(new_key())
    authority.write_bytes(former)
    context = client_options(Settings(security_protocol="SSL", ssl_cafile=authority))["ssl_context"]

    def believed() -> list[str]:
        begun = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        return [each["serialNumber"] for each in begun.context.get_ca_certs()]

    (before,) = believed()
    authority.write_bytes(certificate(new_key()))
    (after,) = believed()
    assert after != before
    authority.write_text("nothing of the kind")
    assert believed() == [after]
    authority.unlink()
    assert believed() == [after]
    authority.write_bytes(former)
    assert believed() == [before]
