"""The stores of a shard's fold: RocksDB for workers, memory for speed; one conformance suite for both."""
