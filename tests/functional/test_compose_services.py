"""Each annals service of docker-compose.yml, by its own command and environment, as a process beside `annals broker`.

There is no Docker engine here. What a container would add is put in its place: the broker's address, the volume's
folder, the secrets' folder, the ports (both workers have the same ones, each in its own container), and this
environment's Python.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from processes import ENTRY_POINT, free_port, own_environment, running, until, until_over

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IMAGE_PORT = "6066"

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    log = tmp_path / "broker.log"
    command = [ENTRY_POINT, "broker", "--port", "0", "--data-dir", tmp_path / "broker"]
    with running(command, own_environment(), log) as process:
        ready = until(lambda: re.search(r"^ready (\S+)$", log.read_text(), re.MULTILINE), process, log, "annals broker")
        yield ready[1]


def as_in_its_container(name: str, broker: str, volume: Path, port: int) -> dict[str, str]:
    """The image's environment and the service's, with what only a container has put in its place."""
    image = re.findall(r"(ANNALS_\w+)=(\S+)", DOCKERFILE)
    environment = {**dict(image), **SERVICES[name]["environment"]}
    assert environment["ANNALS_DATA_DIR"].startswith("/var/")
    page, secrets = (ROOT / "docs/how-to/run-with-docker.md").read_text(), volume.parent
    if not (secrets / "deploy").exists():  # by the commands of the page
        subprocess.run(["bash", "-euc", page.split("```sh\n")[1].split("```")[0]], cwd=secrets, check=True)
    api_port = str(free_port())
    return {
        **own_environment(),
        **{name: said.replace("/run/secrets", str(secrets / "deploy/secrets")) for name, said in environment.items()},
        "ANNALS_API_PORT": api_port,
        "ANNALS_API_ADVERTISED_URL": f"http://127.0.0.1:{api_port}",
        "ANNALS_BOOTSTRAP_SERVERS": broker,
        "ANNALS_DATA_DIR": str(volume),
        "ANNALS_WEB_HOST": "127.0.0.1",
        "ANNALS_WEB_PORT": str(port),
    }


def is_healthy(name: str, port: int) -> bool:
    """The service's own health check, run once."""
    kind, program, *arguments = SERVICES[name]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    check = [sys.executable, *(argument.replace(IMAGE_PORT, str(port)) for argument in arguments)]
    return subprocess.run(check, capture_output=True, timeout=600, check=False).returncode == 0


@pytest.mark.slow
def test_topics_are_made_and_both_workers_become_healthy_and_end_cleanly(broker: str, tmp_path: Path) -> None:
    topics = as_in_its_container("topics", broker, tmp_path / "topics", free_port())
    made = subprocess.run(
        [ENTRY_POINT, *SERVICES["topics"]["command"]],
        env=topics,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    ports = {name: free_port() for name in ("worker-1", "worker-2")}
    logs = {name: tmp_path / f"{name}.log" for name in ports}
    volumes = {name: tmp_path / name for name in ports}

    def worker(name: str) -> Any:
        environment = as_in_its_container(name, broker, volumes[name], ports[name])
        return running([ENTRY_POINT, *SERVICES[name]["command"]], environment, logs[name])

    assert not is_healthy("worker-1", ports["worker-1"]), "the check must fail where nothing answers"
    with worker("worker-1") as first, worker("worker-2") as second:
        processes = {"worker-1": first, "worker-2": second}
        for name, process in processes.items():
            until(lambda name=name: is_healthy(name, ports[name]), process, logs[name], name)
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in processes.items():
            assert until_over(process, logs[name]) == 0, logs[name].read_text()[-4000:]


def test_a_worker_without_topics_refuses_to_start_and_names_the_command_that_makes_them(
    broker: str, tmp_path: Path
) -> None:
    environment = as_in_its_container("worker-1", broker, tmp_path / "data", free_port())
    refused = subprocess.run(
        [ENTRY_POINT, *SERVICES["worker-1"]["command"]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "annals topics create" in refused.stderr
