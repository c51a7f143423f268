"""docker-compose.yml against the Compose Specification, and against what this project promises to operators."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from annals.workers.api.callers.credentials import check_credentials, is_open, peer_key_of, tokens_of
from annals.workers.api.http.routing import Scope
from annals.workers.api.serving.metrics import ApiMetrics
from annals.workers.dead_letters.watch import DeadLetterMetrics
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.projections.metrics import ProjectionMetrics
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.reacting.telemetry import ReactionMetrics
from annals.workers.reader_api import url_of
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.rekeying.telemetry import RekeyingProjectionMetrics
from annals.workers.settings import Settings, load_settings
from annals.workers.telemetry import Metrics
from annals.workers.webhooks.telemetry import WebhookMetrics

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = [name for name, service in SERVICES.items() if service.get("command") == ["worker"]]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def mounts(service: dict[str, Any]) -> dict[str, str]:
    return dict(reversed(volume.split(":")[:2]) for volume in service.get("volumes", []))


def test_the_file_is_valid_by_the_compose_specification() -> None:
    # The schema's own $schema is spelt with https, which no validator knows; its words are those of draft 7.
    jsonschema.Draft7Validator.check_schema({**SCHEMA, "$schema": "http://json-schema.org/draft-07/schema#"})
    assert [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    "broken",
    [
        {"services": {"kafka": {"image": 4}}},
        {"services": {"kafka": {"imag": "apache/kafka"}}},
        {"services": {"kafka": {"healthcheck": {"test": 1}}}},
        {"services": {"kafka": {"depends_on": {"topics": {"condition": "service_done"}}}}},
        {"volume": {}},
    ],
)
def test_the_schema_refuses_what_is_wrong(broken: dict[str, Any]) -> None:
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(broken))


def test_there_are_a_broker_topics_two_workers_and_prometheus() -> None:
    assert len(WORKERS) == 2
    assert set(SERVICES) == {"kafka", "topics", "prometheus", *WORKERS}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", image), image


def test_the_images_of_the_dockerfile_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert set(bases) == {"python:3.12-slim-bookworm"}


def test_kafka_is_the_official_image_in_kraft_mode_of_the_version_that_the_tests_run_with() -> None:
    kafka = SERVICES["kafka"]
    coordinates = json.loads((ROOT / "workers/tools/broker/jars.json").read_text())["coordinates"]
    assert kafka["image"] == "apache/kafka:" + re.match(r"org\.apache\.kafka:kafka_[\d.]+:([\d.]+)", coordinates)[1]
    assert kafka["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_the_annals_image_has_the_projects_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in ("topics", *WORKERS)} == {f"annals:{version}"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "topics"])
def test_every_service_that_stays_has_a_health_check_and_is_restarted(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_healthy_when_it_is_ready(name: str) -> None:
    assert "/health/ready" in SERVICES[name]["healthcheck"]["test"][-1]
    assert "/health/ready" in re.search(r"HEALTHCHECK.*\n\s+CMD (.*)", DOCKERFILE)[1]


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_waits_for_a_healthy_broker_and_for_its_topics(name: str) -> None:
    conditions = {other: needed["condition"] for other, needed in SERVICES[name]["depends_on"].items()}
    assert conditions == {"kafka": "service_healthy", "topics": "service_completed_successfully"}


def test_the_topics_are_created_once_by_a_healthy_broker() -> None:
    topics = SERVICES["topics"]
    assert topics["command"] == ["topics", "create"]
    assert topics["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert topics["restart"] == "no"


@pytest.mark.parametrize(("name", "folder"), [("kafka", "/var/lib/kafka/data"), ("prometheus", "/prometheus")])
def test_what_must_last_is_on_a_named_volume(name: str, folder: str) -> None:
    assert mounts(SERVICES[name])[folder] in COMPOSE["volumes"]


def test_kafka_writes_where_its_volume_is() -> None:
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] in mounts(SERVICES["kafka"])


def test_each_worker_has_a_volume_of_its_own_where_the_image_keeps_data() -> None:
    folder = re.search(r"ANNALS_DATA_DIR=(\S+)", DOCKERFILE)[1]
    volumes = [mounts(SERVICES[name])[folder] for name in WORKERS]
    assert len(set(volumes)) == len(WORKERS)
    assert set(volumes) <= set(COMPOSE["volumes"])
    assert f"VOLUME {folder}\n" in DOCKERFILE


def test_the_workers_agree_on_all_but_who_they_are() -> None:
    first, second = (dict(SERVICES[name]["environment"]) for name in WORKERS)
    for own in ("ANNALS_INSTANCE_ID", "ANNALS_API_ADVERTISED_URL"):
        assert first.pop(own) != second.pop(own)
    assert first == second
    shared = COMPOSE["x-environment"].items()
    assert shared <= first.items()
    assert shared <= SERVICES["topics"]["environment"].items()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the secrets were made as the page says."""
    page = (ROOT / "docs/how-to/run-with-docker.md").read_text()
    commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0]
    folder = tmp_path_factory.mktemp("checkout")
    subprocess.run(["sh", "-euc", f"umask 002\n{commands}"], cwd=folder, check=True)
    return folder


def settings_of(name: str, folder: Path) -> Settings:
    """The settings that a service has: those of the image and its own, with its secrets where they are here."""
    service = SERVICES[name]
    of_image = dict(re.findall(r"(ANNALS_\w+)=(\S+)", DOCKERFILE))
    files = {f"/run/secrets/{each}": str(folder / COMPOSE["secrets"][each]["file"]) for each in service["secrets"]}
    given = of_image | service["environment"]
    return load_settings(environment={variable: files.get(value, value) for variable, value in given.items()})


