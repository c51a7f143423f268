"""Dead letters on Kafka: listed, shown, sent again, discarded."""
