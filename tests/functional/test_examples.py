"""The examples, run against a worker on a real broker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import annals, worker_on_topics_of_its_own
from whole_topics import commands_of

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Topics of this test's own, and a worker."""
    with worker_on_topics_of_its_own(bootstrap, topic_prefix, tmp_path) as environment:
        yield environment


def run(name: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_consumer_reads_and_an_auditor_proves_what_a_producer_brought_about(environment: dict[str, str]) -> None:
    produced = run("producer.py", "p-7", environment=environment)
    assert produced.returncode == 0, produced.stdout + produced.stderr
    lines = produced.stdout.splitlines()
    assert [line.split(": ", 1)[1] for line in lines[:2]] == ["accepted PersonRegistered", "duplicate PersonRegistered"]
    assert lines[2] == "p-7 version 2: accepted PersonRenamed"
    assert lines[3].startswith("p-7 version 2: rejected version_conflict: ")
    assert lines[4] == "p-7 version 3: accepted EmailAdded"
    head = lines[5].rsplit(" ", 1)[1]
    sent = commands_of("person", environment)
    assert sent[0]["id"] == sent[1]["id"]
    assert len({each["id"] for each in sent}) == 4
    assert [each["expected_version"] for each in sent] == [0, 0, 1, 1, 2]
    heads = [each.get("expected_head") for each in sent]
    assert heads[:2] == [None, None]
    assert heads[2] == heads[3] != heads[4]
    assert all(heads[2:])

    consumed = run("consumer.py", environment=environment)
    assert consumed.returncode == 0, consumed.stdout + consumed.stderr
    *decisions, summary = consumed.stdout.splitlines()
    assert [line.split(" by ")[0] for line in decisions] == [
        "p-7: PersonRegistered v1",
        "p-7: PersonRenamed v2",
        "p-7: EmailAdded v3",
    ]
    assert decisions[-1].endswith(f", head {head}")
    assert summary == "3 commands led to events; 0 records do not count"

    topic, servers = f"{environment['ANNALS_TOPIC_PREFIX']}events.person", environment["ANNALS_BOOTSTRAP_SERVERS"]
    for heads, status, ending in [
        ([head], 0, "0 after a gap; 1 of 1 kept heads found"),
        ([head, head.translate(str.maketrans("ab", "ba"))], 1, "0 after a gap; 1 of 2 kept heads found"),
    ]:
        kept = [word for each in heads for word in ("--head", "p-7", each)]
        audited = run("auditor.py", topic, "--servers", servers, *kept, environment=environment)
        assert audited.returncode == status, audited.stdout + audited.stderr
        assert audited.stdout.splitlines()[-1] == f"3 events of 1 aggregate count; 0 void, 0 foreign, {ending}"


def test_a_consumer_without_topics_says_what_to_do(environment: dict[str, str]) -> None:
    consumed = run("consumer.py", environment=environment | {"ANNALS_TOPIC_PREFIX": "none."})
    assert consumed.returncode == 1
    assert consumed.stderr == "there is no topic none.events.person: create it with `annals topics create`\n"


def test_research_goes_from_a_question_to_a_published_report(environment: dict[str, str]) -> None:
    told = run("research.py", environment=environment)
    assert told.returncode == 0, told.stdout + told.stderr
    lines = [line.split() for line in told.stdout.splitlines()]
    assert lines[-1] == ["document", "PublishDocument", "accepted", "DocumentPublished"]
    assert [line[3] for line in lines if line[2] == "rejected"] == [
        "model_missing",
        "dependencies_open",
        "steps_open",
        "not_the_assignee",
        "confidence_too_low",
    ]
    verified = annals("verify", "--json", environment=environment)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    found = json.loads(verified.stdout)
    assert (found["aggregates"], found["void"], found["foreign"], found["broken"]) == (5, 0, 0, [])
    assert found["events"] == sum(line[2] == "accepted" for line in lines)
