"""Kafka as the worker uses it: the group's consumer, the transactional writer, the journal's reader, provisioning."""
