"""`annals demo` as a newcomer runs it: what it shows, what it finds, and that it leaves nothing behind."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from annals.schemas.kinds import KINDS
from processes import ENTRY_POINT, own_environment

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WITHIN_S = 600  # well below a minute on a machine that does nothing else


def environment(folder: Path) -> dict[str, str]:
    """Temporary folders are made below the test's own, so that one that is left behind is seen."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    # Of a deployment that the demo must not touch.
    return own_environment(TMPDIR=str(temporary), ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:1", ANNALS_TOPIC_PREFIX="prod.")


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ENTRY_POINT, "demo", *arguments],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def processes_of(folder: Path) -> list[list[str]]:
    """The processes that work in a folder: they are told theirs by their arguments, or are below it themselves."""
    return [
        found.info["cmdline"]
        for found in psutil.process_iter(["cmdline", "cwd"])
        if any(str(folder) in argument for argument in found.info["cmdline"] or [])
        or (found.info["cwd"] or "").startswith(f"{folder}/")
    ]


def assert_nothing_is_left(folder: Path) -> None:
    assert processes_of(folder) == []
    assert list((folder / "tmp").iterdir()) == []


def test_the_demo_tells_its_story_and_leaves_nothing(tmp_path: Path) -> None:
    told = demo(tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    assert "\x1b" not in told.stdout
    lines = told.stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in lines if line[:1].isdigit()] == [
        "A lab opens",
        "Ada and Grace join",
        "A rule for AI",
        "An agent is hired",
        "It does research",
        "The report is out",
        "What people ask",
        "A subscriber answers",
        "Two at once",
        "A worker dies",
        "One chain",
        "A tampered copy",
        "The whole journal",
    ]
    refused = [line.split()[4] for line in lines if line.startswith("  ✗") and line.endswith("on purpose:")]
    assert refused == ["email_unverified", "own_approval", "model_missing", "dependencies_open"]
    for kind in KINDS:
        assert any(line.startswith("  ✓") and line.split()[2:3] == [kind] for line in lines), kind
    text = told.stdout
    for fact in (
        "duplicate: v4             the same id again: the same event",
        " by assign-tasks, caused by …",
        " by complete-steps, caused by …",
        "?email=ada@institute.example\n      p-1, Ada Lovelace, active",
        "?expect_at_least=7\n      completed at version 7, …",
        "ModelConfigured v2 of agent scout refused, sent again, and parked: the model Large 1 is not known here",
        "meanwhile 12 later events of others are acknowledged; 5 later ones of agent scout wait",
        "19 events in the journals, 19 taken: each settled once, none forgotten, none overtaken",
        "version_conflict, it expected version 2, and now it is 3",
        "3,000 commands, 3,000 accepted; counted in the journal: each has its event, none lost, none twice",
        "caught at version 3,",
        "caught by the kept head: the chain does not contain the expected head",
        " events of 209 aggregates, 0 void, 0 foreign",
        "Everything held",
    ):
        assert fact in text, text
    # The README shows some of it.
    shown = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0].splitlines()
    assert {masked(line) for line in shown} <= {masked(line) for line in lines}
    assert_nothing_is_left(tmp_path)


def masked(line: str) -> str:
    """A line without what differs from run to run: the ends of CIDs, process ids, counts, offsets, seconds."""
    return re.sub(r"\d[\d.,]*", "0", re.sub("…[a-z2-7]{8}", "…", line))


