"""Makes the archive of Kafka's classes: for who starts brokers again and again, as a run of the tests does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from annals.workers.settings import default_cache_dir
from annals.workers.tools.broker.class_archive import archive_of, list_options, make_archive
from annals.workers.tools.broker.jars import kafka_jars, only_one
from annals.workers.tools.broker.java import java_program
from annals.workers.tools.broker.server import Broker


def share_classes(cache_dir: Path | None = None) -> Path:
    """Make the archive that later starts use, unless it is there; return where it is.

    It takes as long as four starts, once for a cache: a broker is started that writes down what it loads.

    Raises:
        BrokerError: Kafka cannot be started, or its classes cannot be archived.
    """
    cache = cache_dir or default_cache_dir()
    jars = kafka_jars(cache)
    archive = archive_of(jars)
    if not archive.exists():
        with only_one(cache), tempfile.TemporaryDirectory(prefix="sharing-", dir=cache) as name:
            if not archive.exists():
                classes = Path(name) / "classes"
                with Broker(Path(name) / "data", cache_dir=cache, java_options=list_options(classes)):
                    pass  # what a broker loads until it is ready is what takes its time
                make_archive(java_program(), os.pathsep.join(map(str, jars)), classes, archive)
    return archive
