"""The pages for those who look after a deployment: each command that they show is run, and ends as it says.

Only what a page cannot know is put in: CIDs, the offset of a dead letter, and the address of the API.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from test_docs_run import blocks, run

from chained import make_topics
from grouped import Group, GroupWorker, group
from processes import ENTRY_POINT, own_environment

pytestmark = [pytest.mark.broker, pytest.mark.slow]
COMMANDS = [
    {"kind": "person", "id": f"c-{number}", "type": name, "aggregate_id": aggregate_id, "data": data}
    for number, (aggregate_id, name, data) in enumerate(
        (
            ("p-1", "RegisterPerson", {"name": "Ada Byron"}),
            ("p-100", "RegisterPerson", {"name": "Ada Lovelace"}),
            ("p-1", "AddEmail", {"email": "ada@example.org"}),
            ("p-1", "RenamePerson", {"name": "Ada King"}),
        )
    )
]
# What these ask for is not there; all others end with 0.
ANOTHER_STATUS = {
    "annals state person p-1 --at 2026-11-21T09:30:00Z": 1,
    "annals ask steps due=overdue": 1,
    "annals ask agents capability=search capability=vision": 1,
    "annals ask members organization_id=o-1 expect=organization/o-1@7": 2,
    "annals events --kind person --actor hr-service --reverse --limit 10": 1,
    "annals dead-letters replay --all --stop-at 5000 --type RegisterPerson": 1,
    "annals replay --type PersonRenamed --since 2026-11-01T00:00:00Z --handler ledger --retries 10 --rate 500": 2,
}


class Reader:
    """Somebody at a shell, beside a worker of both roles with two persons, and three commands that were garbage."""

    def __init__(self, crew: Group, worker: GroupWorker, folder: Path) -> None:
        self.settings = crew.settings
        self.worker = worker
        self.folder = folder
        self.api = worker.logged("worker started")[0]["api"]
        own = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers,
            ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix,
            ANNALS_PARTITIONS=str(crew.partitions),
            ANNALS_API_URL=self.api,
        )
        self._environment = own | {"PATH": f"{ENTRY_POINT.parent}{os.pathsep}{own['PATH']}"}

    def run(self, line: str, status: int = 0) -> str:
        """What a line prints, whose exit status is this one."""
        done = run(line, self._environment, self.folder)
        assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def until(self, line: str, lines: int) -> None:
        """Wait until a command prints so many lines."""
        self.worker.until(lambda: len(self.run(line).splitlines()) == lines, f"{line} has {lines} lines")


@pytest.fixture(scope="module")
def reader(bootstrap: str, shared_prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("operator")
    with group(bootstrap, shared_prefix, folder / "workers", partitions=1) as crew:
        worker = crew.worker("one", {}, ROLES="write,read", API_PORT="0").until_ready()
        found = Reader(crew, worker, folder)
        lines = "\n".join(map(json.dumps, COMMANDS))
        found.run(f"annals send <<'LINES'\n{lines}\nLINES")
        found.run("annals ask people email=ada@example.org expect=person/p-1@3")
        producer = Producer({"bootstrap.servers": bootstrap})
        for number in (1, 2, 3):
            producer.produce(f"{shared_prefix}commands.person", b"garbage", f"p-{number}".encode())
        assert producer.flush(60) == 0
        yield found
        assert worker.end() == 0


def shown(page: str, words: str = "") -> list[str]:
    """The commands of a page that have these words, in their order."""
    texts = [body for language, body in blocks(f"how-to/{page}.md") if language in {"sh", "text"}]
    lines = [line for body in texts for line in body.splitlines() if line.startswith(f"annals {words}")]
    assert lines
    return lines


@pytest.mark.parametrize("page", ["read-states", "read-events-over-http", "read-events", "upgrade"])
def test_what_a_page_shows_is_answered(reader: Reader, page: str) -> None:
    for line in shown(page):
        # what goes on until it is ended is ended by a limit
        reader.run(f"{line} --limit 3" if "--follow" in line else line, ANOTHER_STATUS.get(line, 0))


def test_the_paths_that_a_page_shows_are_answered(reader: Reader) -> None:
    bodies = [body for _, body in blocks("how-to/read-events-over-http.md")]
    paths = [path for body in bodies for path in re.findall(r"^GET (\S+)", body, re.MULTILINE) if "follow" not in path]
    assert len(paths) == 4
    for path in paths:
        status, answer = reader.worker.asked("GET", path.replace("{id}", "c-0"))
        assert status == 200, answer


def test_dead_letters_are_looked_at_sent_again_and_discarded(reader: Reader) -> None:
    reader.until("annals dead-letters list", 3)
    for line in shown("parked-and-dead-letters", "dead-letters"):
        reader.run(line.replace("4711 4712", "1 2").replace("4711", "0"), ANOTHER_STATUS.get(line, 0))
    reader.until("annals dead-letters list", 2)  # those that were sent again


def test_a_subscription_is_put_looked_at_and_read(reader: Reader) -> None:
    ((_, definition),) = blocks("how-to/subscribe.md")
    (reader.folder / "billing.json").write_text(definition)
    for words in ("put billing billing.json", "list", "show billing", "pause billing", "resume billing"):
        reader.run(f"annals subscriptions {words}")
    event = json.loads(reader.run("annals subscribe billing --limit 1 --json"))
    assert (event["subject"], event["data"]) == ("p-1", {"name": "Ada Byron"})


def test_an_event_is_parked_by_hand_and_replayed_and_discarded(reader: Reader) -> None:
    (_, definition), _, (_, by_hand) = blocks("how-to/acknowledge-deliveries.md")
    patient = definition.replace('"ack_timeout_ms": 30000', '"ack_timeout_ms": 3600000')
    assert patient != definition
    (reader.folder / "crm.json").write_text(patient)
    reader.run("annals subscriptions put crm crm.json")
    by_hand = by_hand.replace("billing", "crm").replace("http://127.0.0.1:6067", reader.api).replace('"ack"', '"park"')
    attempt, is_parked = 0, False
    for line in shown("parked-and-dead-letters", "parked"):
        if not is_parked:
            attempt += 1
            # each attempt of the first event of p-1, and the one of p-100; the others of p-1 wait
            deliveries = reader.run(f"annals subscribe crm --json --limit {attempt + 1}").splitlines()
            event = [each for each in map(json.loads, deliveries) if each["subject"] == "p-1"][-1]
            assert int(event.get("redelivery", 1)) == attempt
            answer = by_hand.replace("bafyr4i…", event["id"]).replace('"attempt": 1', f'"attempt": {attempt}')
            assert json.loads(reader.run(answer)) == {"accepted": 1}
            reader.until("annals parked list crm", 1)
        reader.run(line.replace("billing", "crm").replace("bafyr4i…", event["id"]))
        is_parked = "replay" not in line and "discard" not in line
    reader.until("annals parked list crm", 0)


def test_events_are_replayed(reader: Reader) -> None:
    asyncio.run(make_topics(reader.settings.bootstrap_servers, [f"{reader.settings.topic_prefix}replays.billing"]))
    for line in shown("replay"):
        reader.run(line, ANOTHER_STATUS.get(line, 0))
    (body,) = [body for language, body in blocks("how-to/replay.md") if language == "json"]
    assert reader.worker.call("POST", "/v1/replays", json.loads(body))[0] == 202
