"""Ten people, registered and renamed four times: what a worker publishes in tests of deliveries."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from processes import ENTRY_POINT, own_environment

if TYPE_CHECKING:
    from grouped import Group

PEOPLE, RENAMES = 10, 4


def send_renames(crew: Group) -> None:
    """Send all the commands by the command line, and see that each is recorded."""
    commands = [
        {"kind": "person", "type": "RegisterPerson", "aggregate_id": f"p-{person}", "data": {"name": "Ada"}}
        for person in range(PEOPLE)
    ]
    commands += [
        {"kind": "person", "type": "RenamePerson", "aggregate_id": f"p-{person}", "data": {"name": f"Ada {version}"}}
        for version in range(RENAMES)
        for person in range(PEOPLE)
    ]
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=crew.settings.bootstrap_servers, ANNALS_TOPIC_PREFIX=crew.settings.topic_prefix
    )
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    sent = subprocess.run(
        [ENTRY_POINT, "send"], input=lines, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr
