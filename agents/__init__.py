"""Who answers, and how: the deciders of the aggregates, and the async functions that Faust runs as agents.

Knows neither Faust nor Kafka nor RocksDB: what leaves the process goes through the protocols of `annals.agents.ports`.
"""

if __name__ == "agents":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.agents: the folder agents is part of the package annals")
