"""Acknowledged delivery: which event is in flight to a subscriber, comes again, is parked or settled.

`machine` is pure: events, answers and time in; deliveries and changed rows out. `shard` is the actor of one
subscription in one journal partition; what it asks of Kafka is in `ports`. Who answers (a record in `acks.<name>`, an
HTTP status) is all the same to the machine.
"""
