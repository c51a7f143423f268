"""Where it runs: the only package that knows Faust, Kafka, RocksDB, the environment and the time.

If you are here to read the code, start with:

- `annals.workers.app`: the composition root, where the functions of `agents` are registered with Faust;
- `annals.workers.kafka`: how batches come in, and how one transaction takes everything out;
- `annals.workers.stores`: the fold of the journal on disk, with its position in the same write;
- `annals.workers.settings` and `annals.workers.cli`: what an operator turns, and what an operator runs.
"""

if __name__ == "workers":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.workers: the folder workers is part of the package annals")
