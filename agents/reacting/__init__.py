"""Reacting: the processes of one reaction in one journal partition, and the reactor that runs them.

`processes` is pure: what occurs, in; states, timers and commands, out. `reactor` is the actor, and `opening` is how it
finds where to go on; what it asks of Kafka is in `ports`.
"""
