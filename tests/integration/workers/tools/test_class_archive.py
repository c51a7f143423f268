"""Kafka's classes are archived once for a cache; brokers start from the archive, and without a good one, too."""

from pathlib import Path

import pytest

from annals.workers.settings import default_cache_dir
from annals.workers.tools.broker import Broker
from annals.workers.tools.broker.class_archive import archive_of
from annals.workers.tools.broker.jars import kafka_jars
from annals.workers.tools.broker.sharing import share_classes

pytestmark = pytest.mark.broker


@pytest.fixture
def cache(tmp_path: Path, cache_dir: Path | None) -> Path:
    """A cache of its own with the jars and without an archive."""
    folder = kafka_jars(cache_dir or default_cache_dir())[0].parent
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / folder.name).symlink_to(folder)
    return cache


def test_brokers_start_from_the_archive_and_without_a_good_one_too(cache: Path, tmp_path: Path) -> None:
    archive = share_classes(cache)
    assert archive == archive_of(kafka_jars(cache))
    assert {path.suffix for path in cache.iterdir() if path.name != "lock"} == {"", ".jsa"}
    made = archive.stat()
    assert share_classes(cache) == archive
    assert archive.stat() == made, "it is made once"
    with Broker(tmp_path / "data", cache_dir=cache) as broker:
        assert str(archive) in Path(f"/proc/{broker.pid}/maps").read_text()
        assert "[cds" not in broker.log_path.read_text()
    archive.write_bytes(archive.read_bytes()[:1_000_000])
    with broker:
        assert str(archive) not in Path(f"/proc/{broker.pid}/maps").read_text()
        assert "[cds" not in broker.log_path.read_text()
