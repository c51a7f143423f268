"""Publishes the schemas of a worker's messages: to the topic `schemas`, and to a schema registry if one is named."""

from annals.workers.schema_publisher.publisher import SchemaPublisher

__all__ = ["SchemaPublisher"]
