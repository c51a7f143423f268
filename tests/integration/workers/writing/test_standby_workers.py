"""Workers that are standbys of one another: who is killed is followed by one that is warm, and nothing is lost."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from people import People, statuses
from processes import ENTRY_POINT, free_port, own_environment, page_of, running, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

PERSONS = 400
PARTITIONS = 2
TAIL = 20  # offsets, where a cold store would have some hundreds to fold


class Worker:
    """One of the workers, with a data folder that it keeps."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        folder.mkdir()
        self.data, self.folder, self.starts, self.port = folder / "data", folder, 0, free_port()
        self.environment = {**environment, "ANNALS_DATA_DIR": str(self.data), "ANNALS_WEB_PORT": str(self.port)}

    @contextmanager
    def alive(self) -> Iterator[Worker]:
        self.starts += 1
        self.log = self.folder / f"worker-{self.starts}.log"
        with running([ENTRY_POINT, "worker"], self.environment, self.log) as process:
            self.process: subprocess.Popen[bytes] = process
            self.until(lambda: page_of(self.port, "/health/ready"), "ready")
            yield self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def until(self, is_so: Callable[[], Any], what: str) -> None:
        until(is_so, self.process, self.log, what)

    def metric(self, name: str) -> dict[int, float]:
        """Of each partition of `person`."""
        lines = [
            line for line in page_of(self.port, "/metrics").splitlines() if line.startswith(f'{name}{{kind="person"')
        ]
        return {int(line.split('partition="')[1].split('"')[0]): float(line.split()[-1]) for line in lines}

    def owned(self) -> set[int]:
        return {partition for partition, is_open in self.metric("annals_shard_open").items() if is_open}

    def warm(self) -> set[int]:
        """What it is a standby of, and has folded to the end."""
        lag = self.metric("annals_standby_lag")
        standing = self.metric("annals_standby_open")
        return {partition for partition, follows in standing.items() if follows and lag.get(partition) == 0}

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        said = [json.loads(line) for line in lines]
        return [each for each in said if each["event"] == event and each.get("kind", "person") == "person"]


class Deployment(People):
    """Two workers at the most on two partitions of each kind, which are standbys of one another."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=bootstrap,
            ANNALS_TOPIC_PREFIX=prefix,
            ANNALS_PARTITIONS=str(PARTITIONS),
            ANNALS_CREATE_TOPICS="1",
            ANNALS_STANDBY_REPLICAS="1",
            ANNALS_RESTORE_POINT_EVENTS="0",
            ANNALS_LOG_FORMAT="json",
        )
        super().__init__(environment, folder, PERSONS, within_s=90)

    def worker(self, name: str) -> Worker:
        return Worker(self.environment, self.folder / name)


@pytest.fixture
def deployment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(bootstrap, topic_prefix, tmp_path)


def until_shared(owner: Worker, standby: Worker) -> None:
    everything = set(range(PARTITIONS))
    owner.until(lambda: owner.owned() and owner.owned() | standby.owned() == everything, "shared")
    standby.until(lambda: standby.warm() == owner.owned() and owner.warm() == standby.owned(), "warm")


def require_unfenced(*workers: Worker) -> None:
    for worker in workers:
        assert not [line for line in worker.logged("shard not open") if line["phase"] == "fenced"]
        assert worker.logged("standby stopped") == []


def test_a_standby_takes_all_that_a_killed_owner_had_and_is_warm(deployment: Deployment) -> None:
    one, two = deployment.worker("one"), deployment.worker("two")
    with one.alive(), two.alive():
        until_shared(one, two)
        registered = deployment.send("RegisterPerson", "register", "Ada")
        assert statuses(registered) == {"accepted"}
        until_shared(one, two)
        require_unfenced(one, two)
        lost, before = one.owned(), len(two.logged("shard open"))
        one.kill()
        two.until(lambda: two.owned() == set(range(PARTITIONS)), "taken over")
        taken = [line for line in two.logged("shard open")[before:] if line["partition"] in lost]
        assert {line["partition"] for line in taken} == lost
        assert all(line["folded"] <= TAIL < line["journal_end"] for line in taken), taken
        two.until(lambda: two.metric("annals_standby_open") == {}, "of what it owns it is no standby")
        again = deployment.send("RegisterPerson", "register", "Eve")
        assert statuses(again) == {"duplicate"}
        assert [outcome["head"] for outcome in again] == [outcome["head"] for outcome in registered]
        assert statuses(deployment.send("RenamePerson", "rename", "Bea")) == {"accepted"}
        require_unfenced(two)
    assert deployment.verify()["events"] == 2 * PERSONS


@pytest.mark.untraced
def test_owner_and_standby_change_places_again_and_again(deployment: Deployment) -> None:
    one, two = deployment.worker("one"), deployment.worker("two")
    events = 0
    with ExitStack() as first:
        first.enter_context(one.alive())
        with two.alive():
            until_shared(one, two)
            assert statuses(deployment.send("RegisterPerson", "register", "Ada")) == {"accepted"}
            events += PERSONS
            two.kill()
        for turn in range(2):
            with two.alive():  # its stores are there, and behind
                until_shared(one, two)
                assert statuses(deployment.send("RenamePerson", f"turn-{turn}", f"Turn {turn}")) == {"accepted"}
                events += PERSONS
                two.kill()
                one.until(lambda: one.owned() == set(range(PARTITIONS)), "taken over")
        assert statuses(deployment.send("RenamePerson", "turn-0", "Eve")) == {"duplicate"}
        require_unfenced(one)
    assert deployment.verify()["events"] == events


def test_a_damaged_store_of_a_standby_is_set_aside_and_folded_anew(deployment: Deployment) -> None:
    one, two = deployment.worker("one"), deployment.worker("two")
    with one.alive():
        with two.alive():
            until_shared(one, two)
            assert statuses(deployment.send("RegisterPerson", "register", "Ada")) == {"accepted"}
            until_shared(one, two)
        for folder in two.data.glob("*/person/*"):
            for table in folder.glob("CURRENT"):
                table.unlink()
        with two.alive():
            until_shared(one, two)
            assert len(two.logged("the store is damaged")) == PARTITIONS
            one.kill()
            two.until(lambda: two.owned() == set(range(PARTITIONS)), "taken over")
            assert statuses(deployment.send("RegisterPerson", "register", "Eve")) == {"duplicate"}
    assert deployment.verify()["events"] == PERSONS
