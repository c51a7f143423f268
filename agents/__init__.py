"""Who answers, and how: deciders of the aggregates, and the async functions that Faust runs as agents.

Knows neither Faust nor Kafka nor RocksDB: what leaves the process goes through the protocols of `annals.agents.ports`.
A map, from the pure to the busy:

- `annals.agents.deciding`: what all aggregates share: the decider, the machine, rules and refusals (pure);
- `annals.agents.aggregates`: the seven aggregates, one file and one skeleton each (pure);
- `annals.agents.registered`: these, and those that other distributions register;
- `annals.agents.projections`: the read models, one file and one skeleton each (pure);
- `annals.agents.reactions`: the process managers, one file and one skeleton each (pure);
- `annals.agents.folding`: from journal records to states; the working set of a batch;
- `annals.agents.writing`: the shard, a partition's single writer (a map of its own): read this first;
- `annals.agents.reading`: followers of the journal, and what can be asked of them (a map of its own);
- `annals.agents.publishing`: which events go to which subscriptions, and the publisher of a partition;
- `annals.agents.dead_letters`: what is known of dead letters, and which are settled (pure);
- `annals.agents.reacting`: the processes of a reaction, and the reactor of a partition;
- `annals.agents.ports`: what these ask of the outside;
- `annals.agents.testing`: the kit for those who write aggregates.
"""

if __name__ == "agents":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.agents: the folder agents is part of the package annals")
