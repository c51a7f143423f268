"""The role `write`: a shard per assigned partition of commands, wired to Kafka and RocksDB."""
