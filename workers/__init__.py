"""Where it runs: the only package that knows Faust, Kafka, RocksDB, the environment and the time.

If you are here to read the code, start with:

- `annals.workers.app`: the composition root, where the functions of `agents` are registered with Faust;
- `annals.workers.kafka`: how batches come in, and how one transaction takes everything out;
- `annals.workers.stores`: the fold of the journal on disk, with its position in the same write;
- `annals.workers.memory` and `annals.workers.tools.simulation`: Kafka's log without Kafka, and histories of faults over it;
- `annals.workers.settings` and `annals.workers.cli`: what an operator turns, and what an operator runs.
"""
