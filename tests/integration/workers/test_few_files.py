"""A worker under a limit of open files: it raises the soft one, and says by number when the hard one is too low."""

import resource
from pathlib import Path

import psutil
import pytest

from processes import ENTRY_POINT, answer_of, free_port, own_environment, running, until

pytestmark = pytest.mark.broker


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path, port: int) -> dict[str, str]:
    return own_environment(
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=topic_prefix,
        ANNALS_PARTITIONS="4",
        ANNALS_CREATE_TOPICS="1",
        ANNALS_DATA_DIR=str(tmp_path / "data"),
        ANNALS_WEB_PORT=str(port),
    )


def readiness(port: int) -> tuple[int, str]:
    status, body = answer_of(f"http://127.0.0.1:{port}/health/ready")
    return status, body.decode()


def refused(port: int, words: str) -> str:
    """What readiness says where it is refused with these words; empty: not yet."""
    status, said = readiness(port)
    return said if status == 503 and words in said else ""


def limit(soft: int, hard: int) -> dict[str, object]:
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))}


def test_the_soft_limit_is_raised(environment: dict[str, str], port: int, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with running([ENTRY_POINT, "worker"], environment, log, **limit(128, 4_000)) as process:
        until(lambda: readiness(port)[0] == 200, process, log, "ready")
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) > 128
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["3908", "4000"]
    assert "Too many open files" not in log.read_text()


def test_a_hard_limit_that_is_too_low_is_named_by_number(
    environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    with running([ENTRY_POINT, "worker"], environment, log, **limit(128, 300)) as process:
        said = until(lambda: refused(port, "28 shards need"), process, log, "says why it is not ready")
    assert "may have 300" in said
    assert "Too many open files" not in log.read_text()


def test_the_process_that_reads_raises_its_own_soft_limit(
    environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    settings = {**environment, "ANNALS_ROLES": "write,read", "ANNALS_API_PORT": "0"}
    with running([ENTRY_POINT, "worker"], settings, log, **limit(128, 4_000)) as process:
        until(lambda: readiness(port)[0] == 200, process, log, "ready")
        both = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
        limits = [Path(f"/proc/{pid}/limits").read_text().splitlines() for pid in both]
        files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in both]
    found = [line.split()[3:5] for lines in limits for line in lines if line.startswith("Max open files")]
    assert found == [["3908", "4000"], ["4000", "4000"]]  # clients of the API have files beside those of the shards
    assert min(files) > 128
    assert "Too many open files" not in log.read_text()


def test_a_hard_limit_that_is_too_low_to_read_is_named_by_number(
    environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    settings = {**environment, "ANNALS_ROLES": "write,read", "ANNALS_API_PORT": "0"}
    with running([ENTRY_POINT, "worker"], settings, log, **limit(128, 300)) as process:
        said = until(lambda: refused(port, "read: 28 shards need"), process, log, "says why it is not ready")
    assert "may have 300" in said
    assert "Too many open files" not in log.read_text()
