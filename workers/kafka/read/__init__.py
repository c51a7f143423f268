"""Reading beside the consumer: ranges of offsets, and where partitions and groups stand."""
