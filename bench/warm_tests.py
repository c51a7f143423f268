"""Run tests again and again in forks of a process that has loaded what no mutant changes: libraries, never `annals`.

    bench/warm_tests.py serve SOCKET PYTEST_ARGUMENT ...
    bench/warm_tests.py ask SOCKET

`ask` exits with pytest's status. A run whose asker is gone, since it took too long, is killed.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from pathlib import Path
from select import select

LIBRARIES = ("aiohttp", "aiokafka", "click", "hypothesis", "msgspec", "orjson", "pytest", "pytest_asyncio", "structlog")
LOOK_S = 0.02


def serve(address: str, arguments: list[str]) -> None:
    """Answer each connection with the status of a run of its own, one at a time, until terminated."""
    for library in LIBRARIES:
        importlib.import_module(library)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    while True:
        asker, _ = listener.accept()
        with asker:
            child = os.fork()
            if not child:
                _run(arguments)
            if (status := _status_of(child, asker)) is not None:
                asker.sendall(b"%d" % status)


def _run(arguments: list[str]) -> None:
    import pytest  # noqa: PLC0415 - the asker needs none of it

    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    status = 1
    try:
        # pytest would rewrite the assertions of its plugins, had it loaded them itself.
        status = int(pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments]))
    finally:
        os._exit(status)


def _status_of(child: int, asker: socket.socket) -> int | None:
    """Return a run's exit status; None if nobody waits for it any more."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if select([asker], [], [], LOOK_S)[0]:  # it says nothing: it is gone
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None


def ask(address: str) -> int:
    """Return the exit status of a run."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        return int(server.recv(16) or b"1")


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "serve":
        serve(where, rest)
    sys.exit(ask(where))
