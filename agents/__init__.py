"""Who answers, and how: the deciders of the aggregates, and the async functions that Faust runs as agents.

Knows neither Faust nor Kafka nor RocksDB: what leaves the process goes through the protocols of `annals.agents.ports`.
"""
