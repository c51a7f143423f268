"""The reading child of a worker under a plan: shorter sessions, fewer kinds. `chaos_launcher.py` has it started so.

python chaos_reader.py PLAN SOCKET
"""

import json
import sys


def main() -> None:
    plan = json.loads(sys.argv[1])
    from annals.agents import registered as registry
    from annals.workers import reader, reader_child
    from annals.workers.kafka.group import transport

    registry.REGISTRY = {kind: decider for kind, decider in registry.REGISTRY.items() if kind in plan["kinds"]}
    reader.READING_SESSION_TIMEOUT_MS = plan["session_ms"]  # type: ignore[misc]
    transport.HEARTBEAT_INTERVAL_MS = plan["session_ms"] // 4  # type: ignore[misc]
    reader_child.main(sys.argv[2:])


if __name__ == "__main__":
    main()
