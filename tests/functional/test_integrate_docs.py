"""The guides for who integrates another service, carried out from their first block to their last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from test_docs_run import blocks, run

from chained import chain, make_topics
from grouped import group
from processes import ENTRY_POINT, own_environment

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def environment(bootstrap: str, topic_prefix: str, **settings: str) -> dict[str, str]:
    """What the reader of a guide has: annals on the path, and what leads to the broker."""
    own = own_environment(ANNALS_BOOTSTRAP_SERVERS=bootstrap, ANNALS_TOPIC_PREFIX=topic_prefix, **settings)
    return own | {"PATH": f"{ENTRY_POINT.parent}{os.pathsep}{own['PATH']}"}


def run_python(body: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(body)
    return subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_service_asks_sends_reads_and_translates(bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    with group(bootstrap, topic_prefix, tmp_path / "workers", partitions=1) as crew:
        worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
        own = environment(bootstrap, topic_prefix, ANNALS_API_URL=worker.logged("worker started")[0]["api"])
        pieces = blocks("how-to/integrate.md")
        assert [language for language, _ in pieces] == ["sh", "sh", "python", "sh", "python"]
        for language, body in pieces:
            done = (run_python if language == "python" else run)(body, own, tmp_path)
            assert done.returncode == 0, f"{body}\n{done.stdout}{done.stderr}"
            assert done.stdout.strip()
            if "relay(" in body:
                assert done.stdout == "accepted 2\nduplicate 2\n"
        assert worker.end() == 0


async def test_a_share_group_hands_out_what_is_committed(bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    topic = f"{topic_prefix}subscribers.mailing"
    await make_topics(bootstrap, [topic])
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(60)
    for is_committed in (False, True, False):
        producer.begin_transaction()
        for event in [*chain("p-1", 1), *chain("p-2", 1), *chain("p-3", 1)]:
            producer.produce(topic, b"{}", event.key, 0, headers=event.headers)
        assert producer.flush(60) == 0
        (producer.commit_transaction if is_committed else producer.abort_transaction)(60)
    ((_, body),) = blocks("how-to/share-groups.md")
    done = run_python(body, environment(bootstrap, topic_prefix), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.splitlines()) == ["p-1 1", "p-2 2", "p-3 1"]
