"""Reacting on Kafka: the writer of a reaction in a partition, the topic that says which run, and who administers it."""
