"""People of a deployment, by its command line: commands to all of them and the outcomes, and the journal verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from processes import annals

if TYPE_CHECKING:
    from pathlib import Path


class People:
    """The persons `p-0` and so on; within_s: how long all of their answers may take."""

    def __init__(self, environment: dict[str, str], folder: Path, count: int, within_s: int) -> None:
        self.environment, self.folder = environment, folder
        self.count, self.within_s = count, within_s

    def send(self, type_name: str, command: str, name: str) -> list[dict[str, Any]]:
        """Send each of them a command of a type, under the id `command` with the number; the outcomes."""
        lines = self.folder / "commands.jsonl"
        with lines.open("w") as file:
            for number in range(self.count):
                said = {"kind": "person", "type": type_name, "aggregate_id": f"p-{number}", "id": f"{command}-{number}"}
                file.write(json.dumps({**said, "data": {"name": f"{name} {number}"}}) + "\n")
        sent = annals("send", str(lines), "--timeout", str(self.within_s), environment=self.environment)
        assert sent.returncode == 0, sent.stdout[-2000:] + sent.stderr
        return [json.loads(line) for line in sent.stdout.splitlines()]

    def verify(self) -> dict[str, Any]:
        verified = annals("verify", "person", "--json", environment=self.environment)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        answer: dict[str, Any] = json.loads(verified.stdout)
        return answer


def statuses(outcomes: list[dict[str, Any]]) -> set[str]:
    return {outcome["status"] for outcome in outcomes}
