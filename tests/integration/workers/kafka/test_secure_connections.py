"""TLS with client certificates, SASL and permissions: what the connection settings are for, against a real broker."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from annals.workers.kafka.admin.provisioning import BrokersUnreachableError, NotPermittedError, check, create
from annals.workers.settings import Secret, Settings, load_settings
from annals.workers.tools.broker import Broker
from processes import running, until

pytestmark = [
    pytest.mark.broker,
    # aiokafka closes a TLS transport and does not wait until it is closed: the loop may end before
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TLS = Path(__file__).parents[2] / "tls"
ANNALS = Path(sys.executable).with_name("annals")
PASSWORD = "correct-horse"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SECURE = {
    "listener.security.protocol.map": "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "listener.name.client.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": f'{LOGIN} user_ada="{PASSWORD}" user_bob="{PASSWORD}";',
    "ssl.keystore.type": "PEM",
    "ssl.keystore.location": str(TLS / "broker.pem"),
    "ssl.truststore.type": "PEM",
    "ssl.truststore.location": str(TLS / "authority.pem"),
    "ssl.client.auth": "required",
    "listener.name.client.ssl.client.auth": "required",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # The broker itself, which comes without a name, and one of the two users.
    "super.users": "User:ANONYMOUS;User:ada",
}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Settings]:
    """The settings of a user who may do everything, at a broker that believes nobody without proof."""
    with Broker(tmp_path_factory.mktemp("secure"), cache_dir=cache_dir, properties=SECURE) as broker:
        yield Settings(
            bootstrap_servers=broker.bootstrap,
            partitions=1,
            security_protocol="SASL_SSL",
            sasl_username="ada",
            sasl_password=Secret(PASSWORD),
            ssl_cafile=TLS / "authority.pem",
            ssl_certfile=TLS / "client.pem",
            ssl_keyfile=TLS / "client-key.pem",
            ssl_key_password=Secret("of-the-key"),
        )


def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """The same as environment variables, the secrets in files."""
    for name, content in (("password", PASSWORD), ("key-password", "of-the-key")):
        (tmp_path / name).write_text(content + "\n")
    return {
        "ANNALS_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "ANNALS_PARTITIONS": "1",
        "ANNALS_SECURITY_PROTOCOL": "SASL_SSL",
        "ANNALS_SASL_USERNAME": "ada",
        "ANNALS_SASL_PASSWORD_FILE": str(tmp_path / "password"),
        "ANNALS_SSL_CAFILE": str(TLS / "authority.pem"),
        "ANNALS_SSL_CERTFILE": str(TLS / "client.pem"),
        "ANNALS_SSL_KEYFILE": str(TLS / "client-key.pem"),
        "ANNALS_SSL_KEY_PASSWORD_FILE": str(tmp_path / "key-password"),
    }


def test_a_user_with_every_proof_creates_and_checks_by_the_command_line(secure: Settings, tmp_path: Path) -> None:
    variables = environment(secure, tmp_path)
    assert load_settings({}, variables) == secure
    for command in ("create", "check"):
        result = subprocess.run(
            [ANNALS, "topics", command], env=variables, capture_output=True, text=True, timeout=600, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert PASSWORD not in result.stdout


async def test_the_probes_prove_themselves_too(secure: Settings) -> None:
    report = await check(secure, probes=True)
    assert set(report.probes.values()) == {"ok"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"sasl_password": Secret("wrong-horse")},
            r"refuses the login \(.*[Aa]uthentication failed.*ANNALS_SASL_PASSWORD",
        ),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, r"refuses the login .*ANNALS_SASL_MECHANISM"),
        ({"ssl_cafile": None}, "no TLS connection .*certificate verify failed.*ANNALS_SSL_CAFILE"),
        ({"ssl_certfile": None, "ssl_keyfile": None}, "ANNALS_SSL_CERTFILE"),
        ({"security_protocol": "PLAINTEXT"}, "ANNALS_SECURITY_PROTOCOL, which is PLAINTEXT"),
        ({"security_protocol": "SASL_PLAINTEXT"}, "ANNALS_SECURITY_PROTOCOL, which is SASL_PLAINTEXT"),
    ],
)
async def test_without_a_proof_the_error_says_why_and_shows_no_secret(
    secure: Settings, changes: dict, reason: str
) -> None:
    with pytest.raises(BrokersUnreachableError, match=reason) as caught:
        await check(dataclasses.replace(secure, **changes))
    assert "horse" not in str(caught.value)
    assert "annals broker" not in str(caught.value)


@pytest.mark.parametrize("command", ["send", "verify", "worker"])
def test_every_command_says_why_it_is_refused(secure: Settings, tmp_path: Path, command: str) -> None:
    variables = environment(secure, tmp_path) | {"ANNALS_DATA_DIR": str(tmp_path), "ANNALS_WEB_PORT": "0"}
    (tmp_path / "password").write_text("wrong-horse")
    log = tmp_path / "log"
    with running([ANNALS, command], variables, log, stdin=subprocess.DEVNULL) as process:
        if command != "worker":
            assert process.wait(60) == 2
        else:
            until(lambda: "refuses the login" in log.read_text(), process, log, "it says why it waits")
    assert "refuses the login" in log.read_text()
    assert "horse" not in log.read_text()


async def test_what_a_user_may_not_do_is_told(secure: Settings) -> None:
    bob = dataclasses.replace(secure, sasl_username="bob", topic_prefix="bob.")
    for ask, topics in ((check, "bob.commands.agent and 28 more"), (create, "bob.audit and 46 more")):
        # Whether it is there, the brokers do not say. Without what only reading needs a worker that decides starts.
        with pytest.raises(NotPermittedError, match=rf"^{re.escape(topics)} topics: the user may not see"):
            await ask(bob)
