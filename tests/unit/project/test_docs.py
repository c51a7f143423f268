"""What is written is held to what is there: links, commands, code blocks, and the pages that are made from code."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from annals.workers.cli.group import annals

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARTS = ("tutorial", "how-to", "reference", "explanation")
LANGUAGES = {"", "text", "sh", "python", "json", "yaml", "toml", "mermaid", "http", "promql", "diff", "js"}
# A reader's machine has none of these; and whose registry a package came from is the lock's affair.
FORBIDDEN = re.compile(
    r"/work\b|/root\b|/tmp\b|/home/(?!annals)|/Users/|pypi\.org|pythonhosted|registry\.npmjs|maven\.(apache|org)|"
    r"repo1\.|crates\.io|docker\.io|ghcr\.io|proxy\.golang",
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)]+)\)")


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for found, body in FENCE.findall(page.read_text()):
            if found == language:
                yield page, body


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """GitHub's anchors: lower case, punctuation dropped, spaces to hyphens."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def shell_commands(body: str) -> Iterator[list[str]]:
    """The simple commands of a block, without here documents, pipes and redirections."""
    body = re.sub(r"<<'?(\w+)'?.*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    for line in body.splitlines():
        for part in re.split(r"\||&&|;", line):
            words = shlex.split(re.split(r"\d?[<>]", part)[0].rstrip("& "), comments=True)
            while words and "=" in words[0]:
                words = words[1:]
            if words:
                yield words


def annals_commands() -> Iterator[tuple[Path, list[str]]]:
    for page, body in blocks("sh"):
        for words in shell_commands(body):
            if words[0].endswith("annals"):
                yield page, words[1:]
            elif words[:3] == ["docker", "compose", "run"] and "topics" in words:
                yield page, words[words.index("topics") + 1 :]


def refusal(words: list[str]) -> str | None:
    """Why the command line would not take these words; nothing is run."""
    group, context, rest = annals, click.Context(annals, info_name="annals"), words
    try:
        while isinstance(group, click.Group):
            name, command, rest = group.resolve_command(context, rest)
            context = click.Context(command, info_name=name, parent=context)
            if not isinstance(command, click.Group):
                command.make_context(name, rest, parent=context.parent)
            group = command
    except click.exceptions.Exit:
        return None  # --help
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        assert not re.search(r"\s", link), f"{shown(page)}: with white space in it, {link} is no link but text"
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{shown(page)} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{shown(page)} links to {link}: {shown(target)} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_no_page_names_a_machine_or_a_registry(page: Path) -> None:
    assert [found[0] for found in FORBIDDEN.finditer(page.read_text())] == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_code_block_says_what_it_is_in(page: Path) -> None:
    assert {language for language, _ in FENCE.findall(page.read_text())} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_no_page_promises_what_is_still_to_be_written(page: Path) -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|coming soon)\b", page.read_text())


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [
            (page.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(page)) if "://" not in link
        ]
    docs = {page for page in PAGES if page != ROOT / "docs/README.md"}
    assert docs - seen == set()


def test_the_docs_have_the_four_parts_of_diataxis_and_the_decisions() -> None:
    folders = {path.name for path in (ROOT / "docs").iterdir() if list(path.glob("*.md"))}
    assert folders == {*PARTS, "adr"}
    index = (ROOT / "docs/README.md").read_text()
    assert [
        page for part in PARTS for page in (ROOT / "docs" / part).glob("*.md") if f"{part}/{page.name}" not in index
    ] == []


