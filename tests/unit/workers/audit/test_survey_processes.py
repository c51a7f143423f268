"""The processes that survey chunks, as the system starts them."""

import subprocess
import sys

# In a process of its own, whose multiprocessing has started nothing yet. The mask that a process is started with is
# the one that it has from its first instruction on.
SCRIPT = """
import multiprocessing.util
import signal

from annals.workers.audit.processes import survey_in_processes
from annals.workers.settings import Settings

spawn = multiprocessing.util.spawnv_passfds

def spawn_and_tell(path, arguments, handles):
    if any("spawn_main" in str(argument) for argument in arguments):
        print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return spawn(path, arguments, handles)

multiprocessing.util.spawnv_passfds = spawn_and_tell
list(survey_in_processes(Settings(bootstrap_servers="127.0.0.1:9"), [], iter([]), 3))
"""


def test_none_hears_ctrl_c_from_its_first_instruction_on() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600, check=True)
    assert run.stdout.splitlines() == ["True"] * 3
