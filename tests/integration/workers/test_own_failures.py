"""What is wrong with one worker alone: it does not keep partitions from those who could serve them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grouped import ONE_KIND, Group, GroupWorker, group

pytestmark = pytest.mark.broker

HASTY = {**ONE_KIND, "annals.workers.withdrawal:PATIENCE_S": 1.0, "annals.workers.withdrawal:FIRST_RETRY_S": 1.0}

DAMAGES = """
from annals.agents.ports import StoreDamagedError
from annals.workers.writing import shard_stores
async def damaged(*_):
    raise StoreDamagedError("block checksum mismatch")
shard_stores.open_store = damaged
"""


FULL = """
from annals.agents.ports import StoreUnavailableError
from annals.workers.stores.rocks import RocksStore
def full(self, changes):
    raise StoreUnavailableError("No space left on device")
RocksStore.apply = full
"""

READING_DAMAGES = """
from annals.agents.ports import StoreDamagedError
from annals.workers.stores import reading
async def damaged(*_):
    raise StoreDamagedError("block checksum mismatch")
reading.open_database = damaged
"""
READS = {"ROLES": "read", "API_PORT": "0"}


def read_everywhere(crew: Group, by: GroupWorker, count: int) -> None:
    """Wait until a worker has read the journals of all partitions, which have so many aggregates."""

    def is_read() -> bool:
        status, answer = by.call("GET", "/v1/aggregates/person?limit=1000")
        return status == 200 and not answer.get("missing") and len(answer["aggregates"]) == count

    by.until(is_read, "all of it is read")


@pytest.fixture
def crew(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[Group]:
    with group(bootstrap, topic_prefix, tmp_path, 2) as made:
        yield made


def test_a_data_folder_that_cannot_be_made_is_refused_before_the_group_is_joined(crew: Group) -> None:
    crew.worker("healthy").until_ready()
    broken = crew.worker("broken", DATA_DIR="/proc/nope")
    assert broken.until_over() == 2
    assert "ANNALS_DATA_DIR: /proc/nope cannot be used" in broken.log.read_text()
    assert set(crew.answers()) == {"accepted"}
    assert crew.members() == 1


def test_a_data_folder_has_one_worker_and_the_second_ends(crew: Group) -> None:
    first = crew.worker("first").until_ready()
    second = crew.worker(
        "second", {**ONE_KIND, "annals.workers.process:CLAIM_WITHIN_S": 1.0}, DATA_DIR=str(crew.folder / "first")
    )
    assert second.until_over() == 2
    assert f"is in use by another worker (process {first.process.pid})" in second.log.read_text()


def test_a_worker_that_cannot_open_its_stores_leaves_the_group_and_comes_back(crew: Group) -> None:
    healthy = crew.worker("healthy").until_ready()
    in_the_way = crew.folder / "broken" / crew.name / "person"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    broken = crew.worker("broken", HASTY)
    reason = broken.until_told("cannot open its stores, and left the consumer group to others")
    assert str(in_the_way) in reason
    healthy.until(lambda: crew.members() == 1, "it has left")
    assert set(crew.answers()) == {"accepted"}
    in_the_way.unlink()
    broken.until_ready()
    assert crew.members() == 2
    assert set(crew.answers()) == {"accepted"}
    assert broken.end() == 0


def test_a_worker_that_cannot_set_its_damaged_stores_aside_leaves_the_group_too(crew: Group) -> None:
    """As on a disk that is read-only since it failed: goes red when it keeps what another one could decide."""
    broken = crew.worker("broken").until_ready()
    assert set(crew.answers()) == {"accepted"}
    assert broken.end() == 0
    stores = crew.folder / "broken" / crew.name / "person"
    in_the_way = [stores / f"damaged.{number}" for number in range(crew.partitions)]
    for number, path in enumerate(in_the_way):
        (stores / str(number) / "CURRENT").write_bytes(b"damaged")
        path.touch()
    healthy = crew.worker("healthy").until_ready()
    broken = crew.worker("broken", HASTY)
    reason = broken.until_told("cannot open its stores, and left the consumer group to others")
    assert "damaged." in reason
    healthy.until(lambda: crew.members() == 1, "it has left")
    assert set(crew.answers()) == {"accepted"}
    for path in in_the_way:
        path.unlink()
    broken.until_ready()
    assert crew.members() == 2
    assert set(crew.answers()) == {"accepted"}
    assert broken.end() == 0


def test_a_worker_whose_stores_are_damaged_again_and_again_leaves_them_to_others_for_the_hour(crew: Group) -> None:
    """Goes red when it keeps what another one could decide, or comes back to the disk that damaged them."""
    healthy = crew.worker("healthy").until_ready()
    broken = crew.worker("broken", {**HASTY, "exec": DAMAGES})
    reason = broken.until_told("cannot open its stores, and left the consumer group to others")
    assert "the store was damaged 4 times within an hour" in reason
    healthy.until(lambda: crew.members() == 1, "it has left")
    assert set(crew.answers()) == {"accepted"}
    broken.until(lambda: broken.logged("the stores still cannot be opened"), "it has looked whether it may come back")
    assert crew.members() == 1
    assert healthy.end() == 0
    broken.until(lambda: crew.members() == 1, "it is alone, and tries again by itself")
    assert broken.end() == 0


def test_a_worker_whose_stores_open_and_cannot_be_written_leaves_them_to_others(crew: Group) -> None:
    """As with little room on a disk: goes red where each opening counts as a success, and it keeps its partition."""
    full = crew.worker("full", {**HASTY, "exec": FULL}).until_ready()
    healthy = crew.worker("healthy").until_ready()
    healthy.until(lambda: crew.members() == 2, "both are in the group")
    assert set(crew.answers()) == {"accepted"}  # by what was committed
    reason = full.until_told("cannot open its stores, and left the consumer group to others")
    assert "No space left on device" in reason
    healthy.until(lambda: crew.members() == 1, "it has left")
    healthy.until_ready()
    assert set(crew.answers()) == {"accepted"}
    assert full.end() == 0


def test_a_worker_that_cannot_open_what_it_reads_into_leaves_the_group_of_readers_and_comes_back(crew: Group) -> None:
    """Goes red when it keeps partitions that another one could answer for, publish and react to."""
    crew.worker("decides", ROLES="write").until_ready()
    assert set(crew.answers()) == {"accepted"}
    healthy = crew.worker("healthy", **READS).until_ready()
    in_the_way = crew.folder / "broken" / crew.name / "read" / "person"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    broken = crew.worker("broken", HASTY, **READS)
    reason = broken.until_told("cannot open its stores, and left the consumer group to others")
    assert reason.startswith("read: ")
    assert str(in_the_way) in reason
    read_everywhere(crew, healthy, 8)
    assert crew.members(f"{crew.name}.read") == 1
    in_the_way.unlink()
    broken.until_ready()
    assert crew.members(f"{crew.name}.read") == 2
    assert broken.end() == 0


def test_a_worker_whose_reading_stores_are_damaged_again_and_again_leaves_them_to_others(crew: Group) -> None:
    crew.worker("decides", ROLES="write").until_ready()
    assert set(crew.answers()) == {"accepted"}
    healthy = crew.worker("healthy", **READS).until_ready()
    broken = crew.worker("broken", {**HASTY, "exec": READING_DAMAGES}, **READS)
    reason = broken.until_told("cannot open its stores, and left the consumer group to others")
    assert "the store was damaged 4 times within an hour" in reason
    read_everywhere(crew, healthy, 8)
    broken.until(lambda: broken.logged("the stores still cannot be opened"), "it has looked whether it may come back")
    assert crew.members(f"{crew.name}.read") == 1
    assert broken.end() == 0


def test_a_worker_that_is_alone_stays_and_goes_on_trying(crew: Group) -> None:
    in_the_way = crew.folder / "alone" / crew.name / "person"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    alone = crew.worker("alone", HASTY)
    alone.until_told(str(in_the_way))
    in_the_way.unlink()
    alone.until_ready()
    assert not alone.logged("leaving the consumer group")
    assert set(crew.answers()) == {"accepted"}
