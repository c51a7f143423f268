"""Kafka's jars: fetched by jgo from Maven Central once, proven whole at every start, used without a network."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from annals.agents.extras import how_to_install
from annals.workers.settings.certificates import authorities_for_requests
from annals.workers.tools.broker.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK: Final = Path(__file__).with_name("jars.json")
CONNECTIONS: Final = 6
TIMEOUT_SECONDS: Final = 30
INSTALL: Final = how_to_install("broker")


class Jar(NamedTuple):
    """One jar as it is locked: where Maven Central has it, and its SHA-256."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.artifact}-{self.version}.jar"


class Progress(Protocol):
    """Is told how far the first download is."""

    def __call__(self, done: int, total: int) -> None:
        """Take note: so many jars of so many are here."""


def silent(done: int, total: int) -> None:
    """Take no note."""


def locked_jars() -> tuple[Jar, ...]:
    """Return the jars of the class path, as `annals.workers.tools.broker.lock` found and wrote them."""
    return tuple(Jar(*each) for each in json.loads(LOCK.read_bytes())["jars"])


def kafka_jars(cache: Path, progress: Progress = silent) -> list[Path]:
    """Return the jars of the class path, from the cache folder or fetched into it.

    Raises:
        BrokerError: the cache is damaged, Maven Central cannot be reached, or the extra is not installed.
    """
    jars = locked_jars()
    # Named by its content: another release of this project has its own folder.
    folder = cache / f"kafka-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        with only_one(cache):
            if not folder.exists():
                _fetch(cache, folder, jars, progress)
    for jar in jars:
        damage = _damage(folder / jar.name, jar)
        if damage:
            raise BrokerError(
                f"the Kafka in {folder} is damaged ({jar.name} {damage}): delete that folder, "
                "and the next start fetches it again"
            )
    return [folder / jar.name for jar in jars]


def _damage(path: Path, jar: Jar) -> str:
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if digest == jar.sha256 else "is not what Maven Central has"


@contextlib.contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """Hold the cache's lock: of two that start for the first time, one fetches and the other waits."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("w")
    except OSError as error:
        raise BrokerError(
            f"the cache folder {cache} cannot be written to ({error.strerror}): name another one with ANNALS_CACHE_DIR"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(cache: Path, folder: Path, jars: tuple[Jar, ...], progress: Progress) -> None:
    """Make the folder whole or not at all: a jar that was cut off must never look like one."""
    for leftover in cache.glob("fetching-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as workplace:
        ready = Path(workplace) / "ready"
        ready.mkdir()
        maven = _maven_central(Path(workplace) / "repository")
        try:
            with authorities_for_requests(), ThreadPoolExecutor(CONNECTIONS) as pool:
                progress(0, len(jars))
                for done, (jar, path) in enumerate(
                    zip(jars, pool.map(lambda jar: _download(maven, jar), jars), strict=True)
                ):
                    path.rename(ready / jar.name)
                    progress(done + 1, len(jars))
            ready.rename(folder)
        except Exception as error:  # noqa: BLE001 - jgo raises whatever requests and the disk raise
            reason = (str(error).splitlines() or [type(error).__name__])[0][:500]  # it ends with the cause
            raise BrokerError(
                f"Kafka could not be fetched from Maven Central ({reason}): the first start needs the network "
                f"(behind a proxy, set HTTPS_PROXY, and SSL_CERT_FILE if the system does not trust its authority), "
                f"or a copy of {folder} from a machine that has it"
            ) from None


def _maven_central(repository: Path) -> Any:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415 - an extra, and only needed once
    except ImportError as error:
        raise BrokerError(
            f"{error.name} is not installed: the broker, demo and bench need the extra `broker`: {INSTALL}"
        ) from None
    return MavenContext(repo_cache=repository, timeout=TIMEOUT_SECONDS)


def _download(maven: Any, jar: Jar) -> Path:
    path: Path = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    damage = _damage(path, jar)
    if damage:
        raise OSError(f"{jar.name} {damage}: what came differs from what was locked")
    return path
