"""What stands in memory where a worker has brokers, disks and a clock: for tests, users' too (`annals.testing`).

`deployment` runs commands through the shards of a worker; `source`, `stores`, `clock` and `telemetry` implement the
ports of `annals.agents.ports`. Each passes the suite of its port in `tests/conformance`, as the real one does.
"""
