"""Where it is said: names, keys, partitions, headers and settings of every topic, as data.

Pure: no I/O, no clock, no randomness. Imports `schemas` only.

- `annals.topics.keys`: which partition a key belongs to; the one place that decides it;
- `annals.topics.names`: the names of topics, the consumer group and transactional ids;
- `annals.topics.headers`: the headers of what is written, and their comparison with a block;
- `annals.topics.spec` and `annals.topics.catalog`: every topic and its settings, the source of provisioning and docs.
"""

if __name__ == "topics":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.topics: the folder topics is part of the package annals")
