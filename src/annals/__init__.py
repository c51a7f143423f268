"""annals: event sourcing on Kafka."""
