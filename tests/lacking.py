"""What Python raises where the machine lacks something: nobody's defect, wherever it is met."""

import errno
import os
from collections.abc import Callable
from typing import Final

LACKING: Final[dict[str, Callable[[], Exception]]] = {
    "memory": MemoryError,
    "files": lambda: OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    "space": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "a thread": lambda: RuntimeError("can't start new thread"),
}
