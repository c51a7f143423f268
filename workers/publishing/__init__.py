"""Publishing on Kafka: the writers of a partition, the topic of subscriptions, and who administers them."""
