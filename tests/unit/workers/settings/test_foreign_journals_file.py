"""The file of other deployments: what it may say, and what is said of what is wrong, secrets aside."""

from pathlib import Path

import pytest

from annals.workers.settings import SettingsError, foreign_deployments, load_settings


def loaded(folder: Path, text: str, **more: str) -> dict:
    file = folder / "foreign.toml"
    file.write_text(text)
    settings = {"ANNALS_DEPLOYMENT": "east", "ANNALS_FOREIGN_JOURNALS_FILE": str(file), **more}
    return foreign_deployments(load_settings({}, {name: value for name, value in settings.items() if value}))


def test_without_a_file_there_are_none() -> None:
    assert foreign_deployments(load_settings({}, {})) == {}


def test_another_prefix_of_the_same_cluster_is_read_with_this_deployments_connection(tmp_path: Path) -> None:
    found = loaded(tmp_path, '[west]\ntopic_prefix = "w."\n', ANNALS_TOPIC_PREFIX="e.")
    assert found.keys() == {"west"}
    assert found["west"].topic_prefix == "w."
    ours = {"bootstrap_servers": "one:9092", "request_timeout_ms": 5}
    assert found["west"].options(ours) == ours


def test_another_cluster_has_a_connection_of_its_own_and_none_of_this_ones(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden\n")
    text = f"""
    [west]
    bootstrap_servers = "other:9093"
    security_protocol = "SASL_PLAINTEXT"
    sasl_username = "annals"
    sasl_password_file = "{secret}"
    """
    found = loaded(tmp_path, text, ANNALS_TOPIC_PREFIX="e.", ANNALS_BOOTSTRAP_SERVERS="one:9092")["west"]
    assert found.topic_prefix == ""
    ours = {"bootstrap_servers": "one:9092", "security_protocol": "SSL", "ssl_context": 1, "request_timeout_ms": 5}
    assert found.options(ours) == {
        "bootstrap_servers": "other:9093",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "annals",
        "sasl_plain_password": "hidden",
        "request_timeout_ms": 5,
    }
    assert "hidden" not in repr(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[west\n", "is not TOML"),
        ('west = "w."\n', "'west' is no table"),
        ('[West]\ntopic_prefix = "w."\n', "'West' is no table whose name has 1 to 64"),
        ('[east]\ntopic_prefix = "w."\n', r"\[east\] is this deployment itself"),
        ("[west]\n", r"\[west\] has this deployment's own topics"),
        ('[west]\ntopic_prefix = ""\n', r"\[west\] has this deployment's own topics"),
        ('[west]\ntopic_prefix = "*"\n', r"\[west\]: topic_prefix: '\*' is not "),
        ('[west]\nprefix = "w."\n', r"\[west\] has 'prefix', and may have "),
        ("[west]\ntopic_prefix = 1\n", r"\[west\]: topic_prefix is not a text"),
        (
            '[west]\ntopic_prefix = "w."\nsasl_username = "u"\n',
            "says how to connect and not to which bootstrap_servers",
        ),
        ('[west]\nbootstrap_servers = "nowhere"\n', r"\[west\]: bootstrap_servers: 'nowhere' is not "),
        (
            '[west]\nbootstrap_servers = "a:1"\nsecurity_protocol = "SASL_SSL"\n',
            r"\[west\]: sasl_username: must be given, since security_protocol is SASL_SSL\n",
        ),
        (
            '[west]\nbootstrap_servers = "a:1"\nsasl_password = "x"\nsasl_password_file = "y"\n',
            r"\[west\]: sasl_password and sasl_password_file: give one of them$",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_deployment(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"ANNALS_FOREIGN_JOURNALS_FILE: .*{said}"):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[west]\ntopic_prefx = "w."\n', "Is topic_prefix meant?"),
        ('[west]\nbootstrap_server = "a:1"\n', "Is bootstrap_servers meant?"),
        ('[west]\nbootstrap_servers = 1\nsasl_username = "u"\n', "bootstrap_servers is not a text"),
        ('[east]\nsasl_username = "u"\n', "is this deployment itself (ANNALS_DEPLOYMENT)"),
        ('[west]\nsasl_username = "u"\n', "says how to connect and not to which bootstrap_servers"),
    ],
)
def test_one_fault_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    """Goes red when what is missing beside a misspelt name is told, too: it is what was misspelt."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.endswith(said)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    text = '[west]\nbootstrap_servers = "a:1"\nsasl_password = "hidden\\n"\nsecurity_protocol = "SASL_SSL"\n'
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert "hidden" not in str(caught.value)


def test_this_deployment_must_have_an_id(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ANNALS_DEPLOYMENT: must be given, since ANNALS_FOREIGN_"):
        loaded(tmp_path, '[west]\ntopic_prefix = "w."\n', ANNALS_DEPLOYMENT="")
