"""`annals verify` and `annals events` on journals of a real broker: each answer, and each exit status."""

import asyncio
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from annals.schemas.cid import cid_text
from annals.topics.keys import partition_of
from annals.workers.audit import processes as audit_processes
from annals.workers.audit.chunks import CHUNK_OFFSETS
from annals.workers.audit.processes import SurveyError, survey_in_processes
from annals.workers.audit.scan import Survey
from annals.workers.audit.verify import cores, verify_journals
from annals.workers.cli import main
from annals.workers.settings import Settings
from chained import Sealed, chain, make_topics, sealed, write
from processes import ENTRY_POINT, own_environment

pytestmark = pytest.mark.broker

PARTITIONS = 2


class Journal:
    """A person's journal under a prefix of its own, and the command line against it."""

    def __init__(self, bootstrap: str, prefix: str, capture: pytest.CaptureFixture[bytes]) -> None:
        self.bootstrap = bootstrap
        self.topic = f"{prefix}events.person"
        self._options = ["--bootstrap-servers", bootstrap, "--topic-prefix", prefix]
        self._capture = capture
        self.errors = ""

    def write(self, events: list[Sealed], partition: int | None = None, **how: Any) -> list[int]:
        """Write to the partition of the first event's key, or to another one."""
        own = partition_of(events[0].key or b"", PARTITIONS)
        return asyncio.run(write(self.bootstrap, self.topic, events, own if partition is None else partition, **how))

    def ask(self, *words: str) -> tuple[int, str]:
        """Exit status and what was printed."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([*words, *self._options])
        printed = self._capture.readouterr()
        self.errors = printed.err.decode()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, printed.out.decode()

    def verify(self, *words: str) -> tuple[int, dict[str, Any]]:
        status, printed = self.ask("verify", "person", *words, "--json")
        return status, json.loads(printed)


@pytest.fixture
def journal(bootstrap: str, topic_prefix: str, capsysbinary: pytest.CaptureFixture[bytes]) -> Journal:
    asyncio.run(make_topics(bootstrap, [f"{topic_prefix}events.person"], PARTITIONS))
    return Journal(bootstrap, topic_prefix, capsysbinary)


def test_a_whole_journal_is_0(journal: Journal) -> None:
    journal.write(chain("p-1", 3))
    journal.write(chain("p-2", 2))
    journal.write(chain("p-4", 2))
    assert journal.verify() == (0, {"events": 7, "aggregates": 3, "void": 0, "foreign": 0, "broken": []})
    status, printed = journal.ask("verify", "person")
    assert status == 0
    assert printed.startswith("7 events of 3 aggregates, 0 void, 0 foreign: every CID and link is right")
    assert journal.errors == ""  # no progress where nobody looks


def test_an_empty_journal_is_0(journal: Journal) -> None:
    assert journal.verify() == (0, {"events": 0, "aggregates": 0, "void": 0, "foreign": 0, "broken": []})


def test_a_gap_is_1_and_named_in_full(journal: Journal) -> None:
    events = chain("p-1", 4)
    offsets = journal.write([events[0], events[2], events[3]])
    status, report = journal.verify()
    assert status == 1
    assert report["broken"] == [
        {
            "kind": "person",
            "aggregate_id": "p-1",
            "topic": journal.topic,
            "partition": partition_of(b"p-1", PARTITIONS),
            "offset": offsets[1],
            "version": 3,
            "reason": "gap: it follows version 1, events are missing; what comes after it of this aggregate was not "
            "judged",
        }
    ]
    status, printed = journal.ask("verify", "person")
    assert status == 1
    assert printed.startswith(f"broken  {journal.topic}-{partition_of(b'p-1', PARTITIONS)} offset 1: person 'p-1'")
    assert printed.endswith("1 event of 1 aggregate, 0 void, 0 foreign: not as it should be\n")


def test_a_differing_header_is_1_even_where_void_is_tolerated(journal: Journal) -> None:
    events = chain("p-1", 2)
    journal.write([events[0], events[1].with_header("ce_actor", b"mallory")])
    status, report = journal.verify("--tolerate-void")
    assert (status, report["events"]) == (1, 2)
    assert "ce_actor is 'mallory', the block says 'hr-service'" in report["broken"][0]["reason"]


def test_void_and_foreign_records_are_1_unless_they_are_tolerated(journal: Journal) -> None:
    events = chain("p-1", 3)
    journal.write([*events, events[2], events[0].but(value=b"{}")])
    assert journal.verify()[0] == 1
    assert journal.verify("--tolerate-void") == (
        0,
        {"events": 3, "aggregates": 1, "void": 1, "foreign": 1, "broken": []},
    )


def test_an_event_in_another_partition_than_its_keys_is_foreign(journal: Journal) -> None:
    journal.write(chain("p-1", 1), 1 - partition_of(b"p-1", PARTITIONS))
    status, report = journal.verify()
    assert (status, report["foreign"], report["events"]) == (1, 1, 0)


def test_one_aggregate_is_verified_alone(journal: Journal) -> None:
    journal.write(chain("p-1", 3))
    journal.write(chain("p-3", 3)[::2])
    assert journal.verify("p-1") == (0, {"events": 3, "aggregates": 1, "void": 0, "foreign": 0, "broken": []})
    assert journal.verify("p-3")[0] == 1


def test_an_aggregate_without_events_is_1(journal: Journal) -> None:
    status, report = journal.verify("nobody")
    assert (status, report["events"], report["aggregates"]) == (1, 0, 0)
    assert report["broken"][0]["reason"] == "there is no event of this aggregate"


def test_an_expected_head_must_be_in_the_chain(journal: Journal) -> None:
    events = chain("p-1", 4)
    journal.write(events[:3])
    for kept in events[:3]:
        assert journal.verify("p-1", "--expect-head", cid_text(kept.cid))[0] == 0
    status, report = journal.verify("p-1", "--expect-head", cid_text(events[3].cid))
    assert status == 1
    assert "does not contain the expected head" in report["broken"][0]["reason"]
    assert report["broken"][0]["version"] == 3


def test_an_expected_head_that_is_only_void_is_not_in_the_chain(journal: Journal) -> None:
    events = chain("p-1", 2)
    loser = sealed("p-1", 2, events[0].cid, data={"name": "loser"})
    journal.write([*events, loser])
    status, _ = journal.verify("p-1", "--tolerate-void", "--expect-head", cid_text(loser.cid))
    assert status == 1


@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_heads_that_were_kept_are_looked_for_at_once(journal: Journal, tmp_path: Path, processes: str) -> None:
    ids = [f"p-{number}" for number in range(6)]
    here = [each for each in ids if partition_of(each.encode(), PARTITIONS) == 0]
    chains = {name: chain(name, 4) for name in here[:3]}
    whole, cut, altered = chains
    journal.write(chains[whole])
    journal.write(chains[cut][:3])
    forged = sealed(altered, 2, chains[altered][0].cid, data={"name": "Eve"})
    journal.write([chains[altered][0], forged, *chains[altered][2:]])
    gone = next(each for each in ids if each not in here)  # of a partition that has no record at all
    kept = {**chains, gone: chain(gone, 1)}
    file = tmp_path / "kept.jsonl"
    file.write_text(
        "\n".join(
            json.dumps({"kind": "person", "aggregate_id": name, "head": cid_text(event.cid)})
            for name, events in kept.items()
            for event in events
        )
        + '\n{"kind": "agent", "aggregate_id": "scout", "head": null}\n'
    )
    status, report = journal.verify("--heads", str(file), "--tolerate-void", "--processes", processes)
    assert (status, report["kept_heads"]) == (1, 13)
    assert sorted((place["aggregate_id"], place["reason"].split(":")[0][-59:]) for place in report["broken"]) == sorted(
        [(name, cid_text(event.cid)) for name, event in [(cut, chains[cut][3])]]
        + [(altered, cid_text(event.cid)) for event in chains[altered][1:]]
        + [(gone, "there is no event of this aggregate")]
    )
    file.write_text(json.dumps({"aggregate_id": whole, "head": cid_text(chains[whole][1].cid)}))
    status, printed = journal.ask("verify", "person", "--tolerate-void", "--heads", str(file), "--processes", processes)
    assert (status, "compared with 1 kept head: every CID" in printed) == (0, True)


def test_from_a_trusted_head_only_what_came_after_it_is_verified(journal: Journal) -> None:
    events = chain("p-1", 6)
    # What was before is not looked at: it may be broken.
    journal.write([events[0].with_header("ce_actor", b"x"), *events[1:3], events[0], *events[3:], *chain("p-3", 2)])
    trusted = cid_text(events[3].cid)
    assert journal.verify("p-1")[0] == 1
    assert journal.verify("p-1", "--from-head", trusted) == (
        0,
        {"events": 2, "aggregates": 1, "void": 0, "foreign": 0, "broken": []},
    )
    last = cid_text(events[5].cid)
    assert journal.verify("p-1", "--from-head", trusted, "--expect-head", last)[0] == 0
    assert journal.verify("p-1", "--from-head", last, "--expect-head", last)[1]["events"] == 0
    assert journal.verify("p-1", "--from-head", last, "--expect-head", trusted)[0] == 1


def test_an_expected_head_from_before_a_trusted_one_is_not_said_to_be_missing(journal: Journal) -> None:
    events = chain("p-1", 5)
    journal.write(events)
    older, trusted, last = (cid_text(events[place].cid) for place in (1, 2, 4))
    assert journal.verify("p-1", "--expect-head", older)[0] == 0
    status, report = journal.verify("p-1", "--from-head", trusted, "--expect-head", older)
    assert (status, report["events"], report["broken"][0]["version"]) == (1, 2, 5)
    assert report["broken"][0]["reason"] == (
        f"the expected head {older} was not met between the trusted one, version 3 with {trusted}, and the end, "
        f"version 5 with {last}; what was before the trusted one is not looked at: leave out --from-head to look there"
    )
    status, report = journal.verify("p-1", "--from-head", last, "--expect-head", older)
    assert (status, report["events"]) == (1, 0)
    assert "is not looked at" in report["broken"][0]["reason"]


def test_what_is_broken_behind_a_trusted_head_is_1(journal: Journal) -> None:
    events = chain("p-1", 6)
    journal.write([*events[:4], events[5]])
    status, report = journal.verify("p-1", "--from-head", cid_text(events[2].cid))
    assert (status, report["events"], report["broken"][0]["version"]) == (1, 1, 6)


def test_a_copy_of_the_trusted_head_hides_nothing_that_came_between(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.audit.chunks.CHUNK_OFFSETS", 2)  # the copy is in a later chunk
    events = chain("p-1", 4)
    journal.write([*events, events[1]])
    status, report = journal.verify("p-1", "--from-head", cid_text(events[1].cid), "--tolerate-void")
    assert (status, report["events"], report["void"]) == (0, 2, 1)


def test_a_trusted_head_that_is_not_there_is_1(journal: Journal) -> None:
    events = chain("p-1", 3)
    journal.write(events[:2])
    status, report = journal.verify("p-1", "--from-head", cid_text(events[2].cid))
    assert (status, report["events"]) == (1, 0)
    assert "nothing was verified" in report["broken"][0]["reason"]


def test_a_journal_that_does_not_begin_at_0_is_1(journal: Journal) -> None:
    journal.write(chain("p-1", 4))
    partition = partition_of(b"p-1", PARTITIONS)

    async def cut() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=journal.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(journal.topic, partition): RecordsToDelete(before_offset=2)})
        await admin.close()

    asyncio.run(cut())
    status, report = journal.verify("--tolerate-void")
    assert status == 1
    assert [place["reason"].split(":")[0] for place in report["broken"]] == ["the journal begins at offset 2", "gap"]


@pytest.mark.parametrize("processes", [1, 2])
def test_many_chunks_and_processes_find_what_one_finds(journal: Journal, processes: int) -> None:
    events = [each for pair in zip(*(chain(f"q-{n}", 300) for n in range(20)), strict=True) for each in pair]
    in_first, in_second = (
        [each for each in events if partition_of(each.key or b"", PARTITIONS) == at] for at in range(2)
    )
    journal.write(in_first, 0, linger_ms=20)
    journal.write(in_second, 1, linger_ms=20)
    journal.write([in_first[5]], 0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("annals.workers.audit.chunks.CHUNK_OFFSETS", 256)
        patched.setattr("annals.workers.audit.verify.CHUNK_OFFSETS", 256)
        status, report = journal.verify("--processes", str(processes))
    assert (status, report["events"], report["aggregates"], report["void"]) == (1, 6_000, 20, 1)
    assert [(place["offset"], place["partition"]) for place in report["broken"]] == [(len(in_first), 0)]


def test_a_process_that_cannot_read_is_2_and_none_is_left(journal: Journal) -> None:
    journal.write(chain("p-1", 3))
    settings = Settings(bootstrap_servers=journal.bootstrap, topic_prefix=journal.topic.removesuffix("events.person"))
    (chunk, *_) = [
        chunk._replace(start=7_000, end=7_001)
        for chunk, _ in survey_in_processes(settings, [journal.topic], _chunks(settings), 1)
    ]
    with pytest.raises(SurveyError, match="has no offset 7000 any more"):
        list(survey_in_processes(settings, [journal.topic], iter([chunk]), 2))
    assert audit_processes.multiprocessing.active_children() == []


def _chunks(settings: Settings) -> Any:
    from annals.workers.audit.chunks import chunks_of
    from annals.workers.audit.journals import find_journals

    journals = asyncio.run(find_journals(settings, ["person"], b"p-1"))
    return (chunk for journal in journals for chunk in chunks_of(journal))


def test_progress_is_told_up_to_the_end(journal: Journal) -> None:
    journal.write(chain("p-1", 3))
    told: list[tuple[int, int]] = []
    settings = Settings(bootstrap_servers=journal.bootstrap, topic_prefix=journal.topic.removesuffix("events.person"))
    verify_journals(settings, ["person"], progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)
    assert CHUNK_OFFSETS > 3
    assert cores() >= 1


def test_progress_shows_on_a_terminal(journal: Journal, tmp_path: Path) -> None:
    journal.write(chain("p-1", 3))
    terminal, its_end = pty.openpty()
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=journal.bootstrap, ANNALS_TOPIC_PREFIX=journal.topic.removesuffix("events.person")
    )
    command = [ENTRY_POINT, "verify", "person"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=its_end, timeout=600, check=False)
    os.close(its_end)
    assert done.returncode == 0
    assert b"Verifying: 3 of 3 offsets (100 %)" in os.read(terminal, 10_000)
    os.close(terminal)


def test_ctrl_c_ends_all_its_processes(journal: Journal) -> None:
    for number in range(3):
        journal.write(chain(f"p-{number}", 2_000), 0, linger_ms=20)
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=journal.bootstrap, ANNALS_TOPIC_PREFIX=journal.topic.removesuffix("events.person")
    )
    script = (
        "import annals.workers.audit.chunks as chunks; from annals.workers.cli import main\n"
        "chunks.CHUNK_OFFSETS = 1\n"
        "if __name__ == '__main__': main(['verify', 'person', '--processes', '2'])"
    )
    command = [ENTRY_POINT.with_name("python"), "-c", script]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        parent = psutil.Process(process.pid)
        while len(parent.children()) < 3:  # two, and the one by which Python tidies up after processes
            assert process.poll() is None, process.stderr and process.stderr.read()
        children = parent.children()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "car"),
        ("verify", "person", "p-1", "p-2"),
        ("verify", "person", "--expect-head", cid_text(b"\x01\x71\x1e\x20" + bytes(32))),
        ("verify", "person", "p-1", "--from-head", "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"),
        ("verify", "--heads", os.devnull),
        ("verify", "person", "p-1", "--heads", os.devnull),
        ("events", "person"),
        ("events", "car", "p-1"),
        ("events", "person", "\udcff"),
    ],
)
def test_a_wrong_question_is_2(journal: Journal, words: tuple[str, ...]) -> None:
    assert journal.ask(*words) == (2, "")
    assert "Usage" in journal.errors or "Error" in journal.errors


def test_a_missing_journal_is_2_and_says_what_to_do(journal: Journal) -> None:
    for words in (("verify",), ("verify", "organization"), ("events", "organization", "o-1")):
        assert journal.ask(*words) == (2, "")
        assert "create it with `annals topics create`" in journal.errors


@pytest.mark.parametrize("words", [("verify",), ("verify", "person", "p-1"), ("events", "person", "p-1")])
def test_no_broker_is_2_in_one_line(capsysbinary: pytest.CaptureFixture[bytes], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--bootstrap-servers", "127.0.0.1:1"])
    printed = capsysbinary.readouterr()
    assert (exit_.value.code, printed.out) == (2, b"")
    assert printed.err.startswith(b"annals: no Kafka broker answers")
    assert printed.err.count(b"\n") == 1


def test_events_are_the_blocks_as_dag_json_with_their_places(journal: Journal) -> None:
    events = chain("p-1", 2, data={"name": "Ada", "n": 1.0, "list": [2**64 - 1, None, True]})
    journal.write([*chain("p-3", 1), *events] if partition_of(b"p-3", 2) == partition_of(b"p-1", 2) else events)
    status, printed = journal.ask("events", "person", "p-1")
    first, second = map(json.loads, printed.splitlines())
    assert status == 0
    assert first == {
        "kind": "person",
        "aggregate_id": "p-1",
        "version": 1,
        "previous": None,
        "type": "PersonRenamed",
        "schema_version": 1,
        "recorded_at": "2026-11-21T09:30:00.123456Z",
        "command_id": "command-1",
        "correlation_id": "command-1",
        "causation_id": None,
        "actor": "hr-service",
        "data": {"name": "Ada", "n": 1.0, "list": [2**64 - 1, None, True]},
        "cid": cid_text(events[0].cid),
        "partition": partition_of(b"p-1", PARTITIONS),
        "offset": first["offset"],
    }
    assert '"n":1.0' in printed
    assert second["previous"] == {"/": cid_text(events[0].cid)}
    assert second["offset"] == first["offset"] + 1


def test_events_deeper_than_one_library_writes_are_shown(journal: Journal) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    journal.write(chain("p-1", 1, data={"deep": deep}))
    status, printed = journal.ask("events", "person", "p-1")
    assert (status, json.loads(printed)["data"]) == (0, {"deep": deep})


def test_only_events_that_count_are_shown(journal: Journal) -> None:
    events = chain("p-1", 3)
    loser = sealed("p-1", 2, events[0].cid, data={"name": "loser"})
    junk = [events[0].but(value=b"{}"), events[0].but(value=None), sealed("p-3", 1, None).but(key=b"p-1")]
    journal.write([*events[:2], loser, *chain("p-1", 1, after=loser), *junk, events[0], events[2]])
    status, printed = journal.ask("events", "person", "p-1", "--json")
    assert status == 0
    assert [json.loads(line)["cid"] for line in printed.splitlines()] == [cid_text(each.cid) for each in events]


def test_events_stop_at_a_gap_with_1(journal: Journal) -> None:
    events = chain("p-1", 4)
    journal.write([events[0], events[1], events[3]])
    status, printed = journal.ask("events", "person", "p-1")
    assert (status, len(printed.splitlines())) == (1, 2)
    assert "offset 2 has version 4, the last event that counts is version 2" in journal.errors


@pytest.mark.parametrize(
    ("words", "versions"),
    [
        ("--from 2 --to 4", [2, 3, 4]),
        ("--reverse", [5, 4, 3, 2, 1]),
        ("--to 4 --reverse --limit 2", [4, 3]),
        ("--limit 2", [1, 2]),
    ],
)
def test_events_between_versions_are_shown_forwards_and_backwards(
    journal: Journal, words: str, versions: list[int]
) -> None:
    journal.write(chain("p-1", 5))
    status, printed = journal.ask("events", "person", "p-1", *words.split())
    assert (status, [json.loads(line)["version"] for line in printed.splitlines()]) == (0, versions)


def test_no_events_is_1(journal: Journal) -> None:
    assert journal.ask("events", "person", "nobody") == (1, "")
    assert "there is no event" in journal.errors


def test_where_an_aggregate_has_none_of_the_versions_that_are_asked_for_these_are_named(journal: Journal) -> None:
    journal.write(chain("p-1", 1))
    assert journal.ask("events", "person", "p-1", "--from", "3", "--to", "9") == (1, "")
    assert "there is no event of person 'p-1' from version 3 to version 9" in journal.errors


def test_whoever_reads_no_more_events_is_no_failure_of_the_program(journal: Journal) -> None:
    journal.write(chain("p-1", 300, data={"text": "x" * 1_000}))
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=journal.bootstrap, ANNALS_TOPIC_PREFIX=journal.topic.removesuffix("events.person")
    )
    command = [ENTRY_POINT, "events", "person", "p-1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 2


def test_no_text_is_made_of_a_survey(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when a survey is the result of a runner's task: its text takes as long as a third of the work."""
    made: list[object] = []

    def noted(survey: Survey) -> str:
        made.append(survey)
        return "a survey"

    monkeypatch.setattr(Survey, "__repr__", noted)
    journal.write(chain("p-1", 3))
    assert journal.verify()[0] == 0
    assert made == []