@pytest.mark.parametrize("name", ["topics", *WORKERS])
def test_every_setting_is_taken_and_no_worker_refuses_to_start(name: str, secrets: Path) -> None:
    check_credentials(settings_of(name, secrets))


def test_nobody_reads_a_secret_on_this_machine_but_its_owner_and_the_containers_do(secrets: Path) -> None:
    assert (secrets / "deploy/secrets").stat().st_mode & 0o077 == 0
    for each in COMPOSE["secrets"].values():
        assert (secrets / each["file"]).stat().st_mode & 0o777 == 0o444  # of another user's number, in a container
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_workers_reach_each_others_api_and_have_one_key(secrets: Path) -> None:
    """Goes red where the API is on the containers' loopback: each worker answers for its own partitions alone."""
    keys = set()
    for name in WORKERS:
        settings = settings_of(name, secrets)
        keys.add(peer_key_of(settings))
        assert settings.api_host == "0.0.0.0"
        assert url_of(settings, settings.api_port) == f"http://{name}:{settings.api_port}"
        assert not is_open(settings)
    assert len(keys) == 1
    assert None not in keys


async def test_a_command_and_this_machine_reach_the_api_with_the_token(secrets: Path) -> None:
    asking = settings_of("topics", secrets)
    serving = settings_of(WORKERS[0], secrets)
    assert asking.api_url == serving.api_advertised_url
    (tokens,) = tokens_of(serving)
    assert asking.api_token is not None
    principal = tokens.find(asking.api_token.reveal())
    assert principal is not None
    assert {Scope.READ.value, Scope.WRITE.value, Scope.ADMIN.value} <= principal.scopes
    ports = [port.rpartition(":")[2] for name in WORKERS for port in SERVICES[name]["ports"]]
    assert ports == [str(port) for _ in WORKERS for port in (6066, serving.api_port)]
    assert f"127.0.0.1:{Settings().api_port}:{serving.api_port}" in SERVICES[WORKERS[0]]["ports"]


def test_no_port_is_open_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    assert len({port.rsplit(":", 1)[0] for port in published}) == len(published)


def test_every_volume_is_used() -> None:
    used = {source for service in SERVICES.values() for source in mounts(service).values()}
    assert {source for source in used if not source.startswith("./")} == set(COMPOSE["volumes"])
    assert [source for source in used if source.startswith("./") and not (ROOT / source).is_file()] == []


def test_the_image_runs_as_nobody_special() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == re.findall(r"useradd --uid (\d+) ", DOCKERFILE) == ["10001"]


def test_both_steps_of_the_image_install_the_same() -> None:
    first, second = (set(line.split()) for line in re.findall(r"^RUN (uv sync .*)", DOCKERFILE, re.MULTILINE))
    assert first ^ second == {"--no-install-project", "--no-editable"}


def test_the_image_is_installed_by_the_uv_that_the_makefile_pins() -> None:
    pinned = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"uv=={pinned}\n" in DOCKERFILE


def test_the_image_gets_every_package_and_nothing_that_it_does_not_copy() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--)(.*)", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    assert {"schemas", "topics", "agents", "workers"} <= copied
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(allowed) == copied


def wheel_fits(name: str) -> bool:
    """Does a wheel's file name say that Python 3.12 on Debian's x86-64 can take it as it is?"""
    python, abi, platform = name.removesuffix(".whl").split("-")[-3:]
    if platform == "any":
        return "py3" in python
    if "x86_64" not in platform or "manylinux" not in platform:
        return False
    return "cp312" in python or (abi == "abi3" and any(int(minor) <= 12 for minor in re.findall(r"cp3(\d+)", python)))


def test_a_slim_image_need_not_compile_anything() -> None:
    lock = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    extras = set(re.findall(r"--extra (\S+)", DOCKERFILE))
    assert {"query", "subscribers"} <= extras  # or filters in CEL and questions in SQL are refused
    optional = lock["annals"]["optional-dependencies"]
    needed, waiting = set(), ["annals", *(each["name"] for extra in extras for each in optional[extra])]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [
                line["name"] for line in lock[name].get("dependencies", ()) if "win32" not in line.get("marker", "")
            ]
    without = [
        name
        for name in sorted(needed - {"annals"})
        if not any(wheel_fits(wheel["url"].rsplit("/", 1)[1]) for wheel in lock[name].get("wheels", ()))
    ]
    assert without == []


def test_prometheus_asks_every_worker() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    port = re.search(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)[1]
    assert job["static_configs"] == [{"targets": [f"{name}:{port}" for name in WORKERS]}]
    assert job["metrics_path"] == "/metrics"
    assert {f"/etc/prometheus/{file}" for file in config["rule_files"]} <= set(mounts(SERVICES["prometheus"]))


def test_every_alert_asks_for_metrics_and_labels_that_a_worker_has() -> None:
    families: list[object] = [Metrics(), ReadingMetrics()]
    beside = (
        ApiMetrics,
        DeadLetterMetrics,
        InvalidRecords,
        ProjectionMetrics,
        PublishMetrics,
        ReactionMetrics,
        RekeyingProjectionMetrics,
        WebhookMetrics,
    )
    families += [each(CollectorRegistry()) for each in beside]
    labels = {
        family.name + ("_total" if family.type == "counter" else ""): set(metric._labelnames)
        for metric in (metric for each in families for metric in vars(each).values())
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
    }
    labels |= {name.removesuffix("_total") + "_created": of for name, of in labels.items() if name.endswith("_total")}
    rules = [
        rule for group in yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]
    assert rules
    for rule in rules:
        names = re.findall(r"annals_\w+", rule["expr"])
        assert set(names) <= set(labels), rule["alert"]
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - {"instance"}
        assert shown <= {label for name in names for label in labels[name]}, rule["alert"]
