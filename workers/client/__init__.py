"""The producer's side: commands that are sent, and the outcomes that come back.

- `annals.workers.client.sendable`: a command on the wire, refused here where it would become a dead letter;
- `annals.workers.client.outcomes`: the outcomes of one kind, from a moment on;
- `annals.workers.client.commands`: `CommandClient`, which sends and waits;
- `annals.workers.client.lines`, `annals.workers.client.streaming`: a stream of lines, answered in its order;
- `annals.workers.client.history`: the events of one aggregate that count.
"""

from annals.workers.client.commands import CommandClient, NoAnswerError
from annals.workers.client.history import history
from annals.workers.client.sendable import NotSendableError
from annals.workers.clock import new_id

__all__ = ["CommandClient", "NoAnswerError", "NotSendableError", "history", "new_id"]
