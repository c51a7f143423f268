"""What nobody reads until it breaks: names, extras, entry points and declared dependencies."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("schemas", "topics", "agents", "workers")
OURS = {"annals"}
# Loaded by name by something else: aiokafka decompresses with cramjam, Faust serves with aiohttp.
USED_UNSEEN = {"cramjam", "aiohttp"}


def distribution_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


CORE = {distribution_of(line) for line in PROJECT["project"]["dependencies"]}
EXTRAS = {
    extra: {distribution_of(line) for line in lines}
    for extra, lines in PROJECT["project"]["optional-dependencies"].items()
}
# Which folder may need which extra: a worker runs without any.
NEEDED_BY = {
    "workers/tools/broker": "broker",
    "agents/testing": "testing",
    "workers/projections/query.py": "query",
    "agents/publishing": "subscribers",
}


def foreign_owners(distributions: Iterable[metadata.Distribution]) -> dict[str, set[str]]:
    """Which other distributions installed a file under the name that we import."""
    owners: dict[str, set[str]] = {}
    for distribution in distributions:
        name = distribution.metadata["Name"]
        for file in distribution.files or ():
            top = file.parts[0].removesuffix(".py")
            if name != "annals" and top in OURS:
                owners.setdefault(top, set()).add(name)
    return owners


def imported_distributions() -> Iterator[tuple[Path, str]]:
    known = metadata.packages_distributions()
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                for name in names:
                    top = name.split(".")[0]
                    if top not in OURS and top not in sys.stdlib_module_names:
                        assert top in known, f"{source}: nothing that is installed has {top}"
                        yield source, known[top][0].lower().replace("_", "-")


def test_no_other_distribution_owns_our_name() -> None:
    assert foreign_owners(metadata.distributions()) == {}


def test_a_distribution_that_ships_annals_is_noticed(tmp_path: Path) -> None:
    info = tmp_path / "chronicles-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chronicles\nVersion: 1.0\n")
    (info / "RECORD").write_text("annals/__init__.py,,\nchronicles-1.0.dist-info/METADATA,,\n")
    (tmp_path / "annals").mkdir()
    (tmp_path / "annals/__init__.py").touch()
    found = metadata.distributions(path=[str(tmp_path)])
    assert foreign_owners(found) == {"annals": {"chronicles"}}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_from_this_checkout(package: str) -> None:
    folder = Path(importlib.import_module(f"annals.{package}").__file__).parent
    assert folder == ROOT / "src/annals" / package
    assert folder.resolve() == ROOT / package


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "src/annals/py.typed").is_file()


def test_the_project_is_never_uploaded() -> None:
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


def test_the_entry_point_loads() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="annals")
    assert callable(entry.load())


def test_the_installed_version_is_the_declared_one() -> None:
    assert metadata.version("annals") == PROJECT["project"]["version"]


def test_the_extras_are_those_that_the_metadata_offers() -> None:
    declared = set(PROJECT["project"]["optional-dependencies"])
    assert set(metadata.metadata("annals").get_all("Provides-Extra", [])) == declared == set(NEEDED_BY.values())


def test_everything_imported_is_declared_where_it_is_needed() -> None:
    for source, distribution in imported_distributions():
        folders = [extra for folder, extra in NEEDED_BY.items() if (ROOT / folder) in {source, *source.parents}]
        allowed = CORE.union(*(EXTRAS[extra] for extra in folders))
        # mode comes with Faust, from the same authors and in step with it.
        assert distribution in allowed | {"mode-streaming"}, f"{source.relative_to(ROOT)} imports {distribution}"


def test_everything_declared_is_used() -> None:
    used = {distribution for _, distribution in imported_distributions()}
    assert used | USED_UNSEEN >= CORE.union(*EXTRAS.values())


def test_the_lock_is_of_this_version() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    (annals,) = (package for package in lock["package"] if package["name"] == "annals")
    assert annals["version"] == PROJECT["project"]["version"]
    locked = {package["name"] for package in lock["package"]}
    assert locked >= CORE.union(*EXTRAS.values())


def test_the_licence_is_the_declared_one_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
