"""A broker of commands for tests of the API: it takes them, and says of each what it was told to."""

import asyncio

from annals.workers.client.outcomes import Pending


class Broker:
    """Takes commands, and says of each what it was told to."""

    def __init__(self, answer=None, *, delivered=True):
        self.answer, self.delivered, self.sent = answer, delivered, []

    async def submit(self, command):
        self.sent.append(command)
        pending = Pending(command.key, command.id, asyncio.get_running_loop().time() + 30)
        if self.delivered is not None:
            pending.delivered.set_result(self.delivered)
        if isinstance(self.answer, bytes):
            pending.answer.set_result(self.answer)
        elif self.answer is not None:
            pending.answer.set_exception(self.answer)
        return pending
