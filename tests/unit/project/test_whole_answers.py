"""What tests take for the answer of a process that others kill: a whole one, or none."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from processes import answer_of, free_port

HEAD = b"HTTP/1.1 %b\r\ncontent-length: 20\r\n\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of somebody who answers one request with these bytes, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        serving.join()


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (HEAD % b"200 OK" + b"x" * 20, (200, b"x" * 20)),
        (HEAD % b"503 no" + b"x" * 20, (503, b"x" * 20)),
        (HEAD % b"200 OK" + b"x" * 7, (0, b"")),
        (HEAD % b"503 no" + b"x" * 7, (0, b"")),
        (b"HTT", (0, b"")),
        (b"", (0, b"")),
    ],
)
def test_an_answer_that_did_not_come_whole_is_none(answer: bytes, found: tuple[int, bytes]) -> None:
    with answering(answer) as address:
        assert answer_of(address) == found


def test_where_nobody_listens_there_is_no_answer() -> None:
    assert answer_of(f"http://127.0.0.1:{free_port()}/") == (0, b"")