def test_a_second_run_in_the_same_folder_goes_on_with_the_same_chains(tmp_path: Path) -> None:
    data = tmp_path / "data"
    runs = []
    for _ in range(2):
        told = demo(tmp_path, "--json", "--data-dir", str(data))
        assert told.returncode == 0, told.stdout + told.stderr
        runs.append(json.loads(told.stdout))
        assert_nothing_is_left(tmp_path)
    first, second = runs
    assert (first["run"], second["run"]) == (1, 2)
    assert first["differed"] is second["differed"] is None
    assert first["data_dir"] == second["data_dir"] == str(data)

    assert first["story"] == {"accepted": 38, "rejected": 4, "duplicate": 1}
    assert second["story"] == {"duplicate": 39}
    assert (first["sequel"], second["sequel"]) == (None, {"accepted": 18, "rejected": 1})
    assert second["reactions"][:2] == first["reactions"]
    for found in second["reactions"], first["reactions"]:
        assert [(each["reaction"], each["type"]) for each in found] == [
            ("assign-tasks", "TaskAssigned"),
            ("complete-steps", "StepCompleted"),
        ] * (len(found) // 2)
    assert len({each["causation_id"] for each in second["reactions"]}) == 4

    for number, found in enumerate(runs, start=1):
        assert [row["aggregate_id"] for row in found["reading"]["people"]] == ["p-1"]
        assert found["reading"]["state"]["aggregate_id"] == f"research-{number}"
        assert (found["reading"]["state"]["status"], found["reading"]["as_it_was"]["status"]) == (
            "completed",
            "running",
        )
    # Of each run the agent's new model is poison; 3 later events of the agent wait for it in the second.
    assert [found["subscriber"]["parked"]["version"] for found in runs] == [2, 8]
    assert [found["subscriber"]["waited"] for found in runs] == [5, 3]
    assert [found["subscriber"]["parked"]["later_of_others"] for found in runs] == [12, 12]
    assert [found["subscriber"]["events"] for found in runs] == [19, 35]
    assert [found["subscriber"]["unsettled"] for found in runs] == [0, 0]
    assert second["conflict"]["expected"] == first["conflict"]["version"]

    for found in runs:
        assert found["killed"]["in_hand"] > 0
        assert (found["killed"]["commands"], found["killed"]["lost"], found["killed"]["twice"]) == (3_000, 0, 0)
        assert found["tampered"]["altered"]["aggregate_id"] == "p-1"
        assert found["tampered"]["altered"]["version"] == 3
        assert found["tampered"]["cut"]["aggregate_id"] == "p-3"
        assert (found["verify"]["void"], found["verify"]["foreign"], found["verify"]["broken"]) == (0, 0, [])

    assert [link["type"] for link in first["chain"]] == [
        "PersonRegistered",
        "EmailAdded",
        "EmailVerified",
        "PrimaryEmailSet",
    ]
    assert second["chain"][:4] == first["chain"]
    assert [link["type"] for link in second["chain"][4:]] == ["PersonRenamed"]
    assert [link["previous"] for link in second["chain"]] == [None, *(link["cid"] for link in second["chain"][:-1])]
    # Guests are not registered again, only renamed; every aggregate that the first run kept a head of is there.
    added = second["verify"]["events"] - first["verify"]["events"]
    assert added == second["sequel"]["accepted"] + 2 + 1 + 2_800
    assert second["kept_heads"] == 9
    assert second["verify"]["aggregates"] == first["verify"]["aggregates"] + 1


@pytest.mark.untraced
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    shown = interrupted(tmp_path, b"An agent is hired", number)
    assert b"\x1b[32m  \xe2\x9c\x93 \x1b[0m" in shown  # a green check mark
    assert_nothing_is_left(tmp_path)


@pytest.mark.untraced
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Between an event and what a reaction makes of it, and where an event is parked."""
    data = tmp_path / "data"
    for word in (b"StepStarted v3", b"later ones of agent scout wait"):
        interrupted(tmp_path, word, signal.SIGINT, "--data-dir", str(data))
        assert_nothing_is_left(tmp_path)
    told = demo(tmp_path, "--json", "--data-dir", str(data))
    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout)
    assert found["run"] == 1
    assert [each["reaction"] for each in found["reactions"]] == ["assign-tasks", "complete-steps"]
    assert (found["subscriber"]["events"], found["subscriber"]["unsettled"]) == (19, 0)
    assert (found["verify"]["void"], found["verify"]["foreign"], found["verify"]["broken"]) == (0, 0, [])


def interrupted(folder: Path, word: bytes, number: signal.Signals, *arguments: str) -> bytes:
    """What a demo on a terminal shows that is interrupted at a word, when broker and workers run."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [ENTRY_POINT, "demo", *arguments],
        env=environment(folder) | {"TERM": "xterm-256color"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        restore_signals=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, word)
        found = [arguments for arguments in processes_of(folder) if "demo" not in arguments]
        assert len(found) == 4  # the broker, two workers, and that which reads
        process.send_signal(number)
        shown += read_until(ours, None)
        assert process.wait(WITHIN_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Traceback" not in shown
    assert b"Everything held" not in shown
    return shown


def read_until(terminal: int, word: bytes | None) -> bytes:
    """What a terminal shows until a word, or until nobody has it open any more."""
    shown = b""
    while word is None or word not in shown:
        assert select.select([terminal], [], [], WITHIN_S)[0], f"nothing for {WITHIN_S} s after {shown[-2000:]!r}"
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # EIO: the last one has closed it
            read = b""
        assert read or word is None, shown.decode()
        if not read:
            break
        shown += read
    return shown


def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    told = demo(tmp_path, "--data-dir", str(tmp_path))
    assert told.returncode == 2
    assert told.stderr == f"annals: {tmp_path} is not empty, and no demo's: name another folder with --data-dir\n"
    assert (tmp_path / "thesis.tex").exists()
