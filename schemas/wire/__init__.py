"""Commands on the wire: from the bytes of a Kafka record to a command, or to the reason why it is none."""
