"""Histories that can be replayed: shards over Kafka's log in memory, in virtual time, with faults at every await.

`plan` says what a seed's history is: commands, faults, weather. `world` carries it out: `group` moves partitions
between the `process`es of three hosts, whose requests travel over `network`, and says who is a standby of which
(`standbys`). `checker` judges what is left, from the bytes in the topics alone. `readers` are the reading shards of a
process, whose stores are on `reading_disks`; `reading_judge` holds those against the journals. `shrink` makes a failing
plan small. Another role of a worker (projections, publishing) joins with what `process` opens for a partition, and with
a checker of its own.
"""
