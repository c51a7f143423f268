"""The producer's side: commands that are sent, and the outcomes that come back.

- `workers.client.sendable`: a command as it goes over the wire, refused here where it would become a dead letter;
- `workers.client.outcomes`: the outcomes of one kind, from a moment on;
- `workers.client.commands`: `CommandClient`, which sends and waits;
- `workers.client.lines`, `workers.client.streaming`: a stream of lines, answered in its order;
- `workers.client.history`: the events of one aggregate that count.
"""

from workers.client.commands import CommandClient, NoAnswerError
from workers.client.sendable import NotSendableError

__all__ = ["CommandClient", "NoAnswerError", "NotSendableError"]
