"""What a worker and its child process say to one another, over a pair of sockets that the child inherits.

The first message has the settings, pickled by the parent: a secret in them is in no argument and no environment. The
end of the stream is the parent's end, whatever it was.
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from annals.workers.exposition import Family

if TYPE_CHECKING:
    import socket
    from asyncio import StreamReader, StreamWriter

    from annals.workers.settings import Settings

LENGTH: Final = struct.Struct(">I")


class Beginning(NamedTuple):
    """What a child begins with. former_member: the id in the group of the child before, which ended by itself."""

    settings: Settings
    former_member: str | None


class Ask(msgspec.Struct, tag=True):
    """The parent asks how the child is."""


class Started(msgspec.Struct, tag=True):
    """The child has its folder and its address. url: where others reach its API; None: nowhere."""

    url: str | None


class Joined(msgspec.Struct, tag=True):
    """The child is a member of its group, under this id."""

    member_id: str


class Refused(msgspec.Struct, tag=True):
    """The child cannot start as it is set up; the message says what to do."""

    message: str


class Answer(msgspec.Struct, tag=True):
    """How the child is: why it is not ready, and its metrics."""

    reasons: list[str]
    families: list[Family]


FromChild = Started | Joined | Refused | Answer


def send_beginning(own: socket.socket, beginning: Beginning) -> None:
    """Send a child what it begins with, before anything else."""
    content = pickle.dumps(beginning)
    own.sendall(LENGTH.pack(len(content)) + content)


def receive_beginning(own: socket.socket) -> Beginning:
    """Return what the parent sends first.

    Raises:
        EOFError: the parent is gone.
    """
    (length,) = LENGTH.unpack(_exactly(own, LENGTH.size))
    beginning: Beginning = pickle.loads(_exactly(own, length))  # noqa: S301 - the parent's, over a pipe of its own
    return beginning


def _exactly(own: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        part = own.recv(length - len(content))
        if not part:
            raise EOFError
        content += part
    return content


def send(writer: StreamWriter, message: Ask | FromChild) -> None:
    """Send a message."""
    content = msgspec.msgpack.encode(message)
    writer.write(LENGTH.pack(len(content)) + content)


async def receive(reader: StreamReader, type_: Any) -> Any:
    """Return the next message.

    Raises:
        EOFError: the other one is gone (asyncio.IncompleteReadError).
        OSError: so it is, and something of ours was not read.
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return msgspec.msgpack.decode(await reader.readexactly(length), type=type_)
