"""The journals once more, from Kafka and without a worker: to a handler, a topic of replays, or a file.

`plan` says what is asked for, `partition` reads one journal partition by the rule of every reader, `targets` take its
events, `run` and `processes` read many partitions at once, `position_file` is where a replay goes on after a kill.
"""
