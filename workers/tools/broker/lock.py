"""Writes `jars.json`: which jars the broker needs, resolved by jgo, each with its SHA-256.

Run with another version below as `python -m annals.workers.tools.broker.lock`. Resolving takes jgo some 20 seconds of
reading POMs; with the list locked, a first start only downloads, and gets the bytes that the tests ran with.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from annals.workers.tools.broker.jars import LOCK

# Without a binding for slf4j the broker is mute. 4.4.0's POM cannot be resolved, and `kafka-tools` brings an older
# `kafka-clients` in, which breaks the broker.
COORDINATES: Final = "org.apache.kafka:kafka_2.13:4.3.1+org.slf4j:slf4j-simple:1.7.36"


def resolve() -> list[tuple[str, str, str, str]]:
    """Return group, artifact, version and SHA-256 of every jar that the coordinates need at run time."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - an extra
    from jgo.parse import Endpoint  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder))
        wanted = [
            context.create_dependency(replace(coordinate, scope="compile"))
            for coordinate in Endpoint.parse(COORDINATES).coordinates
        ]
        named, needed = context.resolver.resolve(wanted)
        found = [*named, *(each for each in needed if each.scope in {"compile", "runtime"})]
        return sorted(
            (
                each.groupId,
                each.artifactId,
                each.version,
                hashlib.sha256(each.artifact.resolve().read_bytes()).hexdigest(),
            )
            for each in found
        )


def write(path: Path = LOCK) -> None:
    """Resolve, and write the lock."""
    path.write_text(json.dumps({"coordinates": COORDINATES, "jars": resolve()}, indent=1) + "\n")


if __name__ == "__main__":
    write()
