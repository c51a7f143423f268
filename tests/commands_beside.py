"""Runs a command of `annals` in this process, beside an API of this process that it asks."""

from __future__ import annotations

import asyncio
import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from annals.workers.cli import main


async def annals(monkeypatch: pytest.MonkeyPatch, url: str, *words: str) -> tuple[int, str, str]:
    """Run a command that asks the API at a URL; its exit status, and what it says on standard output and error."""
    monkeypatch.setenv("ANNALS_API_URL", url)
    out, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()

    def run() -> int:
        with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit) as ended:
            main(list(words))
        out.flush()
        return int(str(ended.value.code))

    status = await asyncio.to_thread(run)
    return status, out.buffer.getvalue().decode(), errors.getvalue()  # type: ignore[attr-defined]