def test_the_reference_is_what_the_code_says() -> None:
    generator = [sys.executable, ROOT / "docs/generate.py", "--check"]
    result = subprocess.run(generator, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_page_that_is_not_current_is_noticed(tmp_path: Path) -> None:
    for name in ("docs", "agents", "topics", "schemas", "workers"):
        for source in (ROOT / name).rglob("*"):
            if source.suffix in {".py", ".md", ".toml", ".json"}:
                target = tmp_path / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    page = tmp_path / "docs/reference/topics.md"
    page.write_text(page.read_text().replace("uncompressed", "zstd"))
    generator = [sys.executable, tmp_path / "docs/generate.py", "--check"]
    result = subprocess.run(generator, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 1
    assert "docs/reference/topics.md is not what the code says: run `make docs`" in result.stdout


def test_every_annals_command_in_the_docs_is_one_that_the_command_line_takes() -> None:
    found = list(annals_commands())
    assert len(found) > 10
    assert [(shown(page), words, why) for page, words in found if (why := refusal(words)) is not None] == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert refusal(["verify", "--no-such-option"]) is not None
    assert refusal(["no-such-command"]) is not None


def test_every_command_named_in_prose_exists() -> None:
    for page in PAGES:
        for text in re.findall(r"`annals ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", prose(page)):
            group: click.Command = annals
            for word in text.split():
                if not isinstance(group, click.Group):
                    break
                command = group.get_command(click.Context(group), word)
                assert command is not None, f"{shown(page)} names `annals {text}`, which is no command"
                group = command


def test_every_make_target_named_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = [
            word
            for _, body in blocks("sh")
            for words in shell_commands(body)
            if words[0] == "make"
            for word in words[1:]
        ]
        named += re.findall(r"`make ([a-z-]+)`", prose(page))
        assert {name for name in named if "=" not in name} <= targets, shown(page)


def test_every_python_block_compiles() -> None:
    for page, body in blocks("python"):
        ast.parse(body, shown(page))


def test_every_json_yaml_and_toml_block_parses() -> None:
    for _, body in blocks("json"):
        for text in body.splitlines() if body.count("\n{") else [body]:
            json.loads(text)
    for _, body in blocks("yaml"):
        yaml.safe_load(body)
    for _, body in blocks("toml"):
        tomllib.loads(body)


def decisions() -> list[Path]:
    return sorted(page for page in (ROOT / "docs/adr").glob("*.md") if page.name != "README.md")


def test_the_decisions_are_numbered_without_a_gap_and_listed() -> None:
    assert [int(page.name[:4]) for page in decisions()] == list(range(1, len(decisions()) + 1))
    index = (ROOT / "docs/adr/README.md").read_text()
    for page in decisions():
        title, status = re.match(r"# (.*)\n\nStatus: (\w+)", page.read_text()).groups()
        number, name = title.split(": ", 1)
        assert f"| [{number}]({page.name}) | {name} | {status} |" in index


@pytest.mark.parametrize("page", decisions(), ids=shown)
def test_a_decision_is_one_page_with_four_parts(page: Path) -> None:
    headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Rejected", "Consequences"]
    assert len(page.read_text().splitlines()) <= 60


def test_the_changelog_keeps_a_changelog_and_has_a_section_on_compatibility() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    assert "### Compatibility" in text
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Compatibility"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= known


def test_the_changelog_says_nothing_twice() -> None:
    """Two branches that change one entry leave it twice where they are merged, cut in the middle."""
    seen: set[tuple[str, ...]] = set()
    for entry in re.split(r"^- ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE):
        words = entry.split()
        for at in range(len(words) - 13):
            sentence = tuple(words[at : at + 14])
            assert sentence not in seen, " ".join(sentence)
            seen.add(sentence)


def test_the_readme_begins_with_two_commands() -> None:
    body = next(body for page, body in blocks("sh") if page.name == "README.md")
    assert body.splitlines() == ["make setup", "make demo"]


def test_the_readme_fits_into_a_terminal() -> None:
    text = re.sub(r"^```text\n.*?^```$", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 100] == []


def test_the_readme_says_whom_it_is_for_what_is_not_there_and_how_state_is_read() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"Who it is for, and its limits", "How to read state"} <= set(headings)


def test_the_readme_shows_that_workers_register_the_functions_of_agents() -> None:
    picture = next(body for page, body in blocks("") if page.name == "README.md")
    assert "workers.app registers the async functions of agents/" in picture


def test_the_limits_of_a_number_are_in_the_reference() -> None:
    assert "temperature: number (from 0, to 2)" in (ROOT / "docs/reference/commands.md").read_text()


def problem_codes() -> Iterator[str]:
    """The codes that `Problem` and `Refused` are made with: a text, or the name of a constant of the module."""
    for room in ("workers/api", "workers/publishing", "workers/reacting", "agents/publishing", "agents/reacting"):
        for file in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(file.read_text())
            module = None
            for call in ast.walk(tree):
                if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"Problem", "Refused"}):
                    continue
                match call.args[1]:
                    case ast.Constant(value=str(code)):
                        yield code
                    case ast.Name(id=name) if name.isupper():
                        dotted = "annals." + ".".join(file.relative_to(ROOT).with_suffix("").parts)
                        module = module or importlib.import_module(dotted)
                        yield getattr(module, name)


def test_every_problem_that_a_program_may_meet_is_in_the_reference() -> None:
    """Goes red when a code is added that the page of the API does not list."""
    page = (ROOT / "docs/reference/http-api.md").read_text()
    codes = set(problem_codes())
    assert {"not_found", "etag_differs", "target_not_permitted"} <= codes
    assert {code for code in codes if not re.search(rf"^\| `[^|]*\b{code}\b", page, re.MULTILINE)} == set()
