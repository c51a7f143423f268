"""Heads that somebody kept, as they come in a file, and which partition each is looked for in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from annals.schemas.cid import cid_text
from annals.topics.keys import partition_of
from annals.workers.audit.chains import JournalId
from annals.workers.audit.kept_heads import KeptHead, heads_by_place
from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.kept_heads import heads_in
from chained import chain

if TYPE_CHECKING:
    from pathlib import Path

EVENT = chain("p-1", 1)[0]
LINE = json.dumps({"aggregate_id": "p-1", "head": cid_text(EVENT.cid)})


def test_a_head_that_comes_again_is_one(tmp_path: Path) -> None:
    """Outcomes of a command that was sent twice have the same; goes red when it is named twice, too."""
    file = tmp_path / "kept.jsonl"
    file.write_text(f"{LINE}\n\n{LINE}\n")
    assert heads_in(str(file), "person") == [KeptHead("p-1", EVENT.cid)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"aggregate_id"', "unexpected end of data, column 16"),
        ("[1]", "'list' object has no attribute 'get'"),
        ('{"aggregate_id": null, "head": "%s"}', "aggregate_id is None"),
        ('{"aggregate_id": 5, "head": "%s"}', "aggregate_id is 5"),
        ('{"head": "%s"}', "'aggregate_id'"),
    ],
)
def test_what_is_no_head_is_named_by_its_line(tmp_path: Path, line: str, said: str) -> None:
    """Goes red when JSON that is not whole is told as line 1, or an aggregate `None` is looked for."""
    file = tmp_path / "kept.jsonl"
    file.write_text(f"{LINE}\n{line.replace('%s', cid_text(EVENT.cid))}\n")
    with pytest.raises(CannotAskError) as failure:
        heads_in(str(file), "person")
    assert str(failure.value) == f"{file}: line 2: it is no JSON object with aggregate_id and head ({said})"


def test_a_file_without_a_head_of_the_kind_is_no_question(tmp_path: Path) -> None:
    """Goes red when nothing is compared, night after night, since what makes the file has failed."""
    for text in ("", LINE.replace("{", '{"kind": "person", ', 1)):
        file = tmp_path / "kept.jsonl"
        file.write_text(text)
        with pytest.raises(CannotAskError, match="no head of a workflow is in it"):
            heads_in(str(file), "workflow")


def test_each_head_is_of_the_partition_of_its_aggregate_and_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when each partition goes over all heads: of a million in twelve partitions that took minutes."""
    places = [JournalId("person", "events.person", each, 3) for each in range(3)]
    heads = [KeptHead(f"p-{number}", EVENT.cid) for number in range(20)]
    asked: list[bytes] = []

    def counted(key: bytes, partitions: int) -> int:
        asked.append(key)
        return partition_of(key, partitions)

    monkeypatch.setattr("annals.workers.audit.kept_heads.partition_of", counted)
    by_place = heads_by_place(places, heads)
    assert list(by_place) == places
    assert {head: place.partition for place, those in by_place.items() for head in those} == {
        head: partition_of(head.key, 3) for head in heads
    }
    assert len(asked) == len(heads)
