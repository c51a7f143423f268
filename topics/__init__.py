"""Where it is said: names, keys, partitions, headers and settings of every topic, as data.

Pure: no I/O, no clock, no randomness. Imports `schemas` only.

- `annals.topics.keys`: which partition a key belongs to; the one place that decides it;
- `annals.topics.names`: the names of topics, the consumer group and transactional ids;
- `annals.topics.headers`: the headers of what is written, and their comparison with a block;
- `annals.topics.spec` and `annals.topics.catalog`: every topic and its settings, from which provisioning and the docs are made.
"""
