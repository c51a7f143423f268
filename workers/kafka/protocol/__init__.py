"""Kafka's wire formats where aiokafka's own are too slow or missing: requests, answers, record batches."""
