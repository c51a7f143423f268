"""Projections over re-keyed streams, wired to Kafka: what copies the events, and the shards that fold the streams."""
