"""Commands that the code did not foresee, by their value or by their cost, through a real broker: the others go on."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributions import installed
from processes import ENTRY_POINT, answer_of, free_port, own_environment, running, until
from whole_topics import records_of, until_settled

pytestmark = pytest.mark.broker
LAMP = Path(__file__).parents[3] / "lamp.py"
GONE_OUT_S = 8.0  # the group's session: a worker that is away for longer is thrown out


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """A shell with an aggregate beside the project's, whose `evolve` fails for the bulb that is called unforeseen."""
    hung = 'return Lamp(status="dark", bulb=event.bulb)'
    code = LAMP.read_text()
    assert hung in code
    defect = f"1 / (event.bulb != 'unforeseen')\n            {hung}"
    code = code.replace(hung, defect) + "\n\nLAMP = lamp()\n"
    return own_environment(
        PYTHONPATH=installed(tmp_path / "site", "annals-lamp", "[annals.aggregates]\nlamp = lamp:LAMP\n", lamp=code),
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=topic_prefix,
        ANNALS_PARTITIONS="1",
        ANNALS_CREATE_TOPICS="1",
        ANNALS_DATA_DIR=str(tmp_path / "data"),
        ANNALS_WEB_PORT=str(free_port()),
    )


def command(kind: str, name: str, aggregate_id: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "type": name, "aggregate_id": aggregate_id, "data": data}


def sent(environment: dict[str, str], *commands: dict[str, Any], timeout_s: int = 60) -> list[dict[str, Any]]:
    """Send the commands, and return what became of each."""
    lines = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in commands)
    words = [ENTRY_POINT, "send", "--timeout", str(timeout_s)]
    done = subprocess.run(words, env=environment, input=lines, capture_output=True, text=True, timeout=600, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(commands), done.stderr[-2000:]
    return answers


def fetched(path: str, environment: dict[str, str]) -> tuple[int, str]:
    status, body = answer_of(f"http://127.0.0.1:{environment['ANNALS_WEB_PORT']}{path}")
    return status, body.decode()


def cpu_s(pid: int) -> float:
    """What a process has taken of the processor: how long that took is a matter of what else runs."""
    return sum(psutil.Process(pid).cpu_times()[:2])


def dead_letters(bootstrap: str, prefix: str) -> list[tuple[bytes, dict[str, bytes]]]:
    topic = f"{prefix}dead-letters"
    asyncio.run(until_settled(bootstrap, topic))
    return [(record.value(), dict(record.headers() or ())) for record in records_of(bootstrap, topic)]


def test_what_one_command_meets_is_its_own_answer(
    environment: dict[str, str], bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    broken = command("lamp", "HangLamp", "l-1", {"bulb": "unforeseen"})
    vast = {"name": "a", "definition": "a", "owner": {"kind": "person", "id": "p"}, "subjects": [{}] * 300_000}
    step = {"name": "a", "step_type": "manual", "depends_on": [f"s{number}" for number in range(101)]}
    tangled = {"name": "a", "definition": "a", "owner": vast["owner"], "steps": {"s": step}}
    with running([ENTRY_POINT, "worker"], environment, log) as worker:
        until(lambda: fetched("/health/ready", environment)[0] == 200, worker, log, "annals worker")
        before = cpu_s(worker.pid)
        end_of_time, draft, costly, costly_again, person, hang, other = sent(
            environment,
            command("policy", "ActivatePolicy", "po-1", {"effective_from": "9999-12-31T23:59:60Z"}),
            command(
                "policy",
                "DraftPolicy",
                "po-1",
                {"name": "a", "description": "a", "owner": vast["owner"], "enforcement": "soft"},
            ),
            command("workflow", "DefineWorkflow", "w-1", vast),
            command("workflow", "DefineWorkflow", "w-2", vast),
            command("person", "RegisterPerson", "p-1", {"name": "Ada"}),
            broken,
            command("lamp", "HangLamp", "l-2", {"bulb": "led"}),
        )
        assert end_of_time["error"]["details"] == {
            "errors": [{"path": "data.effective_from", "message": "is no moment of the calendar (RFC 3339 date-time)"}],
            "more": 0,
        }
        too_many = {"errors": [{"path": "data.subjects", "message": "expected array of length <= 20"}], "more": 0}
        assert costly["error"]["details"] == costly_again["error"]["details"] == too_many
        assert [each["status"] for each in (draft, person, other)] == ["accepted"] * 3
        refused = sent(environment, *(command("workflow", "DefineWorkflow", f"w-{n}", tangled) for n in range(3, 8)))
        too_many = {"path": "data.steps.s.depends_on", "message": "expected array of length <= 100"}
        assert [each["error"]["details"]["errors"] for each in refused] == [[too_many]] * 5
        assert (hang["error"]["code"], hang["error"]["details"]) == ("internal_error", {})
        assert (hang["version"], hang["head"]) == (0, None)
        counted = 'annals_dead_letters_total{kind="lamp",reason="internal_error"} 1.0'
        # what a client has read is counted a moment later
        until(lambda: counted in fetched("/metrics", environment)[1], worker, log, "it is counted")
        assert cpu_s(worker.pid) - before < GONE_OUT_S / 2
        ((value, headers),) = dead_letters(bootstrap, topic_prefix)
        assert json.loads(value)["data"] == broken["data"]
        assert headers["reason"] == b"internal_error"
        assert headers["message"] == b"deciding it failed with ZeroDivisionError"
        told = log.read_text()
        assert "command failed by a defect" in told
        assert "unforeseen" not in told

        again = [{**broken, "aggregate_id": f"l-{n}"} for n in range(3, 8)]
        assert [each["status"] for each in sent(environment, *again[:4])] == ["rejected"] * 4
        assert [each["status"] for each in sent(environment, *again[4:], timeout_s=10)] == ["unknown"]
        status, reasons = fetched("/health/ready", environment)
        assert status == 503
        assert "failed with ZeroDivisionError at lamp:" in reasons
        assert sent(environment, command("person", "RegisterPerson", "p-2", {"name": "Bea"}))[0]["status"] == "accepted"
