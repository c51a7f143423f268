"""docs/explanation/write-path.md lists the files that a command passes: the list is what really runs, in its order."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from annals import command
from annals.schemas.kinds.person import RegisterPerson
from annals.testing import MemoryAnnals
from shard_scene import PERSON

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/explanation/write-path.md").read_text()
MOST = 20  # files that whoever wants to know the path has to read
ROOMS = ("agents", "schemas", "topics", "workers")
# In memory it is these that stand for RocksDB, and for the worker's agent and brokers; metrics are the same call.
ADAPTERS = ("workers/memory/", "workers/testing/", "workers/client/")
STORE = {"workers/stores/memory.py": "workers/stores/rocks.py"}


def listed(section: str) -> list[str]:
    text = PAGE.split(f"\n### {section}\n")[1].split("\n#")[0]
    return re.findall(r"`((?:agents|schemas|topics|workers)/[a-z0-9_/]+\.py)`", text)


class Passed:
    """The files of ours that are entered from the moment when a command lies in its shard's queue, in that order."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self._has_begun = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        path = Path(frame.f_code.co_filename).resolve()
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in ROOMS:
            return
        name = path.relative_to(ROOT).as_posix()
        self._has_begun |= name == "agents/writing/shards/command_queue.py"
        if self._has_begun and name not in self.files:
            self.files.append(name)


async def passed() -> list[str]:
    async with MemoryAnnals(PERSON) as annals:
        # what is made once is made here
        assert (await annals.send(command("person", "p-0", RegisterPerson(name="Ada")))).status == "accepted"
        entered = Passed()
        sys.setprofile(entered)
        try:
            outcome = await annals.send(command("person", "never before", RegisterPerson(name="Bea")))
        finally:
            sys.setprofile(None)
    assert outcome.status == "accepted"
    return [STORE.get(name, name) for name in entered.files if not name.startswith(ADAPTERS)]


def decided(names: list[str]) -> list[str]:
    """Without Kafka's writer, which is asked for its quota before anything is decided, and works after all is."""
    return [name for name in names if not name.startswith("workers/kafka/")]


async def test_a_command_passes_the_files_of_the_list_in_its_order() -> None:
    path, found = listed("Its path, file by file"), await passed()
    assert len(path) == len(set(path)) <= MOST
    assert set(path) <= set(found)
    assert [name for name in decided(found) if name in path] == decided(path) == path[: len(decided(path))]


async def test_no_file_is_passed_that_the_page_does_not_name() -> None:
    path, beside = listed("Its path, file by file"), listed("Beside its path")
    assert set(await passed()) - set(path) == set(beside)
