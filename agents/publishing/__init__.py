"""Publishing: which events go to which subscription in which form, and the publisher of one journal partition.

`records` and `matching` are pure: an event in, a record out. `administration` is what becomes of a subscription that
somebody puts, pauses or deletes. `publisher` is the actor; what it asks of Kafka is in `ports`.
"""
