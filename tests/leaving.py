"""What Python raises to end something larger than what it is raised in: code of one's own may raise it, too."""

import asyncio
from collections.abc import Callable
from typing import Final


class OwnError(BaseException):
    """What a library of somebody's makes of it."""


LEAVING: Final[dict[str, Callable[[], BaseException]]] = {
    "SystemExit": lambda: SystemExit("a secret"),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("a secret"),
    "GeneratorExit": lambda: GeneratorExit("a secret"),
    "CancelledError": lambda: asyncio.CancelledError("a secret"),
    "StopIteration": lambda: StopIteration("a secret"),
    "OwnError": lambda: OwnError("a secret"),
}
"""Nobody waits for them in code that does not wait: raised there, they are its defect as any other."""
