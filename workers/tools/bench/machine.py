"""The machine and the versions that a figure is worth something with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

from annals.workers.tools.bench.usage import KIB
from annals.workers.tools.broker.jars import locked_jars

LIBRARIES: Final = (
    "annals",
    "faust-streaming",
    "aiokafka",
    "rocksdict",
    "libipld",
    "blake3",
    "orjson",
    "msgspec",
    "cramjam",
)
GIB: Final = 1 << 30


def describe(*, own_broker: bool) -> dict[str, str]:
    """Return what to print beside figures, in order."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, shared with the broker and the load",
        "memory": f"{_memory_bytes() / GIB:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "broker": f"Apache Kafka {_kafka_version()}, one node, 384 MB heap" if own_broker else "one that was there",
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def _kafka_version() -> str:
    return next(jar.version for jar in locked_jars() if jar.artifact.startswith("kafka_"))


def _processor() -> str:
    said = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    names = {key.strip(): value.strip() for key, value in said.items()}
    return names.get("model name", platform.machine())


def _memory_bytes() -> int:
    said = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(said["MemTotal"].split()[0]) * KIB
