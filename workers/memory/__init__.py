"""Kafka's log in memory: for tests of the shells, for users' tests, and for histories that can be replayed.

`cluster` is the model of the brokers: `partition` and `offsets` keep what was written, `coordinator` the transactions.
`server` answers the requests of Kafka's protocol from it; `client` and `consumer` stand where aiokafka's would, so that
everything above them (`annals.workers.kafka.write.journal` and its transactional writer) is the code that runs on
brokers.
"""
