"""A worker whose store is damaged on disk folds the journal anew: nobody's command waits for a person."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from processes import ENTRY_POINT, free_port, is_ready, own_environment, page_of, running, until

pytestmark = pytest.mark.broker

PERSONS = 3_000
DAMAGED = 'annals_stores_damaged_total{kind="person"}'


class Deployment:
    """One worker at a time on one partition of each kind, and its data folder."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.store = folder / "data" / f"{prefix}annals" / "person" / "0"
        self.environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=bootstrap,
            ANNALS_TOPIC_PREFIX=prefix,
            ANNALS_PARTITIONS="1",
            ANNALS_CREATE_TOPICS="1",
            ANNALS_DATA_DIR=str(folder / "data"),
            ANNALS_WEB_PORT=str(self.port),
        )

    @contextmanager
    def worker(self) -> Iterator[None]:
        with running([ENTRY_POINT, "worker"], self.environment, self.folder / "worker.log") as self.process:
            self.until(lambda: is_ready(self.port), "ready")
            yield

    def until(self, is_so: Callable[[], Any], what: str) -> Any:
        return until(is_so, self.process, self.folder / "worker.log", what)

    def damages(self) -> float:
        metrics = self.until(lambda: page_of(self.port, "/metrics"), "its metrics are answered")
        (line,) = (line for line in metrics.splitlines() if line.startswith(DAMAGED))
        return float(line.rpartition(" ")[2])

    def statuses(self, type_name: str, of: Callable[[int], dict[str, str]], command: str = "") -> list[str]:
        lines = self.folder / "commands.jsonl"
        with lines.open("w") as file:
            for number in range(PERSONS):
                said = {"kind": "person", "type": type_name, "aggregate_id": f"p-{number}", "data": of(number)}
                file.write(json.dumps({**said, "id": f"{command or type_name}-{number}"}) + "\n")
        sent = subprocess.run(
            [ENTRY_POINT, "send", str(lines), "--timeout", "60"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert sent.returncode == 0, sent.stderr
        return [json.loads(line)["status"] for line in sent.stdout.splitlines()]


@pytest.fixture
def deployment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    """A deployment whose worker has registered 3,000 persons, and ended."""
    made = Deployment(bootstrap, topic_prefix, tmp_path)
    with made.worker():
        assert made.statuses("RegisterPerson", lambda number: {"name": f"Ada {number}"}) == ["accepted"] * PERSONS
    return made


def invert(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 64] = bytes(byte ^ 0xFF for byte in content[at : at + 64])
    path.write_bytes(content)


def largest(store: Path) -> Path:
    """The table with most of the data: a store that was opened once more has others."""
    return max(store.glob("*.sst"), key=lambda table: table.stat().st_size)


def one_block(store: Path) -> None:
    table = largest(store)
    invert(table, table.stat().st_size // 3)


def many_blocks(store: Path) -> None:
    table = largest(store)
    for at in range(0, table.stat().st_size - 10_000, 4_096):
        invert(table, at)


def without_tables(store: Path) -> None:
    for table in store.glob("*.sst"):
        table.unlink()


@pytest.mark.parametrize("damage", [one_block, many_blocks, without_tables])
def test_a_damaged_store_is_folded_anew_and_every_command_is_answered(
    damage: Callable[[Path], None], deployment: Deployment
) -> None:
    damage(deployment.store)
    with deployment.worker():
        assert deployment.statuses("RenamePerson", lambda number: {"name": f"Bea {number}"}) == ["accepted"] * PERSONS
        again = deployment.statuses("RegisterPerson", lambda number: {"name": f"Ada {number}"})
        assert again == ["duplicate"] * PERSONS
        assert deployment.damages() == 1
    assert "the store is damaged" in (deployment.folder / "worker.log").read_text()
    assert deployment.store.with_name("damaged.0").is_dir()
