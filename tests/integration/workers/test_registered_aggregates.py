"""An eighth aggregate, of another distribution: its entry point is all that a worker needs to run it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from distributions import installed
from processes import ENTRY_POINT, answer_of, free_port, own_environment, running, until

pytestmark = pytest.mark.broker
LAMP = Path(__file__).parents[2] / "lamp.py"


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """What a shell has where the distribution `annals-lamp` is installed beside the project."""
    code = LAMP.read_text() + "\n\nLAMP = lamp()\n"
    return own_environment(
        PYTHONPATH=installed(tmp_path / "site", "annals-lamp", "[annals.aggregates]\nlamp = lamp:LAMP\n", lamp=code),
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=topic_prefix,
        ANNALS_PARTITIONS="1",
        ANNALS_DATA_DIR=str(tmp_path / "data"),
        ANNALS_WEB_PORT=str(free_port()),
    )


def annals(arguments: str, environment: dict[str, str], given: str = "") -> str:
    words = [ENTRY_POINT, *arguments.split()]
    done = subprocess.run(words, env=environment, input=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def fetched(path: str, environment: dict[str, str]) -> bytes:
    status, body = answer_of(f"http://127.0.0.1:{environment['ANNALS_WEB_PORT']}{path}")
    return body if status == 200 else b""


def test_an_aggregate_of_another_distribution_runs_through_the_real_broker(
    environment: dict[str, str], topic_prefix: str, tmp_path: Path
) -> None:
    assert f"{topic_prefix}events.lamp" in annals("topics create", environment)
    log = tmp_path / "worker.log"
    commands = [
        {"kind": "lamp", "id": "c-1", "type": "HangLamp", "aggregate_id": "l-1", "data": {"bulb": "led"}},
        {"kind": "lamp", "id": "c-2", "type": "SwitchOn", "aggregate_id": "l-1", "data": {}},
        {"kind": "person", "id": "c-3", "type": "RegisterPerson", "aggregate_id": "p-1", "data": {"name": "Ada"}},
    ]
    with running([ENTRY_POINT, "worker"], environment, log) as worker:
        until(lambda: fetched("/health/ready", environment), worker, log, "annals worker")
        outcomes = annals("send", environment, "".join(json.dumps(each) + "\n" for each in commands))
        assert [json.loads(line)["status"] for line in outcomes.splitlines()] == ["accepted"] * 3
        schema = json.loads(fetched("/v1/schemas/urn:annals:schema:lamp:LampHung:1", environment))
        assert schema["required"] == ["bulb"]
        until(lambda: "schemas published" in log.read_text(), worker, log, "the schemas")
    events = [json.loads(line) for line in annals("events lamp l-1", environment).splitlines()]
    assert [(event["type"], event["data"]) for event in events] == [("LampHung", {"bulb": "led"}), ("SwitchedOn", {})]
    assert events[1]["previous"] == {"/": events[0]["cid"]}
    assert json.loads(annals("verify lamp --json", environment))["events"] == 2
    usage = [json.loads(line) for line in annals("schemas usage lamp --json", environment).splitlines()]
    assert [(each["type"], each["events"], each["known"]) for each in usage] == [
        ("LampHung", 1, True),
        ("SwitchedOn", 1, True),
    ]
    assert "urn:annals:schema:lamp:HangLamp:1" in annals("schemas list --kind lamp", environment)


def test_what_an_aggregate_of_another_distribution_published_is_exported_and_compared(
    environment: dict[str, str], tmp_path: Path
) -> None:
    kept, code = tmp_path / "kept", tmp_path / "site/lamp.py"
    listed = [json.loads(line) for line in annals("schemas list --kind lamp --json", environment).splitlines()]
    assert ("HangLamp", "HangLamp") in [(each["type"], each["title"]) for each in listed]  # it has no docstring
    annals(f"schemas export {kept}", environment)
    assert (kept / "lamp/LampHung.1.json").is_file()
    assert '"commands.lamp"' in (kept / "asyncapi.json").read_text()
    assert annals(f"schemas check --against {kept}", environment).startswith("0 differences")
    assert annals("schemas check", environment).startswith("0 differences")
    code.write_text(code.read_text().replace("bulb: Slug", "bulb: bool"))
    words = [ENTRY_POINT, "schemas", "check", "--against", kept]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert re.search(r"lamp:LampHung:1 data\.bulb: type .*: breaks stored events", done.stdout)
